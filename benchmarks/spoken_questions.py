"""Questions about pictures, typed and spoken: three ways in for speech, under noise; and what the history is worth.

    python -m benchmarks.spoken_questions

Each way (recognition, features, both) is a run of ``recipes/emoji-dialogue.yaml``. The same test conversations, whose
concepts, voices and ways to ask no training row has, are then put to it typed and spoken, clean and in white noise, and
typed without the turns before the last question.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, ROOT, Results, clean_environment, integers, interval, table
from benchmarks.runs import packed, recipe_of, run_of, unpacked

WAYS = ("recognition", "features", "both")
LEVELS: dict[str, float | None] = {"clean": None, "20 dB": 20.0, "10 dB": 10.0, "0 dB": 0.0}
TYPED, ALONE, SHOWN = "typed", "last question alone", "last question and all images"
CONSTANT = "constant"


def measure(args: argparse.Namespace) -> Results:
    """Every way and seed, asked in every form."""
    given = {"training.epochs": args.epochs, **dict(pair.split("=", 1) for pair in args.set)}
    small = {key: value for key, value in given.items() if value is not None}
    settings = {"recipe": "emoji-dialogue", "questions": args.questions, "set": small}
    results = Results(args.results, "spoken_questions", settings)
    results.once(CONSTANT, constant, args.questions)
    for way in args.ways:
        for seed in args.seeds:
            folder = args.runs / way / f"seed-{seed}"
            results.once(f"{way}/{seed}/run", trained, way, small, folder, seed)
            for form in (TYPED, *LEVELS, ALONE, SHOWN):
                results.once(f"{way}/{seed}/{form}", right, folder, form, args.questions)
            gc.collect()
    return results


def trained(way: str, small: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """Train one way in, the model kept to be asked."""
    overrides = {"model.speech": way, "evaluation.baselines": False, **small}
    run = run_of(recipe_of("emoji-dialogue", overrides, folder, seed, split_seed=False), keep_model=True)
    return {
        "before": run["metrics"]["before"]["exact_match"],
        "after": run["metrics"]["after"]["exact_match"],
        "validation": run["validation"],
        "training_seconds": run["training_seconds"],
    }


def right(folder: Path, form: str, questions: int) -> str:
    """1 for every test conversation whose last question, in one form, the run answers word for word."""
    from sensorium import load

    rows = [{"messages": json.dumps(asked(one, form))} for one in chosen(questions)]
    said = load(folder).predict(rows)
    return packed([float(a == one.turns[-1].answer) for a, one in zip(said, chosen(questions), strict=True)])


def asked(one: Any, form: str) -> list[dict[str, Any]]:
    """A conversation's messages in a form."""
    from sensorium.data.bundled.dialogue import messages_of

    if form in LEVELS:
        return messages_of(one, spoken=True, snr=LEVELS[form])
    messages = messages_of(one, spoken=False)
    if form == TYPED:
        return messages
    system, *turns = messages
    question = turns[-2]
    if form == SHOWN:
        before = [p for m in turns[:-2:2] for p in m["content"] if p["type"] == "image_url"]
        question = {**question, "content": [*before, *question["content"]]}
    return [system, question, turns[-1]]


def chosen(questions: int) -> list[Any]:
    """The test conversations that are asked, each kind of question as often."""
    from sensorium import assets
    from sensorium.data.bundled.dialogue import conversations, read_emoji

    return list(conversations(read_emoji(assets.locate("emoji") / "emoji.parquet"), "test", questions))


def constant(questions: int) -> str:
    """1 where the commonest training answer to a conversation's kind of question is right."""
    from sensorium import assets
    from sensorium.data.bundled.dialogue import COUNTS, conversations, read_emoji

    emoji = read_emoji(assets.locate("emoji") / "emoji.parquet")
    counts: dict[str, Counter[str]] = {}
    for one in conversations(emoji, "train", COUNTS["train"]):
        counts.setdefault(one.kind, Counter())[one.turns[-1].answer] += 1
    return packed([float(counts[one.kind].most_common(1)[0][0] == one.turns[-1].answer) for one in chosen(questions)])


# -- the page --------------------------------------------------------------------------------------


def page(results: Results, ways: Sequence[str], seeds: list[int], questions: int) -> str:
    """Accuracy of each way by form, recognition against typing, and what follow-ups gain by the history."""
    asked_of = chosen(questions) * len(seeds)
    sets = [one.concept for one in asked_of]
    follow = [i for i, one in enumerate(asked_of) if one.needs_history]

    def of(way: str, form: str) -> list[int]:
        return [value for seed in seeds for value in unpacked(results[f"{way}/{seed}/{form}"])]

    forms = [TYPED, *LEVELS]
    rows = [[way, *(share(of(way, form), sets) for form in forms)] for way in ways]
    same = share(unpacked(results[CONSTANT]) * len(seeds), sets)
    rows.append(["constant answer a kind", *[same] * len(forms)])
    spoken = [[way, *(gain(of(way, TYPED), of(way, form), sets) for form in LEVELS)] for way in ways]
    inside = [sets[i] for i in follow]
    history = []
    for way in ways:
        whole, alone, shown = ([of(way, form)[i] for i in follow] for form in (TYPED, ALONE, SHOWN))
        values = [share(part, inside) for part in (whole, alone, shown)]
        history.append([way, *values, gain(alone, whole, inside), gain(shown, whole, inside)])
    kinds = sorted({one.kind for one in asked_of})
    by_kind = []
    for kind in kinds:
        places = [i for i, one in enumerate(asked_of) if one.kind == kind]
        cells = [
            f"{100 * sum(of(way, form)[i] for i in places) / len(places):.0f}"
            for way in ways
            for form in (TYPED, "clean")
        ]
        by_kind.append([kind, len(places) // len(seeds), *cells])
    head = ["history, typed", "whole", ALONE, SHOWN, "gained over the first", "gained over the second"]
    heads = [f"{way}, {form}" for way in ways for form in (TYPED, "clean")]
    return "\n".join(
        [
            "# Questions about pictures, typed and spoken\n",
            f"{questions} test conversations, {len(seeds)} seed(s): share of last questions answered word for word, %.\n",
            table(["way in", *forms], rows),
            "Spoken against typed, points:\n",
            table(["way in", *LEVELS], spoken),
            f"{len(follow) // len(seeds)} follow-ups, %:\n",
            table(head, history),
            "By kind of question, %:\n",
            table(["kind", "questions", *heads], by_kind),
            "95 % intervals by bootstrap over sets of concepts, 10,000 resamples; differences are paired.",
        ]
    )


def share(values: Sequence[int], clusters: Sequence[str]) -> str:
    """A mean in percent with its interval."""
    from sensorium.evaluation.intervals import bootstrap

    return interval(bootstrap(values, n_resamples=10_000, clusters=clusters).to_dict())


def gain(before: Sequence[int], after: Sequence[int], clusters: Sequence[str]) -> str:
    """Points gained on the same questions, with their interval."""
    from sensorium.evaluation.intervals import paired_bootstrap

    found = paired_bootstrap(before, after, n_resamples=10_000, clusters=clusters)
    return f"{100 * found.value:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=integers, default=[0])
    parser.add_argument("--ways", type=lambda text: tuple(text.split(",")), default=WAYS)
    parser.add_argument("--questions", type=int, default=400, help="test conversations, each asked in every form")
    parser.add_argument("--epochs", type=float, help="fewer epochs, to try the script")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a value of the recipe")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks" / "spoken-questions")
    args = parser.parse_args(arguments)
    clean_environment()
    results = measure(args)
    results.write_table(page(results, args.ways, args.seeds, args.questions))


if __name__ == "__main__":
    main()
