"""Pictures: every way in which they are stored, every way in which they are broken."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from sensorium.errors import MediaError
from sensorium.modalities import generator
from sensorium.modalities.image import CORRUPTIONS, augment, corrupt, decode, header, normalise, resize


def stored(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def corners() -> np.ndarray:
    """24 × 16, another colour in each corner, so that every turn is told apart."""
    pixels = np.full((24, 16, 3), 128, dtype=np.uint8)
    pixels[:8, :8], pixels[:8, 8:] = (255, 0, 0), (0, 255, 0)
    pixels[16:, :8], pixels[16:, 8:] = (0, 0, 255), (255, 255, 0)
    return pixels


def noise(height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# What each EXIF orientation does to an upright picture when it is stored (inverse of what decoding must do).
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, format_: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (
        {"quality": 95, "subsampling": 0} if format_ == "JPEG" else {"lossless": True} if format_ == "WEBP" else {}
    )
    turned = Image.fromarray(np.ascontiguousarray(STORED[orientation](corners())))
    found = decode(stored(turned, format_, exif=exif, **options))
    assert found.shape == (24, 16, 3)
    assert np.abs(found.astype(int) - corners()).mean() < 4


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_avif_is_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(np.ascontiguousarray(STORED[orientation](corners())))
    found = decode(stored(turned, "AVIF", exif=exif, quality=95))
    assert np.abs(found.astype(int) - corners()).mean() < 10


def test_damaged_exif_is_passed_over() -> None:
    data = stored(Image.fromarray(corners()), "JPEG", exif=b"Exif\0\0MM\0*" + b"\xff" * 40)
    assert decode(data).shape == (24, 16, 3)


def test_lossless_formats_keep_every_pixel() -> None:
    for format_, options in (("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PPM", {})):
        assert np.array_equal(decode(stored(Image.fromarray(noise()), format_, **options)), noise()), format_


def test_alpha_is_laid_on_white() -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0] = [(255, 0, 0, 0), (255, 0, 0, 255), (0, 0, 0, 128)]
    expected = [[255, 255, 255], [255, 0, 0], [127, 127, 127]]
    for format_, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        found = decode(stored(Image.fromarray(pixels), format_, **options))
        assert np.abs(found[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB"])
def test_other_ways_to_be_transparent(mode: str) -> None:
    if mode == "LA":
        image = Image.new("LA", (2, 1), (0, 0))
        image.putpixel((1, 0), (0, 255))
        data = stored(image)
    else:
        image = Image.new(mode, (2, 1), 0)
        image.putpixel((1, 0), (9, 9, 9) if mode == "RGB" else 1)
        if mode == "P":
            image.putpalette([0, 0, 0, 9, 9, 9])
        data = stored(image, transparency=(0, 0, 0) if mode == "RGB" else 0)
    found = decode(data)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[0, 1].max() <= 9


def test_palette_grey_and_bilevel() -> None:
    palette = Image.fromarray(corners()).quantize(8)
    assert np.abs(decode(stored(palette)).astype(int) - corners()).max() <= 1
    assert decode(stored(Image.new("L", (2, 2), 7)))[0, 0].tolist() == [7, 7, 7]
    assert decode(stored(Image.new("1", (2, 2), 1)))[0, 0].tolist() == [255, 255, 255]


def test_cmyk() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    for format_ in ("JPEG", "TIFF"):
        red, green, blue = decode(stored(image, format_))[4, 4].tolist()
        assert red > 220
        assert max(green, blue) < 60


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_cut(format_: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    found = decode(stored(Image.fromarray(values), format_))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_colour() -> None:
    rows = b"\0" + struct.pack(">6H", 65535, 0, 32896, 0, 65535, 257)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert decode(data)[0].tolist() == [[255, 0, 128], [0, 255, 1]]


def test_float_tiff() -> None:
    values = np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)
    assert decode(stored(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255, 0]


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(format_: str) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = stored(frames[0], format_, save_all=True, append_images=frames[1:], **options)
    found = decode(data)
    assert found.shape == (4, 6, 3)
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 1


def test_one_pixel_goes_all_the_way() -> None:
    pixels = decode(stored(Image.new("RGB", (1, 1), (1, 2, 3))))
    assert pixels.tolist() == [[[1, 2, 3]]]
    assert resize(augment(pixels, generator(0, 0, 0)), 16).shape == (16, 16, 3)
    for kind in CORRUPTIONS:
        assert corrupt(pixels, kind, 5, generator(0, 0, 0)).shape == (1, 1, 3)


# -- broken and hostile ----------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises a great picture, with hardly any data behind it."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", ihdr), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


BROKEN = {
    "empty": (b"", "the picture is empty"),
    "text": (b"<html>not found</html>", "no picture in a format"),
    "vector": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture in a format"),
    "truncated png": (stored(Image.fromarray(noise()))[:-900], "truncated"),
    "truncated jpeg": (stored(Image.fromarray(noise()), "JPEG")[:-900], "truncated"),
    "truncated gif": (stored(Image.fromarray(noise()), "GIF")[:-900], "truncated"),
    "truncated bmp": (stored(Image.fromarray(noise()), "BMP")[:-900], "truncated"),
    "half a webp": (stored(Image.fromarray(noise()), "WEBP", lossless=True)[:-900], "picture"),
    "a header alone": (stored(Image.fromarray(noise()))[:20], "picture"),
    "bomb": (bomb(13_000, 13_000), "64,000,000 pixels"),
    "great bomb": (bomb(60_000, 60_000), "64,000,000 pixels"),
    "no pixels": (bomb(0, 10), "picture"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_are_refused_in_one_line(name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(MediaError, match=message) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    assert caught.value.mend


def test_limits_can_be_set() -> None:
    data = stored(Image.fromarray(noise()))
    with pytest.raises(MediaError, match=r"48 × 32, more than 100 pixels"):
        decode(data, max_pixels=100)
    with pytest.raises(MediaError, match="more than 10"):
        decode(data, max_bytes=10)


def test_header_tells_format_and_size() -> None:
    assert header(stored(Image.fromarray(noise()), "JPEG")) == ("JPEG", 48, 32)
    with pytest.raises(MediaError):
        header(b"junk")


HEADS = [
    stored(Image.fromarray(noise(8, 8)), f) for f in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF")
]


@given(st.binary(max_size=400))
def test_any_bytes_give_a_picture_or_media_error(data: bytes) -> None:
    for head in (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"\xff\xd8\xff\xe1", b"P6\n", b"\0\0\1\0"):
        with contextlib.suppress(MediaError):
            assert decode(head + data, max_pixels=10_000).dtype == np.uint8


@given(st.sampled_from(HEADS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_damaged_pictures_give_a_picture_or_media_error(
    data: bytes, flips: list[tuple[float, int]], cut: float
) -> None:
    spoilt = bytearray(data)
    for where, value in flips:
        spoilt[int(where * (len(spoilt) - 1))] = value
    try:
        pixels = decode(bytes(spoilt[: max(1, int(cut * len(spoilt)) or len(spoilt))]), max_pixels=10_000)
        assert pixels.ndim == 3
    except MediaError:
        pass


# -- resize, normalise, augment, corrupt -----------------------------------------------------------


def test_resize_keeps_shape_and_pads_white() -> None:
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    found = resize(wide, 20)
    assert found.shape == (20, 20, 3)
    assert (found[:7] == 255).all() and (found[13:] == 255).all()
    assert (found[8:12] == 0).all()
    assert resize(np.zeros((40_000, 1, 3), dtype=np.uint8), 16).shape == (16, 16, 3)
    assert np.array_equal(resize(noise(16, 16), 16), noise(16, 16))


def test_normalise_is_what_it_says() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = normalise(noise(), mean, std)
    expected = ((noise() / 255.0 - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
    assert found.dtype == np.float32 and found.shape == (3, 32, 48) and found.flags.c_contiguous
    assert np.abs(found - expected).max() < 1e-5
    assert normalise(np.full((1, 1, 3), 255, np.uint8), [0.5] * 3, [0.5] * 3).max() == pytest.approx(1.0)


pictures = arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))


@given(pictures, st.integers(0, 2**32), st.booleans())
def test_augment_keeps_shape_and_follows_its_generator(pixels: np.ndarray, seed: int, flip: bool) -> None:
    before = pixels.copy()
    one, two = (augment(pixels, generator(seed, 1, 2), flip=flip) for _ in range(2))
    assert one.shape == pixels.shape and one.dtype == np.uint8
    assert np.array_equal(one, two) and np.array_equal(pixels, before)


def test_augment_is_mild_varies_and_flips_only_when_asked() -> None:
    pixels = resize(corners(), 64)
    views = [augment(pixels, generator(0, 0, i)) for i in range(20)]
    assert len({view.tobytes() for view in views}) == 20
    assert all(np.abs(view.astype(int) - pixels).mean() < 60 for view in views)
    lefts = [view[8:12, 20:24, 0].mean() > view[8:12, 40:44, 0].mean() for view in views]
    assert all(lefts)  # red stays left
    flipped = [augment(pixels, generator(0, 0, i), flip=True) for i in range(20)]
    assert 3 <= sum(view[8:12, 20:24, 0].mean() < view[8:12, 40:44, 0].mean() for view in flipped) <= 17


@given(pictures, st.sampled_from(sorted(CORRUPTIONS)), st.integers(1, 5))
def test_corrupt_keeps_shape_and_follows_its_generator(pixels: np.ndarray, kind: str, severity: int) -> None:
    before = pixels.copy()
    one, two = (corrupt(pixels, kind, severity, generator(3, 1, 2)) for _ in range(2))
    assert one.shape == pixels.shape and one.dtype == np.uint8
    assert np.array_equal(one, two) and np.array_equal(pixels, before)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_corruption_grows_with_severity(kind: str) -> None:
    pixels = resize(noise(8, 8, seed=4), 64)

    def damage(severity: int) -> float:
        return float(
            np.mean(
                [
                    np.abs(corrupt(pixels, kind, severity, generator(0, 0, i)).astype(int) - pixels).mean()
                    for i in range(8)
                ]
            )
        )

    assert 0 < damage(1) < damage(5)


def test_unknown_corruption() -> None:
    with pytest.raises(ValueError, match="kinds: gaussian_noise"):
        corrupt(noise(), "fog", 1, generator(0, 0, 0))
    with pytest.raises(ValueError, match="severity 6"):
        corrupt(noise(), "blur", 6, generator(0, 0, 0))
