"""Every recipe and every command of the README runs, made small by overrides."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sensorium.evaluation.schema import validated
from sensorium.jobs import demo
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer, PictureTokenizerConfig
from sensorium.recipe import Recipe
from tests.end_to_end.commands import call, done, sets, tiny
from tests.end_to_end.toy_language import write_files
from tests.small_data import COLOURS, mixed_table, picture

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
REAL = {
    "emoji",
    "emoji-ask",
    "emoji-dialogue",
    "emoji-draw",
    "emoji-names",
    "emoji-pictures",
    "emoji-taste",
    "movielens-100k",
    "spoken-digits",
}  # bundled data; the others are a user's own and are made here
LAST = {"model.fusion.from_layer": 2, "training.max_steps": 2, "training.workers": 0, "data.max_rows": 60}


def marked(path: Path) -> Any:
    real = str(Recipe.load(path).data.source) in REAL
    return pytest.param(path, id=path.stem, marks=[pytest.mark.real] if real else [])


def own_data(recipe: Recipe) -> None:
    """What the recipe expects of its user, here."""
    source = Path(str(recipe.data.source))
    if recipe.data.format == "imagefolder":
        rng = np.random.default_rng(0)
        for colour in COLOURS:
            (source / colour).mkdir(parents=True)
            for i in range(12):
                (source / colour / f"{i}.png").write_bytes(picture(colour, rng))
    elif recipe.data.format == "parallel":
        folder = Path(str(recipe.data.source[0])).parent
        folder.mkdir(parents=True)
        write_files(folder, pairs=60)
        for file in list(folder.iterdir()):
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    elif source.suffix == ".txt":
        source.write_text(
            "\n\n".join(f"Document {i} tells of a thing. It has two lines.\nAnd a third." for i in range(80))
        )
    elif str(source) not in REAL:
        table = mixed_table(Path(), rows=60)
        table.write_text(re.sub(r"\by$", "label", table.read_text(), count=1, flags=re.MULTILINE))
        table.rename(source)


def small(recipe: Recipe, parts: dict[str, Path]) -> dict[str, object]:
    """Overrides that leave the recipe's kind of job as it is: tiny parts, few rows, two steps."""
    found = tiny(parts) | LAST
    if recipe.model.text:
        found["model.text"] = parts["bert"]
    if recipe.model.speech != "features":  # tiny parts recognise nothing
        found["model.audio"] = recipe.model.audio
    if recipe.model.fusion.kind not in ("tokens", "cross_attention") or not recipe.model.fusion.from_layer:
        del found["model.fusion.from_layer"]
    if recipe.task == "recommend":  # users' last items cannot be had of a few rows
        del found["data.max_rows"]
        found |= {"model.text": parts["bert"], "evaluation.baselines": False, "recommender.transitions": "never"}
    if recipe.model.scratch is not None:
        little = {"width": 16, "layers": 1, "heads": 2, "vocabulary": 300, "feed_forward": 32}
        found |= {f"model.scratch.{key}": value for key, value in little.items()}
    if recipe.task == "tokenize":  # held-out pictures stand behind the others
        del found["data.max_rows"]
        found |= {"tokenizer.widths": [8], "tokenizer.blocks": [1]}
    if recipe.drawing is not None:
        del found["data.max_rows"]
        found |= {"drawing.tokenizer": tokens_folder(Path("tokens")), "model.scratch.window": 96}
    if source_is_text(recipe):  # documents are no rows
        del found["data.max_rows"]
    return found


def tokens_folder(folder: Path) -> Path:
    """A tokenizer of pictures with random weights, 16 codes a picture."""
    shapes = {"size": 16, "codes": 16, "levels": (5, 4), "patch": 2, "widths": (8,), "blocks": (1,)}
    PictureTokenizer(PictureTokenizerConfig(**shapes)).save_pretrained(folder)
    return folder


def source_is_text(recipe: Recipe) -> bool:
    return str(recipe.data.source).endswith(".txt")


def test_there_are_fourteen_recipes() -> None:
    """A new one is run by the test below by itself; say here that it was meant."""
    assert [path.stem for path in RECIPES] == [
        "emoji-ask", "emoji-dialogue", "emoji-draw", "emoji-group", "emoji-names", "emoji-taste", "emoji-tokens", "movielens",
        "multi30k-en-de", "photo-folder", "pretrain-emoji", "pretrain-text", "spoken-digits", "table-mixed",
    ]  # fmt: skip


@pytest.mark.parametrize("path", [marked(path) for path in RECIPES])
def test_every_recipe_runs(path: Path, parts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"  # some recipes name data beside it
    here.mkdir()
    monkeypatch.chdir(here)
    recipe = Recipe.load(path)
    own_data(recipe)
    words = sets({"evaluation.max_rows": 20}, small(recipe, parts))
    found = json.loads(done("fit", path, *words, "--json").out)
    assert found["run"] == recipe.output and (here / recipe.output / "report.html").is_file()
    validated(found["metrics"])
    ran = Recipe.load(here / recipe.output / "recipe.yaml")
    assert ran.model.fusion.kind == recipe.model.fusion.kind and ran.model.adapt == recipe.model.adapt


def test_the_demo_is_the_recipe() -> None:
    """`sensorium demo` does the main recipe's job, with smaller pictures and a time limit."""
    ask, shown = Recipe.load(ROOT / "recipes/emoji-ask.yaml"), Recipe.parse(demo.EMOJI_ASK)
    assert (shown.task, shown.data.source) == (ask.task, ask.data.source)
    assert (shown.model.fusion.kind, shown.model.adapt) == (ask.model.fusion.kind, ask.model.adapt)


# -- README ----------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.real
def test_the_readme_in_order(parts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python and its commands, one after another in one folder, as a reader would; only `make` and pip are not run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    little = tiny(parts) | {"training.max_steps": 2, "data.max_rows": 60, "evaluation.max_rows": 20}
    patch_demo(monkeypatch, parts)
    code = [block for block in blocks("python") if "load_digits" in block]
    assert len(code) == 1
    (tmp_path / "make_listings.py").write_text(code[0])
    ran = 0
    for line in "".join(blocks("console")).splitlines():
        words = shlex.split(line.removeprefix("$ "))
        if words[0] == "python":
            exec(compile((tmp_path / words[1]).read_text(), words[1], "exec"), {"__name__": "__main__"})
        elif words[0] == "sensorium":
            recipes = [Recipe.load(word) for word in words if word.endswith(".yaml")]
            more = sets(small(recipes[0], parts) | {"evaluation.max_rows": 20} if recipes else little)
            said = call(*words[1:], *(more if words[1] == "fit" else []))
            assert said.code == 0, f"{line}: {said.err[-2000:]}"
            ran += 1
        else:
            assert words[0] in ("make", "pip", "python3"), f"a kind of command that no test runs: {line}"
    assert ran >= 7 and (tmp_path / "answers.csv").is_file()
    for block in blocks("python"):
        if "sensorium.load" in block:
            exec(compile(block, "README", "exec"), {"__name__": "__main__"})


def patch_demo(monkeypatch: pytest.MonkeyPatch, parts: dict[str, Path]) -> None:
    """`sensorium demo` with tiny parts and few rows."""
    shown = demo.EMOJI_ASK
    model = {**shown["model"], "backbone": str(parts["llama"]), "image": str(parts["vit"]), "image_size": 32}
    model["fusion"] = {**shown["model"]["fusion"], "from_layer": 2}
    little = {
        "data": {**shown["data"], "max_rows": 60},
        "model": model,
        "training": {**shown["training"], "max_steps": 2},
        "evaluation": {"bootstrap": 100, "max_rows": 20, "max_new_tokens": 4},
    }
    monkeypatch.setattr(demo, "EMOJI_ASK", shown | little)
