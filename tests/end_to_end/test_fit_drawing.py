"""``fit`` of tasks tokenize and draw, by the command line: from a table of pictures to a run that draws."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

import sensorium
from sensorium.evaluation.schema import validated
from sensorium.jobs.drawing.lessons import open_drawing_table, picture_codes, placings_of
from sensorium.jobs.drawing.opened import OpenedDrawer
from sensorium.modalities.image import moved
from sensorium.models.drawing.pixels import pixels, to_tensor
from sensorium.recipe import Recipe
from sensorium.run import Run, sha256_file
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.progress import make_progress
from tests.end_to_end.commands import call, done

COLOURS = {"red": (230, 20, 20), "green": (20, 180, 40), "blue": (30, 40, 230), "yellow": (240, 220, 30)}
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def shape(colour: str, corner: str) -> Image.Image:
    """A square of a colour in a corner of a white picture of 16 × 16."""
    pixels = np.full((16, 16, 3), 255, dtype=np.uint8)
    place = CORNERS.index(corner)
    top, left = 8 * (place // 2), 8 * (place % 2)
    pixels[top : top + 8, left : left + 8] = COLOURS[colour]
    return Image.fromarray(pixels)


def table(folder: Path, edits: bool = True) -> Path:
    """``t.csv``: every colour in every corner with its name, and edits of colour; one corner of each is tested."""
    (folder / "media").mkdir(parents=True)
    rows = []
    for i, colour in enumerate(COLOURS):
        for j, corner in enumerate(CORNERS):
            name = f"media/{colour}-{j}.png"
            shape(colour, corner).save(folder / name)
            held = "test" if i == j else "train"
            rows.append({"prompt": f"{colour} {corner}", "picture": name, "source": "", "split": held})
            other = list(COLOURS)[(i + 1) % 4]
            if edits:
                edit = {"prompt": f"make it {colour}", "picture": name, "source": f"media/{other}-{j}.png"}
                rows.append(edit | {"split": held})
    with open(folder / "t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "t.csv"


def lines(folder: Path) -> list[dict[str, str]]:
    """The table's rows."""
    with open(folder / "t.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tokens_recipe(folder: Path, **changes: object) -> Path:
    """A recipe file; ``changes`` use two underscores for a dot."""
    raw = {
        "task": "tokenize",
        "data": {"source": str(folder / "t.csv"), "split": {"column": "split", "validation": 0}},
        "model": {"image": None},
        "tokenizer": {
            "size": 16, "codes": 16, "levels": [5, 5, 5], "patch": 4, "widths": [32], "blocks": [1],
            "perceptual": 0.0, "augment": False, "average": 0.9,
        },
        "training": {"epochs": 150, "batch_size": 16, "learning_rate": 1e-2, "precision": "fp32", "patience": None},
        "evaluation": {"bootstrap": 100},
        "tracking": [],
        "output": str(folder / "tokens"),
    }  # fmt: skip
    return written(folder / "tokens.yaml", raw, changes)


def draw_recipe(folder: Path, **changes: object) -> Path:
    raw = {
        "task": "draw",
        "data": {"source": str(folder / "t.csv"), "split": {"column": "split", "validation": 0}},
        "model": {
            "scratch": {
                "architecture": "llama", "width": 64, "layers": 2, "heads": 2, "vocabulary": 300, "window": 80,
                "dropout": 0.0,
            },
            "image": None,
        },
        "drawing": {
            "tokenizer": str(folder / "tokens"), "source": "source",
            "forms": {"draw": 1.0, "caption": 1.0, "edit": 1.0, "masked": 0.5}, "guidance": 1.0, "average": 0.9, "drop_words": 0.1,
        },
        "training": {"epochs": 400, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32", "attention": "sdpa",
                     "patience": None},
        "evaluation": {"bootstrap": 100},
        "tracking": [],
        "output": str(folder / "drawer"),
    }  # fmt: skip
    return written(folder / "draw.yaml", raw, changes)


def written(path: Path, raw: dict[str, object], changes: dict[str, object]) -> Path:
    for key, value in changes.items():
        *parents, last = key.split("__")
        here = raw
        for parent in parents:
            here = here.setdefault(parent, {})  # type: ignore[assignment]
        here[last] = value
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, Path]) -> Path:
    """A folder with the table, a tokenizer's run and a drawer's, both trained until they know their few examples."""
    folder = tmp_path_factory.mktemp("shapes")
    table(folder)
    done("fit", tokens_recipe(folder))
    done("fit", draw_recipe(folder, model__image=str(parts["vit"])))
    return folder


# -- tokenize --------------------------------------------------------------------------------------


def test_a_tokenizer_learns_rebuilds_what_is_held_out_and_is_reported(shapes: Path) -> None:
    run = Run(shapes / "tokens")
    metrics = validated(run.metrics)
    assert metrics["task"] == "tokenize" and metrics["primary"] == "psnr" and metrics["split"] == "test"
    after, simple = metrics["after"]["psnr"]["value"], metrics["baselines"]
    assert set(simple) == {"mean_picture", "nearest_training_picture"}
    assert after > 18 > metrics["before"]["psnr"]["value"]
    assert after > max(one["psnr"]["value"] for one in simple.values()) + 5
    assert 0 < metrics["after"]["codes_used"]["value"] <= 1
    page = run.report.read_text()
    assert "Pictures rebuilt" in page and page.count("<img") >= 2 * 8
    rows = pq.read_table(run.folder / "predictions.parquet")
    assert rows.num_rows == metrics["rows"] == 8 and len(rows.column("codes")[0].as_py()) == 16


def test_the_saved_tokenizer_gives_the_figures_that_were_measured(shapes: Path) -> None:
    tokenizer = sensorium.load(shapes / "tokens")
    rows = pq.read_table(shapes / "tokens/predictions.parquet")
    source = lines(shapes)
    for row, codes in zip(rows.column("row").to_pylist(), rows.column("codes").to_pylist(), strict=True):
        picture = pixels((shapes / source[row]["picture"]).read_bytes(), 16)
        assert tokenizer.encode(picture[None])[0].tolist() == codes


def test_cards_say_what_was_made_and_a_tokenizer_is_not_served(shapes: Path) -> None:
    tokens, drawer = ((shapes / name / "model/README.md").read_text(encoding="utf-8") for name in ("tokens", "drawer"))
    assert "into 16 codes" in tokens and "model.encode(pictures)" in tokens and "nearest training picture" in tokens
    assert "A llama GPT made from nothing" in drawer and "model.draw(" in drawer and "source: image" in drawer
    said = call("serve", shapes / "tokens")
    assert said.code == 2 and "answers nothing by itself" in said.line and "drawing.tokenizer" in said.line


def test_fitting_again_does_nothing_and_another_recipe_is_refused(shapes: Path) -> None:
    before = sha256_file(shapes / "tokens/model/model.safetensors")
    done("fit", shapes / "tokens.yaml")
    assert sha256_file(shapes / "tokens/model/model.safetensors") == before
    said = call("fit", shapes / "tokens.yaml", "--set", "tokenizer.levels=[4,4]")
    assert said.code == 2 and "belongs to another recipe" in said.line


def test_a_resumed_tokenizer_is_the_undisturbed_one(tmp_path: Path) -> None:
    """Stopped after some steps as a crash would leave it, and gone on with, bit for bit."""
    table(tmp_path, edits=False)
    short = ["--set", "training.epochs=6", "--set", "training.checkpoint_every=2"]
    done("fit", tokens_recipe(tmp_path), *short)
    whole = sha256_file(tmp_path / "tokens/model/model.safetensors")

    class Stopped(Exception):
        pass

    saved = Checkpoints.save
    count = 0

    def stop(self: Checkpoints, *args: object, **named: object) -> object:
        nonlocal count
        found = saved(self, *args, **named)  # type: ignore[arg-type]
        count += 1
        if count == 2:
            raise Stopped
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop)
        assert call("fit", tmp_path / "tokens.yaml", *short, "--output", tmp_path / "other").code != 0
    done("fit", tmp_path / "tokens.yaml", *short, "--output", tmp_path / "other")
    assert sha256_file(tmp_path / "other/model/model.safetensors") == whole


def test_perceptual_and_adversarial_losses_train(tmp_path: Path, parts: dict[str, Path]) -> None:
    table(tmp_path, edits=False)
    recipe = tokens_recipe(
        tmp_path, tokenizer__perceptual=0.5, tokenizer__adversarial=0.1, tokenizer__augment=True,
        model={"image": str(parts["vit"])}, training__epochs=30,
    )  # fmt: skip
    done("fit", recipe)
    metrics = Run(tmp_path / "tokens").metrics
    assert metrics["after"]["perceptual_distance"]["value"] < metrics["before"]["perceptual_distance"]["value"]
    assert any("Fréchet" in note for note in metrics["notes"])


@pytest.mark.parametrize(
    "words, told",
    [
        (["tokenizer.codes=17"], "do not fit 16 pixels"),
        (["tokenizer.levels=[1]"], "two a channel"),
        (["tokenizer.picture=pictur"], "picture"),
        (["tokenizer.perceptual=0.5"], "image encoder"),
        (["tokenizer.absolute=0", "tokenizer.squared=0"], "nothing to learn by"),
        (["task=generate"], "tokenizer belongs to another task"),
    ],
)
def test_a_wrong_tokenizer_recipe_is_one_line(tmp_path: Path, words: list[str], told: str) -> None:
    table(tmp_path, edits=False)
    said = call("fit", tokens_recipe(tmp_path), *(part for word in words for part in ("--set", word)))
    assert said.code == 2 and told in said.line


def test_broken_pictures_are_set_aside(tmp_path: Path) -> None:
    path = table(tmp_path, edits=False)
    (tmp_path / "media/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 40)
    path.write_text(path.read_text() + "bad,media/bad.png,,train\n" + "none,,,train\n")
    done("fit", tokens_recipe(tmp_path, training__epochs=1))
    aside = [json.loads(line) for line in (tmp_path / "tokens/quarantine.jsonl").read_text().splitlines()]
    assert len(aside) == 2


# -- draw ------------------------------------------------------------------------------------------


def test_a_drawer_learns_its_examples_and_foretells_held_out_ones(shapes: Path) -> None:
    run = Run(shapes / "drawer")
    metrics = validated(run.metrics)
    assert metrics["task"] == "draw" and metrics["kind"] == "drawing"
    history = run.read_json("history.json")
    assert np.mean([loss for _, loss in history["losses"][-20:]]) < 0.05 < history["losses"][0][1]
    for name in ("draw_perplexity", "edit_perplexity", "caption_perplexity"):
        assert metrics["after"][name]["value"] < metrics["before"][name]["value"]
    edit = metrics["after"]["edit_perplexity"]["value"]
    assert edit < metrics["baselines"]["unigram"]["edit_perplexity"]["value"]
    after, simple = metrics["after"], metrics["baselines"]["nearest_training_picture"]
    assert {"retrieval@1", "drawing_diversity", "copies"} <= set(after) and "retrieval@1" in simple
    assert after["retrieval@1"]["value"] >= metrics["before"]["retrieval@1"]["value"]
    assert any("held-out prompts were drawn" in note for note in metrics["notes"])
    page = run.report.read_text()
    assert ">Drawings<" in page and ">Edits<" in page and page.count("<img") >= 4 * 2 + 4 * 3


def test_what_was_fitted_draws_edits_and_captions(shapes: Path, tmp_path: Path) -> None:
    """A training prompt gives its picture, an edit its colour, a picture its name."""
    drawer = OpenedDrawer(shapes / "drawer")
    train = [row for row in lines(shapes) if row["split"] == "train" and not row["source"]]
    near = 0
    for row in train:
        made = np.asarray(drawer.draw(row["prompt"], temperature=0, guidance=1.0)[0].image, dtype=float)
        real = np.asarray(Image.open(shapes / row["picture"]).convert("RGB"), dtype=float)
        near += np.abs(made - real).mean() < 20
    assert near == len(train)
    said = drawer.caption([shapes / row["picture"] for row in train])
    assert said == [row["prompt"] for row in train]
    out = tmp_path / "out"
    done("draw", shapes / "drawer", train[0]["prompt"], "--n", "2", "--seed", "1", "--out", out)
    assert len(list(out.glob("*.png"))) == 2


def test_training_pictures_are_learnt_in_other_placings_too(shapes: Path, tmp_path: Path) -> None:
    path = draw_recipe(shapes, drawing__placings=4, training__epochs=2, output=str(tmp_path / "moved"))
    done("fit", path)
    recipe, tokenizer = Recipe.load(path), sensorium.load(shapes / "tokens")
    quiet = make_progress(quiet=True)
    prepared = open_drawing_table(recipe, quiet)
    placings, rows = placings_of(4, 0), prepared.splits.train[:3]
    found = picture_codes(prepared, ["picture", "source"], rows, tokenizer, placings, quiet)
    for row in rows.tolist():
        picture = pixels((shapes / lines(shapes)[row]["picture"]).read_bytes(), 16)
        plain = np.asarray(Image.open(shapes / lines(shapes)[row]["picture"]).convert("RGB"))
        codes = found[prepared.content("picture", row)]
        assert codes.shape == (4, 16) and codes[0].tolist() == tokenizer.encode(picture[None])[0].tolist()
        for placing, mine in zip(placings, codes, strict=True):
            shown = to_tensor(torch.from_numpy(moved(plain, *placing)[None].copy()))
            assert tokenizer.encode(shown)[0].tolist() == mine.tolist()


def test_a_drawer_by_a_pretrained_gpt_with_adapters_reads_features(
    shapes: Path, parts: dict[str, Path], tmp_path: Path
) -> None:
    recipe = draw_recipe(
        shapes,
        model={
            "backbone": str(parts["llama"]), "image": str(parts["vit"]), "image_size": 32, "adapt": {"method": "lora"},
            "fusion": {"tokens": 4},
        },
        drawing__read="both", training__epochs=2, evaluation__max_new_tokens=4, output=str(tmp_path / "pretrained"),
    )  # fmt: skip
    done("fit", recipe)
    assert "caption" in OpenedDrawer(tmp_path / "pretrained").forms
    validated(Run(tmp_path / "pretrained").metrics)


@pytest.mark.parametrize(
    "words, told",
    [
        (["drawing.tokenizer=/nowhere"], "no such run or folder"),
        (["drawing.prompt=promt"], "prompt"),
        (["model.scratch.architecture=bert"], "cannot draw"),
        (["model.scratch.window=16"], "no room for words"),
    ],
)
def test_a_wrong_drawing_recipe_is_one_line(shapes: Path, tmp_path: Path, words: list[str], told: str) -> None:
    recipe = draw_recipe(shapes, output=str(tmp_path / "run"))
    said = call("fit", recipe, *(part for word in words for part in ("--set", word)))
    assert said.code == 2 and told in said.line, said.err


def test_a_run_that_is_no_tokenizer_is_refused(shapes: Path, tmp_path: Path) -> None:
    recipe = draw_recipe(shapes, output=str(tmp_path / "run"), drawing__tokenizer=str(shapes / "drawer"))
    said = call("fit", recipe)
    assert said.code == 2 and "tokenizer" in said.line
