"""Inpainting: which codes a mask lets change, and the drawn part put back into the picture it was asked for.

Everything happens at the input's own size; a pixel outside the mask keeps every bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from sensorium.errors import DataError
from sensorium.modalities import image

HALF = 128  # of 255: a mask's pixel says yes or no
KEPT_MODES = ("L", "LA", "RGB", "RGBA")  # a PNG holds them as they are; grey of 16 bits as well
_PROFILED = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # their colour profile still fits the mode they are kept in


def read_mask(data: bytes, size: tuple[int, int], where: str = "mask") -> np.ndarray:
    """What may change: (height, width) bool, of a picture of ``size`` (width, height) as it is meant to be seen.

    A mask with an alpha channel that is not opaque throughout says it by transparency, as OpenAI's API has it:
    transparent changes. Any other mask says it by brightness: white changes. The boundary is at one half.

    Raises:
        DataError: the mask has another size, or lets nothing change.
        MediaError: it is no picture that can be read.
    """
    found = image.upright(data)
    if found.size != size:
        told, wanted = (f"{width} × {height}" for width, height in (found.size, size))
        raise DataError(f"the mask is {told}, the picture {wanted}", where=where, mend="give a mask of the same size")
    change = None
    if found.has_transparency_data:
        alpha = np.asarray(found.convert("RGBA"))[..., 3]
        change = alpha < HALF if alpha.min() < 255 else None
    if change is None:
        change = np.asarray(Image.fromarray(image.decode(data)).convert("L")) >= HALF
    if not change.any():
        mend = "make what is to change white, or transparent"
        raise DataError("the mask is empty: it lets nothing change", where=where, mend=mend)
    return change


def masked_cells(mask: np.ndarray, size: int, grid: int) -> np.ndarray:
    """The codes that a mask touches, if only by one pixel: (grid * grid,) bool, row by row.

    Args:
        mask: (height, width) bool at the input's own size. size: of the tokenizer's square in pixels; the picture
            stands in it as ``modalities.image.resize`` puts it. grid: codes a side.
    """
    height, width = mask.shape
    left, top, right, bottom = image.letterbox(width, height, size)
    rows = np.stack([mask[a:b].any(axis=0) for a, b in _spans(top, bottom, height, size, grid)])
    return np.stack([rows[:, a:b].any(axis=1) for a, b in _spans(left, right, width, size, grid)], axis=1).ravel()


def _spans(start: int, end: int, length: int, size: int, grid: int) -> Iterator[tuple[int, int]]:
    """Along one side, the input's pixels that each cell covers in part or whole; in whole numbers, so exactly."""
    unit = (end - start) * grid
    for cell in range(grid):
        first = (cell * size - start * grid) * length // unit
        last = -(-((cell + 1) * size - start * grid) * length // unit)
        yield min(max(first, 0), length), min(max(last, 0), length)


def canvas(data: bytes) -> Image.Image:
    """The picture to draw into, as it is meant to be seen, in its own mode where a PNG can hold that and new colours.

    Grey, grey with alpha, RGB, RGBA and 16-bit grey stay. Black and white becomes grey; a palette RGB, or RGBA where
    something is transparent, for it has no room for new colours: each pixel keeps its own. Anything else (CMYK, 32 bits)
    becomes RGB as ``modalities.image.decode`` makes it. RGB of 16 bits is read as of 8.

    Raises:
        MediaError: it is too large, no picture, damaged or truncated.
    """
    found = image.upright(data)
    profile = found.info.get("icc_profile") if found.mode in _PROFILED else None
    mode = found.mode
    if mode.startswith("I;16"):
        kept = Image.fromarray(np.asarray(found).astype(np.uint16))
    elif found.has_transparency_data:
        kept = found if mode in ("LA", "RGBA") else found.convert("LA" if mode in ("1", "L", "La") else "RGBA")
    elif mode == "1":
        kept = found.convert("L")
    elif mode == "P":
        kept = found.convert("RGB")
    else:
        kept = found if mode in KEPT_MODES else Image.fromarray(image.decode(data))
    clean = Image.fromarray(np.array(kept))  # without the notes of its file
    if profile:
        clean.info["icc_profile"] = profile
    return clean


def blend(source: Image.Image, drawn: Image.Image, mask: np.ndarray) -> Image.Image:
    """``source`` with the masked pixels taken from ``drawn``; every other pixel as it was, in the same mode.

    Args:
        source: as ``canvas`` gives it. drawn: the model's square, RGB, in which the picture stands letterboxed.
        mask: (height, width) bool. What is drawn is opaque.
    """
    part = drawn.crop(image.letterbox(*source.size, drawn.width)).resize(source.size, Image.Resampling.BICUBIC)
    pixels = np.array(source)
    if source.mode == "I;16":
        fresh = np.asarray(part.convert("L")).astype(np.uint16) * 257
    else:
        fresh = np.asarray(part.convert(source.mode))
    pixels[mask] = fresh[mask]
    blended = Image.fromarray(pixels)
    blended.info = dict(source.info)
    return blended
