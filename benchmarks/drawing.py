"""Whether a drawing run draws what is asked: held-out combinations and edits before an independent judge, and its speed.

    python -m benchmarks.drawing --run runs/emoji-draw

The judge (``drawing_judges``) is trained on real training pictures. Asked are the combinations of profession, tone and
gender that no training row shows (``--part validation`` for choosing settings, test for reporting). Beside the drawings
stand the real pictures, the training picture with the nearest name, and the drawings judged by each other's prompts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, Results, clean_environment, interval, table
from benchmarks.drawing_judges import Judge, mean_interval, people, pixels_of, train_judge
from sensorium import assets
from sensorium.data.bundled.drawing_pairs import TONES, edit_part, edits, parts, read_pictures
from sensorium.metrics.generation import scores
from sensorium.models.drawing.details import carried
from sensorium.models.drawing.guidance import DrawingSettings
from sensorium.models.drawing.pixels import to_squares, to_tensor
from sensorium.models.drawing.sampling import draw_candidates

UNCHANGED = 8  # of 255: what source and right target differ by at most where nothing was to change


def main() -> None:
    clean_environment()
    args = arguments()
    torch.set_num_threads(args.threads)
    from sensorium.jobs.drawing.opened import OpenedDrawer

    told = ("part", "guidance", "temperature", "top_p", "steps", "candidates", "judge_epochs")
    results = Results(args.results, "drawing", {name: getattr(args, name) for name in told})
    pictures = read_pictures(assets.locate("emoji"))
    given = parts(pictures)
    judge = train_judge(
        people([row for row, part in zip(pictures, given, strict=True) if part[0] == "train"]), args.judge_epochs
    )
    drawer = OpenedDrawer(args.run)
    results.once("combinations", combinations, drawer, judge, pictures, given, args)
    results.once("edits", edited, drawer, judge, pictures, given, args)
    results.once("speed", speed, drawer, args)
    results.write_table(page(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=8, help="rounds of parallel drawing")
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--judge-epochs", type=int, default=36)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def wanted(args: argparse.Namespace, parallel: bool = False) -> DrawingSettings:
    return DrawingSettings(
        guidance=args.guidance,
        temperature=args.temperature,
        top_p=args.top_p,
        candidates=args.candidates,
        parallel=parallel,
        steps=args.steps,
    )


def combinations(drawer: Any, judge: Judge, pictures: Any, given: Any, args: argparse.Namespace) -> dict[str, Any]:
    """System -> kind -> share with interval."""
    asked = [row for row, part in zip(pictures, given, strict=True) if part == (args.part, "combination")]
    asked = [row for row in asked if row["concept"] in judge.labels["concept"]]
    known = people([row for row, part in zip(pictures, given, strict=True) if part[0] == "train"])
    clusters = [row["concept"] for row in asked]
    nearest = [
        known[int(np.argmax(scores([k["name"] for k in known], [row["name"]] * len(known))["chrf"]))] for row in asked
    ]
    drawn = {way: drawn_of(drawer, asked, wanted(args, way == "in parallel")) for way in ("one by one", "in parallel")}
    shuffled = np.random.default_rng(0).permutation(len(asked))
    systems = {"real pictures": (pixels_of(asked), asked), "nearest training name": (pixels_of(nearest), asked)}
    systems |= {f"drawn {way}": (made, asked) for way, made in drawn.items()}
    systems["drawn one by one, other prompts"] = (drawn["one by one"], [asked[i] for i in shuffled])
    return {
        name: {kind: mean_interval(right, clusters) for kind, right in judge.right(shown, rows).items()}
        | {"n": len(rows)}
        for name, (shown, rows) in systems.items()
    }


def drawn_of(drawer: Any, rows: Any, settings: DrawingSettings) -> np.ndarray:
    prompts = [drawer.opened.encode(row["name"]) for row in rows]
    made = draw_candidates(drawer.model, prompts, settings, list(range(len(prompts))))
    return to_squares(drawer.opened.pictures.decode(made.codes))


def edited(drawer: Any, judge: Judge, pictures: Any, given: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Held-out pictures given another tone: how often it is the asked one, and how far what should stay has moved."""
    chosen = []
    for source, target, change, said in edits(pictures):
        part = edit_part(given[source], given[target])
        if (
            change == "skin_tone"
            and pictures[target]["skin_tone"] in TONES
            and part is not None
            and part[0] == args.part
        ):
            chosen.append((pictures[source], pictures[target], said))
    sources, targets = pixels_of([one[0] for one in chosen]), pixels_of([one[1] for one in chosen])
    tokenizer, was = drawer.opened.pictures, to_tensor(torch.from_numpy(sources))
    codes = tokenizer.encode(was)
    words = [drawer.opened.encode(said) for _, _, said in chosen]
    made = draw_candidates(drawer.model, words, wanted(args), list(range(len(words))), codes).codes
    rebuilt = to_squares(tokenizer.decode(tokenizer.encode(to_tensor(torch.from_numpy(targets)))))
    clusters = [target["concept"] for _, target, _ in chosen]
    tones = np.array([judge.labels["skin_tone"].index(target["skin_tone"]) for _, target, _ in chosen])
    found = {}
    kept = carried(tokenizer.decode(made), was, tokenizer.decode(codes))  # as ``OpenedDrawer.edit`` hands it back
    systems = {"edited": to_squares(kept), "edited, from codes alone": to_squares(tokenizer.decode(made))}
    systems["the source as it is"] = sources
    for name, shown in (systems | {"right picture, rebuilt": rebuilt, "right picture": targets}).items():
        right = judge.scores(shown)["skin_tone"].argmax(1) == tones
        found[name] = {
            "success": mean_interval(right, clusters),
            "error": float(np.nanmean(_moved(shown, sources, targets))),
        }
    return found | {"n": len(chosen)}


def _moved(shown: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean absolute error (n,), of 1, where source and right target agree."""
    same = np.abs(sources.astype(int) - targets.astype(int)).max(-1) <= UNCHANGED
    error = np.abs(shown.astype(int) - sources.astype(int)).mean(-1) / 255
    return np.array([one[kept].mean() if kept.any() else np.nan for one, kept in zip(error, same, strict=True)])


def speed(drawer: Any, args: argparse.Namespace) -> dict[str, float]:
    """Seconds for four pictures, the median of five, of each way."""
    found = {}
    for way, parallel in (("one by one", False), ("in parallel", True)):
        taken = []
        for seed in range(5):
            began = time.perf_counter()
            drawer.draw("woman firefighter: dark skin tone", n=4, seed=seed, parallel=parallel, steps=args.steps)
            taken.append(time.perf_counter() - began)
        found[way] = float(np.median(taken))
    return found


def page(results: Results) -> str:
    kinds = ("skin_tone", "concept", "gender", "tone and concept")
    told, changed, taken = results["combinations"], results["edits"], results["speed"]
    first = table(
        ["held-out combinations", "asked tone", "asked profession, top 5", "asked gender", "tone and profession"],
        [[name, *(interval(of[kind]) for kind in kinds)] for name, of in told.items()],
    )
    second = table(
        ["tone of held-out pictures", "asked tone", "error where nothing was to change"],
        [[name, interval(of["success"]), f"{of['error']:.3f}"] for name, of in changed.items() if name != "n"],
    )
    ratio = taken["one by one"] / taken["in parallel"]
    return (
        f"# Drawing\n\nShares in % by the judge, 95 % intervals over concepts; {told['real pictures']['n']} pictures.\n\n"
        f"{first}\n{changed['n']} edits.\n\n{second}\nFour pictures: {taken['one by one']:.2f} s one code after another, "
        f"{taken['in parallel']:.2f} s in parallel, {ratio:.1f} × as fast.\n"
    )


if __name__ == "__main__":
    main()
