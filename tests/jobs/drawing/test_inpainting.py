"""Masks to codes, and what was drawn back into the picture: outside the mask every bit stays."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium.errors import DataError, MediaError
from sensorium.jobs.drawing.inpainting import blend, canvas, masked_cells, read_mask
from sensorium.modalities import image

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "P transparent", "RGB keyed")


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(mode: str, width: int, height: int, rng: np.random.Generator) -> bytes:
    """A picture of random pixels in ``mode``, as the bytes of a file."""

    def pixels(bands: int, kind: Any = np.uint8) -> np.ndarray:
        shape = (height, width, bands) if bands > 1 else (height, width)
        return rng.integers(0, np.iinfo(kind).max + 1, shape, dtype=kind)

    rgb = Image.fromarray(pixels(3))
    match mode:
        case "I;16":
            return encoded(Image.fromarray(pixels(1, np.uint16)))
        case "L" | "1":
            return encoded(Image.fromarray(pixels(1)).convert(mode))
        case "LA" | "RGBA":
            return encoded(Image.fromarray(pixels(2 if mode == "LA" else 4)))
        case "P":
            return encoded(rgb.quantize(17))
        case "P transparent":
            return encoded(rgb.quantize(17), transparency=3)
        case "RGB keyed":
            return encoded(rgb, transparency=tuple(map(int, np.asarray(rgb)[0, 0])))
        case "CMYK":
            return encoded(Image.fromarray(pixels(4), "CMYK"), "TIFF")
        case "YCbCr":
            return encoded(rgb, "JPEG", quality=80)
    return encoded(rgb)


@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None)
def test_outside_the_mask_every_bit_stays(mode: str, width: int, height: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = noise(mode, width, height, rng)
    mask = rng.random((height, width)) < share
    drawn = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    out = Image.open(io.BytesIO(encoded(blend(canvas(data), drawn, mask))))
    before = Image.open(io.BytesIO(data))
    assert out.size == before.size == (width, height)
    kept = {"1": "L", "P": "RGB", "P transparent": "RGBA", "RGB keyed": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}
    assert out.mode == kept.get(mode, mode)
    wanted = before if out.mode == "I;16" else before.convert(out.mode)
    assert np.array_equal(np.asarray(out)[~mask], np.asarray(wanted)[~mask])
    if mode not in ("1", "CMYK", "YCbCr") and mask.all() and width == height == 32 and out.mode == "RGB":
        assert np.array_equal(np.asarray(out), np.asarray(drawn))


def test_inside_the_mask_it_is_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = Image.new("RGB", (32, 32), (10, 200, 90))
    mask = np.zeros((20, 50), dtype=bool)
    mask[3:9, 20:40] = True
    for mode, colour in (("RGB", [10, 200, 90]), ("RGBA", [10, 200, 90, 255]), ("L", 131), ("I;16", 131 * 257)):
        out = np.asarray(blend(canvas(noise(mode, 50, 20, rng)), drawn, mask))
        assert (out[mask] == colour).all(), mode


def test_a_turned_photograph_is_kept_as_it_is_seen() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = canvas(encoded(Image.fromarray(pixels), exif=exif))
    assert kept.size == (6, 10) and np.array_equal(np.asarray(kept), np.rot90(pixels, -1))
    again = Image.open(io.BytesIO(encoded(blend(kept, Image.new("RGB", (8, 8)), np.zeros((10, 6), dtype=bool)))))
    assert again.getexif().get(0x0112, 1) == 1  # else it would be turned once more
    assert np.array_equal(np.asarray(again), np.rot90(pixels, -1))


def test_the_first_frame_of_an_animation_and_its_profile() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(np.asarray(canvas(data)), np.asarray(frames[0]))
    profile = b"a colour profile"
    kept = blend(canvas(encoded(frames[1], icc_profile=profile)), frames[0], np.zeros((8, 8), dtype=bool))
    assert Image.open(io.BytesIO(encoded(kept))).info["icc_profile"] == profile


def reference_cells(mask: np.ndarray, size: int, grid: int) -> np.ndarray:
    """Pixel by pixel, in fractions: the cells whose area a masked pixel's area overlaps."""
    from fractions import Fraction

    height, width = mask.shape
    left, top, right, bottom = image.letterbox(width, height, size)
    found = np.zeros((grid, grid), dtype=bool)
    for y, x in np.argwhere(mask):
        y0, y1 = (top + Fraction(int(y) + i) * (bottom - top) / height for i in (0, 1))
        x0, x1 = (left + Fraction(int(x) + i) * (right - left) / width for i in (0, 1))
        cell = Fraction(size, grid)
        for r in range(grid):
            for c in range(grid):
                if y0 < (r + 1) * cell and y1 > r * cell and x0 < (c + 1) * cell and x1 > c * cell:
                    found[r, c] = True
    return found.ravel()


@given(width=st.integers(1, 40), height=st.integers(1, 40), seed=st.integers(0, 99), grid=st.sampled_from([2, 4, 8]))
@settings(max_examples=40, deadline=None)
def test_cells_that_a_mask_touches(width: int, height: int, seed: int, grid: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.03
    assert np.array_equal(masked_cells(mask, 32, grid), reference_cells(mask, 32, grid))


def test_masks_say_it_by_transparency_or_by_white() -> None:
    change = np.zeros((6, 9), dtype=bool)
    change[1:3, 2:5] = True
    white = Image.fromarray(np.where(change, 255, 0).astype(np.uint8))
    clear = Image.new("RGBA", (9, 6), (255, 255, 255, 255))
    clear.putalpha(Image.fromarray(np.where(change, 0, 255).astype(np.uint8)))
    opaque = white.convert("RGBA")  # an alpha channel that says nothing
    keyed = white.point(lambda v: 255 - v)
    for mask in (white, white.convert("1"), white.convert("RGB"), white.convert("P"), clear, opaque):
        assert np.array_equal(read_mask(encoded(mask), (9, 6)), change), mask.mode
    assert np.array_equal(read_mask(encoded(keyed, transparency=0), (9, 6)), change)
    deep = Image.fromarray(np.where(change, 65535, 0).astype(np.uint16))
    assert np.array_equal(read_mask(encoded(deep), (9, 6)), change)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Image.new("L", (8, 6), 255), "mask.png: the mask is 8 × 6, the picture 9 × 6; give a mask of the same size"),
        (Image.new("L", (9, 6)), "mask.png: the mask is empty: it lets nothing change"),
        (Image.new("RGBA", (9, 6), (255, 255, 255, 200)), "the mask is empty"),
    ],
)
def test_masks_that_are_refused(mask: Image.Image, message: str) -> None:
    with pytest.raises(DataError, match=r"mask\.png") as caught:
        read_mask(encoded(mask), (9, 6), "mask.png")
    assert message in str(caught.value)


def test_what_is_no_picture() -> None:
    for data in (b"", b"GIF89a", encoded(Image.effect_noise((30, 30), 50))[:200]):
        with pytest.raises(MediaError):
            canvas(data)
        with pytest.raises(MediaError):
            read_mask(data, (9, 6))
