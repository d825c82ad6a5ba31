"""Between pictures and the tensors that the tokenizer reads and writes."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sensorium.modalities.image import decode, resize


def pixels(picture: bytes | Image.Image, size: int) -> Tensor:
    """A picture as (3, size, size) float32 in [-1, 1]: upright, on white, whole, its shape kept.

    Raises:
        MediaError: it is too large, no picture, damaged or truncated.
    """
    return to_tensor(torch.from_numpy(square(picture, size)))


def to_tensor(squares: Tensor) -> Tensor:
    """(…, height, width, 3) uint8 -> (…, 3, height, width) float32 in [-1, 1]."""
    return squares.movedim(-1, -3).float().div(127.5).sub(1)


def square(picture: bytes | Image.Image, size: int) -> np.ndarray:
    """A picture as (size, size, 3) uint8; see ``pixels``."""
    return np.array(resize(decode(picture if isinstance(picture, bytes) else _png(picture)), size))


def to_image(pixels: Tensor) -> Image.Image:
    """(3, height, width) in [-1, 1] -> an RGB picture; what lies beyond is cut to the range."""
    return Image.fromarray(to_squares(pixels))


def to_squares(pixels: Tensor) -> np.ndarray:
    """(…, 3, height, width) in [-1, 1] -> (…, height, width, 3) uint8; the reverse of ``to_tensor``."""
    return to_bytes(pixels).movedim(-3, -1).contiguous().numpy()


def to_bytes(pixels: Tensor) -> Tensor:
    """(…) in [-1, 1] -> (…) uint8 from 0 to 255, rounded."""
    return pixels.detach().float().cpu().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


def _png(picture: Image.Image) -> bytes:
    """As bytes, so that a picture in memory is read by the same rules as one in a file."""
    file = io.BytesIO()
    kept = picture if picture.mode in _AS_PNG else picture.convert("RGB")
    kept.save(file, "PNG", compress_level=0)
    return file.getvalue()


_AS_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
