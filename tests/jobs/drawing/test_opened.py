"""A run that draws, opened from Python: seeds, settings, masks at the picture's own size, captions, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sensorium
from sensorium.errors import DataError, MediaError, RunError
from sensorium.jobs.drawing.opened import OpenedDrawer
from sensorium.models.drawing.pixels import pixels, to_image
from tests.jobs.drawing.tiny_run import CODES, SIZE, encoded, noise, tiny_drawing_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_drawing_run(tmp_path_factory.mktemp("runs") / "tiny-draw")


@pytest.fixture(scope="module")
def drawer(folder: Path) -> OpenedDrawer:
    found = sensorium.load(folder)
    assert isinstance(found, OpenedDrawer)
    return found


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.mode == other.mode and np.array_equal(np.asarray(one), np.asarray(other))


def shown(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture, dtype=int)


# -- drawing ---------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_picture(drawer: OpenedDrawer, folder: Path) -> None:
    four = drawer.draw("red apple", 4, 1)
    assert [one.seed for one in four] == [1, 2, 3, 4] and all(one.image.size == (SIZE, SIZE) for one in four)
    assert all(one.codes.shape == (CODES,) and one.prompt == "red apple" for one in four)
    again = OpenedDrawer(folder).draw("  red   apple ", 4, 1)
    assert all(same(a.image, b.image) for a, b in zip(four, again, strict=True))
    assert same(drawer.draw("red apple", seed=3)[0].image, four[2].image)
    assert len({one.image.tobytes() for one in four}) == 4


def test_the_words_and_each_setting_make_a_difference(drawer: OpenedDrawer) -> None:
    first = drawer.draw("red apple", 3)
    others: dict[str, Any] = {
        "words": {}, "guidance": {"guidance": 0}, "temperature": {"temperature": 0}, "top_k": {"top_k": 1},
        "top_p": {"top_p": 0.05}, "parallel": {"parallel": True}, "candidates": {"candidates": 4},
    }  # fmt: skip
    for name, wishes in others.items():
        drawn = drawer.draw("give it dark skin" if name == "words" else "red apple", 3, **wishes)
        assert any(not same(a.image, b.image) for a, b in zip(first, drawn, strict=True)), name
    unread = [drawer.draw(words, guidance=0)[0].codes.tolist() for words in ("red apple", "give it dark skin")]
    assert unread[0] == unread[1], "without guidance the words are unread"


def test_the_best_of_several_candidates_is_kept(drawer: OpenedDrawer) -> None:
    one, best = drawer.draw("red apple", 4, 1), drawer.draw("red apple", 4, 1, candidates=4)
    assert all(b.score >= a.score for a, b in zip(one, best, strict=True))  # type: ignore[operator]
    assert any(b.score > a.score for a, b in zip(one, best, strict=True))  # type: ignore[operator]
    assert best[0].settings["candidates"] == 4 and best[0].settings["parallel"] is False


def test_pictures_are_told_of_as_they_are_done(drawer: OpenedDrawer) -> None:
    done: list[int] = []
    assert len(drawer.draw("red apple", 37, advance=done.append)) == 37
    assert sum(done) == 37 and len(done) > 1


# -- editing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("size", [(16, 16), (50, 30)])
def test_a_picture_of_any_mode_is_filled_in_where_the_mask_says(
    drawer: OpenedDrawer, mode: str, size: tuple[int, int]
) -> None:
    source = noise(*size, mode=mode)
    data = encoded(source, "TIFF" if mode == "CMYK" else "PNG")
    mask = np.zeros(size[::-1], dtype=np.uint8)
    mask[3:9, 2:7] = 255
    found = drawer.edit(data, "give it dark skin", encoded(Image.fromarray(mask)), 6, temperature=4.0)
    assert [one.image.size for one in found] == [size] * 6 and found[0].partly
    kept = source.convert({"1": "L", "P": "RGB", "CMYK": "RGB"}[mode]) if mode in ("1", "P", "CMYK") else source
    before, after = np.asarray(kept), np.asarray(found[0].image)
    assert before.dtype == after.dtype and before.shape == after.shape
    assert np.array_equal(before[mask == 0], after[mask == 0]), "outside the mask every bit stays"
    assert not np.array_equal(before[mask == 255], after[mask == 255])
    assert len({one.image.tobytes() for one in found}) > 1


def test_outside_a_mask_the_codes_stay_and_without_one_all_are_drawn(drawer: OpenedDrawer) -> None:
    source = noise(64, 64)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 16, 16))  # one code of sixteen
    filled = drawer.edit(source, "make it a man", mask)[0]
    other = drawer.edit(source, "make it a man", mask, seed=9)[0]
    assert (filled.codes != other.codes).sum() <= 1
    anew = drawer.edit(source, "make it a man", n=3)
    assert anew[0].image.size == (SIZE, SIZE) and not anew[0].partly
    assert all((one.codes != filled.codes).sum() > 1 for one in anew)
    everything = drawer.edit(source, "make it a man", Image.new("L", (64, 64), 255))[0]
    assert everything.image.size == (64, 64) and not everything.partly


def test_an_edit_keeps_the_details_that_codes_lose(drawer: OpenedDrawer) -> None:
    source = noise(seed=3)
    (made,) = drawer.edit(source, "make it a man")
    tokenizer, was = drawer.opened.pictures, pixels(source, SIZE)[None]
    drawn, rebuilt = tokenizer.decode(made.codes[None]), tokenizer.decode(tokenizer.encode(was))
    lost, changed = was - rebuilt, (drawn - rebuilt).abs().mean(1, keepdim=True) / 2
    assert np.abs(shown(made.image) - shown(to_image((drawn + lost * (1 - changed))[0]))).max() <= 1
    assert np.abs(shown(made.image) - shown(to_image(drawn[0]))).max() > 5


def test_the_source_makes_a_difference_and_an_edit_has_its_shape(drawer: OpenedDrawer) -> None:
    one, other = (drawer.edit(noise(40, 20, seed=seed), "make it a man", n=2) for seed in (1, 2))
    assert one[0].image.size == (16, 8)
    assert any(not same(a.image, b.image) for a, b in zip(one, other, strict=True))


def test_variations_keep_more_codes_the_weaker_they_are(drawer: OpenedDrawer) -> None:
    picture = noise()
    whole = drawer.opened.pictures.encode(_pixels(picture))[0]
    changed = {
        strength: max(int((one.codes != whole).sum()) for one in drawer.variations(picture, 3, strength=strength))
        for strength in (0.1, 0.5, 1.0)
    }
    assert 0 < changed[0.1] <= 2 < changed[0.5] <= 8 < changed[1.0]
    first, again = drawer.variations(picture, 2, 5), drawer.variations(picture, 2, 5)
    assert all(same(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not same(first[0].image, first[1].image) and first[0].settings["strength"] == 0.6


def _pixels(picture: Image.Image) -> Any:
    from sensorium.models.drawing.pixels import pixels

    return pixels(picture, SIZE)[None]


# -- captions --------------------------------------------------------------------------------------


def test_captions_in_order_whatever_else_is_asked(drawer: OpenedDrawer, tmp_path: Path) -> None:
    shown = [noise(seed=seed) for seed in range(3)]
    said = drawer.caption(shown)
    assert len(set(said)) > 1, "the picture makes a difference"
    assert [drawer.caption([one])[0] for one in shown] == said
    shown[1].save(tmp_path / "b.png")
    assert drawer.caption([encoded(shown[0]), tmp_path / "b.png", str(tmp_path / "b.png")]) == [*said[:2], said[1]]
    assert drawer.caption([]) == []


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": ""}, "prompt: there are no words; say in words what to draw"),
        ({"prompt": " \n"}, "prompt: there are no words"),
        ({"prompt": None}, "prompt: a NoneType is no text"),
        ({"prompt": "red apple " * 1000}, "tokens, and the model reads 54; shorten it"),
        ({"prompt": "x" * 40_000}, "prompt: the words are 40,000 characters long; write 32,000 at the most"),
        ({"prompt": "red\x07apple"}, "prompt: the words hold a control character (U+0007)"),
        ({"prompt": "red \ud800"}, "prompt: the words hold half a character"),
        ({"prompt": "красное яблоко"}, "written in Cyrillic letters; this run learnt English"),
        ({"n": 0}, "n: 0 is not a whole number from 1 to 100"),
        ({"n": 10**9}, "n: 1000000000 is not a whole number from 1 to 100"),
        ({"n": 1.5}, "n: 1.5 is not a whole number"),
        ({"n": True}, "n: True is not a whole number"),
        ({"seed": -1}, "seed: -1 is not a whole number from 0 to"),
        ({"guidance": 21}, "guidance: 21 is not a number from 0 to 20"),
        ({"guidance": float("nan")}, "guidance: nan is not a number"),
        ({"temperature": "hot"}, "temperature: 'hot' is not a number"),
        ({"top_p": 0}, "top_p: 0 is not a number above 0, 1 at the most"),
        ({"candidates": 33}, "candidates: 33 is not a whole number from 1 to 32"),
        ({"topk": 3}, "topk: there is no such setting; did you mean top_k?"),
        ({"swirl": 3}, "swirl: there is no such setting; known: guidance,"),
    ],
)
def test_what_cannot_be_drawn(drawer: OpenedDrawer, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        drawer.draw(**{"prompt": "red apple", **asked})
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("picture", "mask", "said"),
    [
        (noise(), noise(8, 16), "mask: the mask is 8 × 16, the picture 16 × 16; give a mask of the same size"),
        (noise(), Image.new("L", (16, 16)), "mask: the mask is empty"),
        (noise(), b"hello", "mask: this is no picture"),
        (noise(), encoded(noise(64, 64))[:-2000], "mask: the picture is truncated"),
        (b"", None, "image: "),
        (b"hello", None, "image: this is no picture"),
        (encoded(noise(64, 64))[:-2000], None, "image: the picture is truncated"),
        ("no/such.png", None, "no/such.png: there is no such file; give the path of a picture"),
        (Path(__file__).parent, None, "this is a folder"),
    ],
)
def test_pictures_that_cannot_be_edited(drawer: OpenedDrawer, picture: Any, mask: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        drawer.edit(picture, "make it a man", mask)
    assert said in str(caught.value)
    if mask is None:
        for refused in (lambda: drawer.caption([noise(), picture]), lambda: drawer.variations(picture)):
            with pytest.raises(MediaError) as again:
                refused()
            assert said.removeprefix("image: ") in str(again.value)


@pytest.mark.parametrize("strength", [0, 1.01, "much"])
def test_a_strength_out_of_range(drawer: OpenedDrawer, strength: Any) -> None:
    with pytest.raises(DataError, match=r"strength: .* above 0, 1 at the most"):
        drawer.variations(noise(), strength=strength)


def test_what_a_run_has_not_learnt(tmp_path: Path) -> None:
    drawer = OpenedDrawer(tiny_drawing_run(tmp_path / "draws", forms={"draw": 1.0}))
    assert drawer.draw("red apple")[0].score is None
    mask = Image.new("L", (16, 16), 255)
    for asked, said in (
        (lambda: drawer.edit(noise(), "make it a man"), "not learnt to edit; fit with drawing.forms.edit"),
        (lambda: drawer.edit(noise(), "make it a man", mask), "not learnt to fill in what a mask leaves out"),
        (lambda: drawer.variations(noise()), "not learnt to vary pictures"),
        (lambda: drawer.caption([noise()]), "not learnt to caption"),
        (lambda: drawer.draw("red apple", parallel=True), "not learnt to draw in parallel"),
        (lambda: drawer.draw("red apple", candidates=2), "not learnt to read pictures"),
    ):
        with pytest.raises(DataError, match=said):
            asked()


def test_runs_that_do_not_draw_or_are_damaged(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        OpenedDrawer(tmp_path / "nowhere")
    broken = tiny_drawing_run(tmp_path / "broken")
    (broken / "model" / "tokenizer_of_pictures" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="cannot be read"):
        OpenedDrawer(broken)
    lines = (folder / "recipe.yaml").read_text().splitlines()
    (broken / "recipe.yaml").write_text("\n".join(lines[: lines.index("training:")]))
    with pytest.raises(RunError, match="damaged"):
        OpenedDrawer(broken)
