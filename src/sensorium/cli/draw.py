"""``sensorium draw``, ``edit`` and ``caption``: pictures from words, pictures changed by words, words from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.console import Progress, one_json_object, say, table
from sensorium.errors import DataError, SensoriumError

if TYPE_CHECKING:
    from sensorium.jobs.drawing.drawn import Drawn
    from sensorium.jobs.drawing.opened import OpenedDrawer

MOST = 100  # pictures; as jobs.drawing.wishes has it, which costs an import of the whole stack

RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder.")]
Count = Annotated[int, typer.Option("--n", min=1, max=MOST, metavar="N", help="How many.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**53 - 1, help="The same seed draws the same picture.")]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Where the PNG files go; nothing is overwritten.")]
Guidance = Annotated[
    float | None, typer.Option("--guidance", min=0, max=20, metavar="G", help="How far the words are followed.")
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", min=0, max=10, metavar="T", help="0 takes the likeliest code.")
]
TopK = Annotated[int | None, typer.Option("--top-k", min=0, metavar="K", help="Draw from the K likeliest codes.")]
TopP = Annotated[float | None, typer.Option("--top-p", min=0, max=1, metavar="P", help="… that together reach P.")]
Candidates = Annotated[
    int | None,
    typer.Option("--candidates", min=1, max=32, metavar="C", help="Draw so many for each, and keep the best read."),
]
Parallel = Annotated[
    bool, typer.Option("--parallel", help="Draw all codes at once, in a few rounds: several times as fast.")
]
Steps = Annotated[int | None, typer.Option("--steps", min=1, max=64, metavar="S", help="Rounds of --parallel (8).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def draw(
    run: RunFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the picture shall show.")],
    n: Count = 1,
    seed: Seed = 0,
    out: Out = ".",
    guidance: Guidance = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    candidates: Candidates = None,
    parallel: Parallel = False,
    steps: Steps = None,
    as_json: Json = False,
) -> None:
    """Draw what words say.

    \b
    Examples:
      sensorium draw runs/emoji-draw "woman firefighter: dark skin tone" --n 4 --seed 1 --out drawn
      sensorium draw runs/emoji-draw "red apple" --candidates 8 --guidance 4
      sensorium draw runs/emoji-draw "cat" --n 16 --parallel
    """
    _filled(prompt, "PROMPT")
    wishes = _wishes(guidance, temperature, top_k, top_p, candidates, parallel, steps)
    with one_json_object(as_json) as emit:
        drawer = _opened(run, out)
        unlearnt = drawer.unlearnt(prompt)
        with Progress().task("drawing", n, unit="pictures") as advance:
            found = drawer.draw(prompt, n, seed, advance=advance, **wishes)
        emit(_told(drawer, found, out, unlearnt, as_json))


def edit(
    run: RunFolder,
    prompt: Annotated[
        str | None, typer.Argument(metavar="[PROMPT]", help="What shall change; left out with --vary.")
    ] = None,
    image: Annotated[str, typer.Option("--image", metavar="F", help="The picture that is changed.")] = "",
    mask: Annotated[
        str | None,
        typer.Option("--mask", metavar="F", help="White, or transparent, where it may change; of the picture's size."),
    ] = None,
    vary: Annotated[
        float | None,
        typer.Option("--vary", min=0, max=1, metavar="X", help="Draw a share X of it anew, without words."),
    ] = None,
    n: Count = 1,
    seed: Seed = 0,
    out: Out = ".",
    guidance: Guidance = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    candidates: Candidates = None,
    parallel: Parallel = False,
    steps: Steps = None,
    as_json: Json = False,
) -> None:
    """Change a picture as words say: as a whole, or where a mask lets it. Outside the mask every pixel stays.

    \b
    Examples:
      sensorium edit runs/emoji-draw --image cook.png "give it dark skin"
      sensorium edit runs/emoji-draw --image cook.png "make it a woman" --mask face.png --n 4 --out drawn
      sensorium edit runs/emoji-draw --image cook.png --vary 0.5 --n 4
    """
    if not image:
        raise SensoriumError("say which picture", where="--image", mend="give the path of a picture")
    if (prompt is None) == (vary is None):
        raise SensoriumError("say what shall change", where="edit", mend="give one of PROMPT and --vary")
    if vary is not None and mask is not None:
        raise SensoriumError("--vary and --mask exclude each other", mend="give one of them")
    if prompt is not None:
        _filled(prompt, "PROMPT")
    wishes = _wishes(guidance, temperature, top_k, top_p, candidates, parallel, steps)
    with one_json_object(as_json) as emit:
        drawer = _opened(run, out)
        unlearnt = [] if prompt is None else drawer.unlearnt(prompt)
        with Progress().task("drawing", n, unit="pictures") as advance:
            if vary is not None:
                found = drawer.variations(Path(image), n, seed, strength=vary, advance=advance, **wishes)
            else:
                shape = None if mask is None else Path(mask)
                found = drawer.edit(Path(image), str(prompt), shape, n, seed, advance=advance, **wishes)
        emit(_told(drawer, found, out, unlearnt, as_json))


def caption(
    run: RunFolder,
    files: Annotated[list[str], typer.Argument(metavar="F...", help="Pictures.")],
    as_json: Json = False,
) -> None:
    """Say what pictures show, a line each.

    \b
    Examples:
      sensorium caption runs/emoji-draw fox.png
      sensorium caption runs/emoji-draw drawn/*.png --json
    """
    with one_json_object(as_json) as emit:
        drawer = _opened(run)
        paths = [Path(file) for file in files]
        if len(files) > 1:
            with Progress().task("reading", len(files), unit="pictures") as advance:
                said = drawer.caption(paths, advance=advance)
        else:
            said = drawer.caption(paths)
        found = [{"file": file, "caption": text} for file, text in zip(files, said, strict=True)]
        emit({"model": drawer.name, "captions": found})
        if not as_json:
            for one in found:
                say(one["caption"] if len(files) == 1 else f"{one['file']}: {one['caption']}")


def _filled(prompt: str, where: str) -> None:
    """Said before a model is opened."""
    if not prompt.strip():
        raise DataError("there are no words", where=where, mend="say in words what to draw")


def _opened(run: str, out: str | None = None) -> OpenedDrawer:
    from sensorium.jobs.drawing.opened import OpenedDrawer
    from sensorium.jobs.drawing.saved import check_folder

    drawer = OpenedDrawer(run)
    if out is not None:
        check_folder(out)
    return drawer


def _wishes(*given: Any) -> dict[str, Any]:
    names = ("guidance", "temperature", "top_k", "top_p", "candidates", "parallel", "steps")
    return {name: value for name, value in zip(names, given, strict=True) if value is not None and value is not False}


def _told(drawer: OpenedDrawer, found: list[Drawn], out: str, unlearnt: list[str], as_json: bool) -> dict[str, Any]:
    """Write the files; a line or a table of them, or what --json says."""
    from sensorium.jobs.drawing.saved import save_pictures

    paths = save_pictures(found, out, drawer.name)
    note = f"not learnt, and so not drawn: {', '.join(unlearnt[:10])}" if unlearnt else ""
    if not as_json:
        rows = [
            [str(one.seed), "" if one.score is None else f"{one.score:.2f}", str(path)]
            for one, path in zip(found, paths, strict=True)
        ]
        table("", ["seed", "score", "file"], rows)
        if note:
            say(note)
    return {
        "model": drawer.name,
        "prompt": found[0].prompt,
        "pictures": [
            {"file": str(path), "seed": one.seed, "score": one.score} for one, path in zip(found, paths, strict=True)
        ],
        "settings": dict(found[0].settings),
        "notes": [note] if note else [],
    }
