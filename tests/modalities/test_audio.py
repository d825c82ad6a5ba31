"""Sound: every format, against transformers' log-mel, and broken files."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import MediaError
from sensorium.modalities import generator
from sensorium.modalities.audio import CORRUPTIONS, augment, corrupt, decode, header, log_mel, mel_filters


def tone(seconds: float = 0.5, rate: int = 16_000, hertz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def stored(samples: np.ndarray, rate: int = 16_000, format_: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format_, subtype=subtype)
    return file.getvalue()


def loudest(samples: np.ndarray, rate: int = 16_000) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


@pytest.mark.parametrize(
    ("format_", "subtype", "rate"),
    [
        ("WAV", "PCM_16", 16_000),
        ("WAV", "PCM_U8", 8_000),
        ("WAV", "PCM_24", 48_000),
        ("WAV", "FLOAT", 44_100),
        ("WAV", "ULAW", 8_000),
        ("FLAC", "PCM_16", 22_050),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("MP3", None, 44_100),
        ("AIFF", "PCM_16", 11_025),
        ("AU", "PCM_16", 16_000),
        ("CAF", "PCM_16", 16_000),
        ("W64", "PCM_16", 16_000),
    ],
)
def test_every_format_is_heard_at_its_pitch(format_: str, subtype: str | None, rate: int) -> None:
    found = decode(stored(tone(1.0, rate), rate, format_, subtype))
    assert found.dtype == np.float32 and found.ndim == 1
    assert abs(len(found) - 16_000) < 2_500  # MP3 pads
    assert abs(loudest(found) - 440) < 8
    assert 0.4 < np.abs(found[2000:-2000]).max() < 0.6


def test_wav_is_exact_and_channels_are_averaged() -> None:
    left, right = tone(), tone(hertz=880)
    assert np.array_equal(decode(stored(left, subtype="FLOAT")), left)
    both = decode(stored(np.stack([left, right], 1), subtype="FLOAT"))
    assert np.abs(both - (left + right) / 2).max() < 1e-6


def test_resampling_is_soxr() -> None:
    import soxr

    sound = np.random.default_rng(0).normal(0, 0.1, 44_100).astype(np.float32)
    assert np.abs(decode(stored(sound, 44_100, subtype="FLOAT")) - soxr.resample(sound, 44_100, 16_000)).max() < 1e-6


def test_only_the_first_seconds_are_decoded() -> None:
    assert len(decode(stored(tone(3.0)), max_seconds=1.0)) == 16_000
    assert len(decode(stored(tone(40.0, 8_000), 8_000))) == 480_000
    assert len(decode(stored(tone(0.001)))) == 16


def test_loud_floats_are_scaled_not_clipped() -> None:
    found = decode(stored(tone(peak=100.0), subtype="FLOAT"))
    assert np.abs(found).max() == pytest.approx(1.0)
    assert np.corrcoef(found, tone())[0, 1] > 0.9999


def test_very_short_sounds() -> None:
    for count in (1, 2, 7):
        found = decode(stored(np.full(count, 0.1, np.float32), 48_000))
        assert len(found) >= 1
        assert log_mel(found).shape == (80, 1)


def test_header() -> None:
    assert header(stored(np.stack([tone(), tone()], 1), 8_000)) == ("WAV", 1.0, 8_000, 2)


# -- broken ----------------------------------------------------------------------------------------

FLAC, OGG = stored(tone(3.0), format_="FLAC"), stored(tone(3.0), format_="OGG")
BROKEN = {
    "empty": (b"", "the sound is empty"),
    "text": (b"hello, I am no sound at all" * 9, "no sound in a format"),
    "no samples": (stored(np.zeros(0, np.float32)), "holds no samples"),
    "truncated wav": (stored(tone())[:-4000], "truncated"),
    "truncated aiff": (stored(tone(), format_="AIFF")[:-4000], "truncated"),
    "truncated flac": (FLAC[: len(FLAC) // 2], "sound is (truncated|damaged)"),
    "truncated ogg": (OGG[:-2000], "truncated"),
    "a header alone": (stored(tone())[:30], "sound"),
    "not a number": (stored(np.full(99, np.nan, np.float32), subtype="FLOAT"), "no numbers"),
    "infinite": (stored(np.full(99, np.inf, np.float32), subtype="FLOAT"), "no numbers"),
    "many channels": (stored(np.zeros((10, 200), np.float32)), "200 channels"),
    "odd rate": (stored(tone(), rate=10), "at 10 Hz"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sounds_are_refused_in_one_line(name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(MediaError, match=message) as caught:
        decode(data)
    assert "\n" not in str(caught.value) and caught.value.mend


def test_streamed_wav_with_unknown_length_is_read() -> None:
    data = bytearray(stored(tone(), subtype="PCM_16"))
    place = data.index(b"data")
    data[4:8] = data[place + 4 : place + 8] = b"\xff\xff\xff\xff"
    assert len(decode(bytes(data))) == 8_000


def test_a_header_that_lies_costs_no_memory() -> None:
    data = bytearray(stored(np.zeros((100, 32), np.float32), 192_000))
    place = data.index(b"data")
    data[4:8] = data[place + 4 : place + 8] = struct.pack("<I", 0x7FFFFFF0)
    assert len(decode(bytes(data))) < 100


def test_too_many_bytes() -> None:
    with pytest.raises(MediaError, match="more than 100"):
        decode(stored(tone()), max_bytes=100)


SOUNDS = [stored(tone(0.1), format_=f) for f in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF")]


@given(st.binary(max_size=300))
def test_any_bytes_give_a_sound_or_media_error(data: bytes) -> None:
    for head in (b"", b"RIFF\x40\0\0\0WAVEfmt ", b"OggS", b"fLaC", b"FORM\0\0\0\x40AIFF", b"\xff\xfb\x90", b"ID3"):
        with contextlib.suppress(MediaError):
            assert decode(head + data).dtype == np.float32


@given(st.sampled_from(SOUNDS), st.lists(st.tuples(st.floats(0, 0.3), st.integers(0, 255)), max_size=8))
def test_damaged_sounds_give_a_sound_or_media_error(data: bytes, flips: list[tuple[float, int]]) -> None:
    spoilt = bytearray(data)
    for where, value in flips:
        spoilt[int(where * (len(spoilt) - 1))] = value
    try:
        found = decode(bytes(spoilt))
        assert np.isfinite(found).all() and 1 <= len(found) <= 480_000
    except MediaError:
        pass


def test_damaged_sounds_print_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for data in SOUNDS:
        for _ in range(100):
            spoilt = bytearray(data)
            for place in rng.integers(min(len(spoilt), 200), size=6):
                spoilt[place] = rng.integers(256)
            with contextlib.suppress(MediaError):
                decode(bytes(spoilt))
    assert "Traceback" not in capsys.readouterr().err


# -- log-mel ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extractor():  # type: ignore[no-untyped-def]
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor()


def test_mel_filters_are_whispers(extractor) -> None:  # type: ignore[no-untyped-def]
    assert np.abs(mel_filters() - extractor.mel_filters).max() < 1e-12


@pytest.mark.parametrize("count", [1, 159, 160, 161, 400, 5_000, 16_000, 479_700, 479_999, 480_000])
def test_log_mel_is_whispers(extractor, count: int) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(count)
    samples = (rng.normal(0, 0.1, count) * np.linspace(0, 1, count)).astype(np.float32)
    expected = extractor(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
    found = log_mel(samples)
    frames = -(-count // 160)
    assert found.shape == (80, frames) and found.dtype == np.float32
    assert np.abs(found - expected[:, :frames]).max() < 1e-4


def test_log_mel_of_silence(extractor) -> None:  # type: ignore[no-untyped-def]
    expected = extractor(np.zeros(800, np.float32), sampling_rate=16_000, return_tensors="np").input_features[0]
    assert np.abs(log_mel(np.zeros(800, np.float32)) - expected[:, :5]).max() < 1e-6


# -- augment, corrupt ------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_augment_keeps_shape_and_follows_its_generator(count: int, seed: int) -> None:
    samples = np.random.default_rng(count).uniform(-1, 1, count).astype(np.float32)
    one, two = (augment(samples, generator(seed, 0, 1)) for _ in range(2))
    assert one.shape == samples.shape and one.dtype == np.float32
    assert np.array_equal(one, two) and np.abs(one).max() <= 1


def test_augment_is_mild() -> None:
    views = [augment(tone(1.0), generator(0, 0, i)) for i in range(20)]
    assert len({view.tobytes() for view in views}) == 20
    assert all(410 < loudest(view) < 470 for view in views)


@given(st.integers(1, 3000), st.sampled_from(sorted(CORRUPTIONS)), st.integers(1, 5))
def test_corrupt_keeps_shape_and_follows_its_generator(count: int, kind: str, severity: int) -> None:
    samples = np.random.default_rng(count).uniform(-1, 1, count).astype(np.float32)
    before = samples.copy()
    one, two = (corrupt(samples, kind, severity, generator(0, 0, 1)) for _ in range(2))
    assert one.shape == samples.shape and one.dtype == np.float32 and np.isfinite(one).all()
    assert np.array_equal(one, two) and np.array_equal(samples, before) and np.abs(one).max() <= 1


@pytest.mark.parametrize("kind", ["white_noise", "babble"])
@pytest.mark.parametrize(("severity", "decibels"), [(1, 20), (3, 10), (5, 0)])
def test_noise_has_the_ratio_it_says(kind: str, severity: int, decibels: float) -> None:
    clean = tone(2.0, peak=0.1)
    added = corrupt(clean, kind, severity, generator(0, 0, 0)) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(added**2)) == pytest.approx(decibels, abs=0.1)


def test_low_pass_removes_what_is_high_and_keeps_what_is_low() -> None:
    for severity in range(1, 6):
        assert np.abs(corrupt(tone(hertz=300), "low_pass", severity, generator(0, 0, 0))).max() > 0.45
    assert np.abs(corrupt(tone(hertz=6000), "low_pass", 3, generator(0, 0, 0))[500:-500]).max() < 0.01


def test_silence_stays_silent() -> None:
    for kind in CORRUPTIONS:
        assert not corrupt(np.zeros(500, np.float32), kind, 5, generator(0, 0, 0)).any()


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_corruption_grows_with_severity(kind: str) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    def alike(severity: int) -> float:
        return float(np.corrcoef(samples, corrupt(samples, kind, severity, generator(0, 0, 0)))[0, 1])

    assert 1 > alike(1) > alike(5)


def test_unknown_corruption() -> None:
    with pytest.raises(ValueError, match="kinds: white_noise"):
        corrupt(tone(), "echo", 1, generator(0, 0, 0))
