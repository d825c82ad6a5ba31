"""``sensorium draw``, ``edit`` and ``caption`` on a tiny run, as a user would call them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from sensorium.cli.console import printable
from tests.jobs.drawing.tiny_run import SIZE, noise, tiny_drawing_run

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_drawing_run(tmp_path_factory.mktemp("runs") / "tiny-draw"))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    transformers.logging.set_verbosity_error()  # as the console script has it


def files(folder: str = ".") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}


# -- what works ------------------------------------------------------------------------------------


def test_four_pictures_with_their_notes(sensorium: Command, run: str) -> None:
    said = sensorium("draw", run, "red apple", "--n", "4", "--seed", "1", "--out", "drawn/here")
    assert said.code == 0, said.err
    names = [f"red-apple-{seed}.png" for seed in (1, 2, 3, 4)]
    assert list(files("drawn/here")) == names
    picture = Image.open(io.BytesIO(files("drawn/here")[names[2]]))
    notes = picture.text  # type: ignore[attr-defined]
    assert picture.size == (SIZE, SIZE) and picture.mode == "RGB"
    told = {key: notes[key] for key in ("Model", "Prompt", "Seed")}
    assert told == {"Model": "tiny-draw", "Prompt": "red apple", "Seed": "3"}
    assert notes["DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert json.loads(notes["Settings"])["guidance"] == 3.0
    lines = said.out.splitlines()
    assert all(name in said.out for name in names) and max(map(len, lines)) <= 80, lines
    assert "drawing: 4/4" in said.err


def test_the_same_seed_is_the_same_file_and_nothing_is_overwritten(sensorium: Command, run: str) -> None:
    Path("red-apple-7.png").write_bytes(b"somebody's own")
    for _ in range(2):
        assert sensorium("draw", run, "red apple", "--seed", "7").code == 0
        assert list(files()) == ["red-apple-7-2.png", "red-apple-7.png"]
    assert files()["red-apple-7.png"] == b"somebody's own"
    told = json.loads(sensorium("draw", run, "red apple", "--seed", "7", "--parallel", "--steps", "2", "--json").out)
    assert [one["file"] for one in told["pictures"]] == ["red-apple-7-3.png"]
    assert told["settings"]["parallel"] is True and told["settings"]["steps"] == 2
    assert not [name for name in files() if name.endswith(".tmp")]


def test_settings_reach_the_drawer(sensorium: Command, run: str) -> None:
    words = ("--guidance", "1.5", "--temperature", "0.5", "--top-k", "5", "--top-p", "0.9", "--candidates", "3")
    told = json.loads(sensorium("draw", run, "red apple", *words, "--json").out)
    wanted = {"guidance": 1.5, "temperature": 0.5, "top_k": 5, "top_p": 0.9, "candidates": 3, "parallel": False}
    assert told["settings"] == wanted and told["model"] == "tiny-draw"
    assert isinstance(told["pictures"][0]["score"], float)


def test_words_that_were_not_learnt_are_named(sensorium: Command, run: str) -> None:
    said = sensorium("draw", run, "a purple apple in the night")
    assert said.code == 0 and "not learnt, and so not drawn: purple, in, the, night" in said.out
    assert "a-purple-apple-in-the-night-0.png" in files()


def test_an_edit_of_the_whole_and_within_a_mask(sensorium: Command, run: str) -> None:
    source = noise(60, 40)
    source.save("cook.png")
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[5:25, 10:40] = 255
    Image.fromarray(mask).save("mask.png")
    whole = sensorium("edit", run, "--image", "cook.png", "give it dark skin", "--n", "2", "--out", "whole")
    assert whole.code == 0, whole.err
    assert list(files("whole")) == ["give-it-dark-skin-0.png", "give-it-dark-skin-1.png"]
    part = sensorium("edit", run, "make it a man", "--image", "cook.png", "--mask", "mask.png", "--out", "part")
    assert part.code == 0, part.err
    found = Image.open("part/make-it-a-man-0.png")
    assert "compositeWithTrainedAlgorithmicMedia" in found.text["DigitalSourceType"]  # type: ignore[attr-defined]
    before, after = np.asarray(source), np.asarray(found)
    assert np.array_equal(before[mask == 0], after[mask == 0]) and not np.array_equal(before, after)
    assert files()["cook.png"] == files()["cook.png"] and Image.open("cook.png").size == (60, 40)


def test_variations(sensorium: Command, run: str) -> None:
    noise().save("cook.png")
    told = json.loads(sensorium("edit", run, "--image", "cook.png", "--vary", "0.5", "--n", "3", "--json").out)
    assert len(told["pictures"]) == 3 and told["settings"]["strength"] == 0.5


def test_captions_a_line_each(sensorium: Command, run: str) -> None:
    for seed, mode in enumerate(("RGB", "RGBA", "L")):
        noise(20, 30, seed, mode).save(f"{mode}.png")
    one = sensorium("caption", run, "L.png")
    assert one.code == 0 and len(one.out.splitlines()) == 1 and not one.out.startswith("L.png")
    three = sensorium("caption", run, "RGB.png", "RGBA.png", "L.png")
    assert [line.split(":")[0] for line in three.out.splitlines()] == ["RGB.png", "RGBA.png", "L.png"]
    told = json.loads(sensorium("caption", run, "RGB.png", "L.png", "--json").out)["captions"]
    assert [each["file"] for each in told] == ["RGB.png", "L.png"]
    assert printable(told[1]["caption"]) == one.out.rstrip("\n")


# -- pictures of every kind ------------------------------------------------------------------------


def _saved(kind: str) -> str:
    """A picture of a kind, as a file's name."""
    picture, options, name = noise(24, 16), {}, "source.png"
    match kind:
        case "palette with transparency":
            picture, options = picture.quantize(9), {"transparency": 2}
        case "animated":
            name, options = "source.gif", {"save_all": True, "append_images": [noise(24, 16, 1)]}
        case "turned":
            name, options = "source.jpg", {"exif": _exif(6), "quality": 95}
        case "CMYK":
            picture, name = picture.convert("CMYK"), "source.jpg"
        case _:
            picture = noise(24, 16, mode=kind)
    picture.save(name, **options)
    return name


def _exif(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


KINDS = ["1", "L", "LA", "RGB", "RGBA", "I;16", "palette with transparency", "CMYK", "animated", "turned"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_of_any_kind(sensorium: Command, run: str, kind: str) -> None:
    name = _saved(kind)
    upright = (16, 24) if kind == "turned" else (24, 16)
    mask = Image.new("L", upright)
    mask.paste(255, (0, 0, 8, 8))
    mask.save("mask.png")
    for words in ((), ("--mask", "mask.png")):
        said = sensorium("edit", run, "--image", name, "make it a man", "--out", "out", *words)
        assert said.code == 0, said.err
    assert sensorium("caption", run, name).code == 0
    sizes = sorted(Image.open(path).size for path in Path("out").iterdir())
    assert upright in sizes and len(sizes) == 2


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["draw", "RUN", ""], "PROMPT: there are no words; say in words what to draw"),
        (["draw", "RUN", " \n"], "PROMPT: there are no words"),
        (["draw", "RUN", "red apple " * 1000], "tokens, and the model reads 54; shorten it"),
        (["draw", "RUN", "красное яблоко"], "written in Cyrillic letters; this run learnt English"),
        (["draw", "RUN", "ein Haus am See"], "none of the words was learnt; this run learnt English"),
        (["draw", "RUN", "firefigther"], "did you mean firefighter?"),
        (["draw", "RUN", "red apple", "--n", "0"], "'--n': should be greater than or equal to 1"),
        (["draw", "RUN", "red apple", "--n", "1000000000"], "'--n': should be less than or equal to 100"),
        (["draw", "RUN", "red apple", "--n", "some"], "'--n': should be a valid integer"),
        (["draw", "RUN", "red apple", "--seed", "-1"], "'--seed': should be greater than or equal to 0"),
        (["draw", "RUN", "red apple", "--top-p", "0"], "top_p: 0.0 is not a number above 0"),
        (["draw", "RUN", "red apple", "--guidance", "nan"], "'--guidance': should be"),
        (["draw", "RUN", "red apple", "--out", "mask.png"], "mask.png: is a file, not a folder"),
        (["draw", "nowhere", "red apple"], "nowhere: no such run"),
        (["draw", "RUN"], "missing argument 'PROMPT'"),
        (["edit", "RUN", "make it a man"], "--image: say which picture"),
        (["edit", "RUN", "--image", "cook.png"], "say what shall change; give one of PROMPT and --vary"),
        (["edit", "RUN", "--image", "cook.png", ""], "PROMPT: there are no words"),
        (["edit", "RUN", "--image", "cook.png", "--vary", "0"], "strength: 0.0 is not a number above 0"),
        (["edit", "RUN", "--image", "cook.png", "--vary", "0.5", "--mask", "mask.png"], "exclude each other"),
        (["edit", "RUN", "--image", "no.png", "make it a man"], "no.png: there is no such file"),
        (["edit", "RUN", "--image", "cut.png", "make it a man"], "cut.png: the picture is truncated"),
        (["edit", "RUN", "--image", "note.txt", "make it a man"], "note.txt: this is no picture"),
        (["edit", "RUN", "--image", "empty.png", "make it a man"], "empty.png: the file is empty"),
        (["edit", "RUN", "--image", ".", "make it a man"], "this is a folder"),
        (["edit", "RUN", "--image", "cook.png", "--mask", "mask.png", "make it a man"], "mask.png: the mask is 8 × 8, "),
        (["edit", "RUN", "--image", "cook.png", "--mask", "black.png", "make it a man"], "the mask is empty"),
        (["edit", "RUN", "--image", "cook.png", "--mask", "cut.png", "make it a man"], "cut.png: the picture is trunc"),
        (["edit", "RUN", "--image", "cook.png", "--mask", "no.png", "make it a man"], "no.png: there is no such file"),
        (["caption", "RUN", "cook.png", "cut.png"], "cut.png: the picture is truncated"),
        (["caption", "RUN", "https://example.org/a.png"], "a.png"),
        (["caption", "RUN"], "missing argument 'F...'"),
    ],
)  # fmt: skip
def test_one_line_and_exit_code_2(sensorium: Command, run: str, words: list[str], line: str) -> None:
    noise(20, 10).save("cook.png")
    Image.new("L", (8, 8), 255).save("mask.png")
    Image.new("L", (20, 10)).save("black.png")
    noise(64, 64).save("whole.png")
    Path("cut.png").write_bytes(Path("whole.png").read_bytes()[:-3000])
    Path("note.txt").write_text("hello")
    Path("empty.png").touch()
    before = files()
    said = sensorium(*[run if word == "RUN" else word for word in words])
    assert said.code == 2 and said.out == ""
    assert line in said.line and said.line.startswith("error: ") and "Traceback" not in said.err
    assert files() == before


def test_a_run_that_does_not_draw(sensorium: Command, run: str, tmp_path: Path) -> None:
    for words in (["draw", "x", "red apple"], ["caption", "x", "a.png"]):
        assert sensorium(*words).code == 2


@pytest.mark.parametrize(
    "command", [["chat"], ["predict", "--data", "x.csv", "--out", "y.csv"], ["translate", "hello"]]
)
def test_other_commands_refuse_a_run_that_draws(sensorium: Command, run: str, command: list[str]) -> None:
    Path("x.csv").write_text("prompt\nred apple\n")
    said = sensorium(command[0], run, *command[1:])
    assert said.code == 2 and said.err.strip().splitlines()[-1].startswith("error: "), said.err
    assert command[0] == "translate" or "the run draws" in said.err
