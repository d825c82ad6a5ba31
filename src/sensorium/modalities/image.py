"""Pictures: decoded from bytes that nobody vouches for, resized, normalised, augmented and corrupted."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from sensorium.errors import MediaError
from sensorium.modalities import Corruption, corruption

MAX_PIXELS = 64_000_000  # 192 MB once decoded
MAX_BYTES = 64 << 20
# Readers that only decode: none that starts another program (EPS) or only names a stub. JPEG reads MPO too.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "ICO")
# What Pillow's readers raise on damaged bytes, besides OSError.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    BufferError,
    RuntimeError,
    Warning,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_WHITE = 255


def decode(data: bytes, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """The picture in ``data`` as it is meant to be seen: (height, width, 3) uint8, RGB.

    Turned as its EXIF orientation says; transparency on white; CMYK, palettes and grey made RGB (colour profiles are
    not applied); 16 bits scaled to 8; the first frame of an animation. Size is read from the header and refused
    before a pixel is decoded.

    Raises:
        MediaError: it is too large, no picture, damaged or truncated.
    """
    image = upright(data, max_pixels, max_bytes)
    try:
        pixels = np.array(_rgb(image), dtype=np.uint8)
    except _DAMAGE as error:
        raise _unreadable(error) from None
    finally:
        image.close()
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise MediaError("the picture has no pixels", mend="export it again")
    return pixels


def upright(data: bytes, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> Image.Image:
    """The picture in its own mode (``L``, ``RGBA``, ``CMYK``, …), turned as its EXIF orientation says; its first frame.

    Raises:
        MediaError: as ``decode``.
    """
    image = _open(data, max_pixels, max_bytes)
    try:
        image.load()
        return _turned(image)
    except _DAMAGE as error:
        image.close()
        raise _unreadable(error) from None


def header(data: bytes, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> tuple[str, int, int]:
    """(format, width, height) without decoding pixels; the format is one of ``FORMATS``. Raises MediaError."""
    with _open(data, max_pixels, max_bytes) as image:
        return str(image.format), image.width, image.height


def animated(data: bytes, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> bool:
    """Whether there is more than one frame, without decoding pixels. Raises MediaError.

    The second picture that some cameras put behind a JPEG (MPO) is no frame.
    """
    with _open(data, max_pixels, max_bytes) as image:
        try:
            return bool(getattr(image, "is_animated", False)) and image.format != "MPO"
        except _DAMAGE as error:
            raise _unreadable(error) from None


def decoding_bytes(data: bytes, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> int:
    """About how much memory ``decode`` takes at its height, by the header alone. Raises MediaError.

    Bytes a pixel as ``_rgb`` goes about it: transparency holds four RGBA pictures at once, deep grey several of
    eight bytes.
    """
    with _open(data, max_pixels, max_bytes) as image:
        if image.mode == "F" or image.mode.startswith("I"):
            each = 32
        else:
            each = 24 if image.has_transparency_data else 9
        return image.width * image.height * each


def _open(data: bytes, max_pixels: int, max_bytes: int) -> Image.Image:
    if not data:
        raise MediaError("the picture is empty", mend="replace the file")
    if len(data) > max_bytes:
        raise MediaError(f"the picture has {len(data):,} bytes, more than {max_bytes:,}", mend="make it smaller")
    _hush()
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
    except Image.DecompressionBombError:
        raise MediaError(f"the picture has more than {max_pixels:,} pixels", mend="make it smaller") from None
    except Image.UnidentifiedImageError:
        raise MediaError("this is no picture in a format that can be read", mend="convert it to PNG or JPEG") from None
    except _DAMAGE as error:
        raise _unreadable(error) from None
    if width * height > max_pixels:
        image.close()
        raise MediaError(
            f"the picture is {width:,} × {height:,}, more than {max_pixels:,} pixels", mend="make it smaller"
        )
    return image


@cache
def _hush() -> None:
    """Pillow's warnings about odd files: what matters of them is raised here as MediaError."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _unreadable(error: BaseException) -> MediaError:
    told = str(error) or type(error).__name__
    what = "the picture is truncated" if "truncated" in told.lower() else f"the picture is damaged ({told[:120]})"
    return MediaError(what, mend="export it again")


# EXIF 2.32, tag 0x0112: what brings the stored picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turned(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
    except _DAMAGE:  # a damaged note beside a sound picture
        return image
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image | np.ndarray:
    mode = image.mode
    if mode == "RGB" and not image.has_transparency_data:
        return image
    if mode.startswith("I;16"):
        return _grey(np.round(np.asarray(image).astype(np.float64) / 257))
    if mode in ("I", "F"):
        return _grey(_scaled(np.asarray(image).astype(np.float64), sixteen=image.format in ("PNG", "PPM")))
    if image.has_transparency_data:
        top = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", top.size, (_WHITE,) * 4), top).convert("RGB")
    return image.convert("RGB")


def _scaled(values: np.ndarray, sixteen: bool) -> np.ndarray:
    """Deep grey values -> 0 to 255: by 65535 where the format says 16 bits, from 0 to 1, else by their own range."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if sixteen and low >= 0 and high <= 65535:
        return np.round(values / 257)
    if low >= 0 and high <= 1:
        return np.round(values * 255)
    return np.round((values - low) / max(high - low, 1e-12) * 255)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


# -- to what a model reads -------------------------------------------------------------------------


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """(height, width, 3) uint8 -> (size, size, 3): the whole picture, its shape kept, centred on white (letterbox).

    Nothing is cut off and nothing stretched, since what matters may stand at the edge (documents, icons). Bicubic with
    antialiasing.
    """
    left, top, right, bottom = letterbox(pixels.shape[1], pixels.shape[0], size)
    small = np.asarray(Image.fromarray(pixels).resize((right - left, bottom - top), Image.Resampling.BICUBIC))
    if small.shape[:2] == (size, size):
        return small
    out = np.full((size, size, 3), _WHITE, dtype=np.uint8)
    out[top:bottom, left:right] = small
    return out


def letterbox(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom), in pixels, where ``resize`` puts a picture in its square of ``size``."""
    scale = size / max(height, width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size - wide) // 2, (size - high) // 2
    return left, top, left + wide, top + high


def normalise(pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(height, width, 3) uint8 -> (3, height, width) float32: scaled to [0, 1], then (x - mean) / std a channel."""
    scale = 1 / (255 * np.asarray(std, dtype=np.float64))
    shift = np.asarray(mean, dtype=np.float64) / np.asarray(std, dtype=np.float64)
    return np.ascontiguousarray((pixels * scale.astype(np.float32) - shift.astype(np.float32)).transpose(2, 0, 1))


# -- augmentation ----------------------------------------------------------------------------------


def augment(pixels: np.ndarray, rng: np.random.Generator, *, flip: bool = False, least: float = 0.7) -> np.ndarray:
    """A mild random crop, brought back to the same size, and jittered colours; (height, width, 3) uint8 as before.

    Args:
        flip: mirror half of the pictures; off by default, for letters, digits and arrows are not what they are mirrored.
        least: the smallest share of the area that a crop keeps.
    """
    height, width = pixels.shape[:2]
    area, ratio = rng.uniform(least, 1.0), np.exp(rng.uniform(-0.15, 0.15))
    new_h = min(height, max(1, round(height * np.sqrt(area / ratio))))
    new_w = min(width, max(1, round(width * np.sqrt(area * ratio))))
    top, left = int(rng.integers(height - new_h + 1)), int(rng.integers(width - new_w + 1))
    image = Image.fromarray(pixels[top : top + new_h, left : left + new_w])
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    mirrored = rng.random() < 0.5
    if flip and mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(float(rng.uniform(0.8, 1.2)))
    return np.array(image)


def rearrange(pixels: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
    """Mirrored, moved by up to ``most`` pixels and with its colour channels exchanged, each by chance.

    Every pixel stays as sharp as it was: for what learns to rebuild pictures. (height, width, 3) uint8 as before.
    """
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if rng.random() < 0.5:
        pixels = pixels[..., rng.permutation(3)]
    down, across = (int(step) for step in rng.integers(-most, most + 1, 2))
    return moved(pixels, down, across)


def moved(pixels: np.ndarray, down: int, across: int) -> np.ndarray:
    """Moved by so many pixels; the edge's pixels fill what comes free. (height, width, 3) uint8 as before."""
    edges = ((max(down, 0), max(-down, 0)), (max(across, 0), max(-across, 0)), (0, 0))
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, edges, mode="edge")[max(-down, 0) :, max(-across, 0) :]
    return np.ascontiguousarray(padded[:height, :width])


# -- corruption: after Hendrycks & Dietterich 2019, lengths relative to the picture ------------------


def _side(pixels: np.ndarray) -> float:
    return max(pixels.shape[:2]) / 128


def _gaussian_noise(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.normal(0, (10, 20, 32, 48, 70)[severity - 1], pixels.shape)
    return np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8)


def _blur(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    radius = (0.7, 1.2, 2.0, 3.0, 4.5)[severity - 1] * _side(pixels)
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _jpeg(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=(40, 25, 15, 8, 4)[severity - 1])
    return np.array(Image.open(file).convert("RGB"))


def _occlusion(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """A grey square over 5 to 45 % of the area."""
    height, width = pixels.shape[:2]
    share = float(np.sqrt((0.05, 0.12, 0.2, 0.3, 0.45)[severity - 1]))
    high, wide = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    out = pixels.copy()
    out[top : top + high, left : left + wide] = 127
    return out


def _brightness(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    change = (25, 45, 70, 100, 130)[severity - 1] * (1 if rng.random() < 0.5 else -1)
    return np.clip(pixels.astype(np.int16) + change, 0, 255).astype(np.uint8)


def _contrast(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    middle = pixels.mean(axis=(0, 1), keepdims=True)
    factor = (0.6, 0.45, 0.3, 0.2, 0.1)[severity - 1]
    return np.clip(np.round((pixels - middle) * factor + middle), 0, 255).astype(np.uint8)


def _pixelate(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    share = (0.5, 0.35, 0.25, 0.18, 0.12)[severity - 1]
    small = Image.fromarray(pixels).resize(
        (max(1, int(width * share)), max(1, int(height * share))), Image.Resampling.BOX
    )
    return np.array(small.resize((width, height), Image.Resampling.NEAREST))


def _rotate(pixels: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    angle = (8, 15, 25, 40, 60)[severity - 1] * (1 if rng.random() < 0.5 else -1)
    white = (_WHITE, _WHITE, _WHITE)
    return np.array(Image.fromarray(pixels).rotate(angle, Image.Resampling.BICUBIC, fillcolor=white))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "occlusion": _occlusion,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "rotate": _rotate,
}


def corrupt(pixels: np.ndarray, kind: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """(height, width, 3) uint8 spoilt by one of ``CORRUPTIONS``; shape and type stay.

    Raises:
        ValueError: there is no such kind, or ``severity`` is not 1 to 5.
    """
    return corruption(CORRUPTIONS, kind, severity)(pixels, severity, rng)
