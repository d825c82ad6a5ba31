"""Speech depends on its arguments alone."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sensorium.assets.speech import synthesise, variants, voices
from sensorium.errors import AssetError


def test_samples_are_sound() -> None:
    samples, rate = synthesise("Which group does it belong to?")
    assert samples.dtype == np.float32 and samples.ndim == 1 and rate == 22050
    assert 1.0 < len(samples) / rate < 4.0
    assert 0.1 < np.abs(samples).max() <= 1.0


def test_whatever_was_said_before() -> None:
    first, _ = synthesise("seven", "en-us+f3", 140, 60)
    synthesise("etwas ganz anderes", "de", 300, 90)
    synthesise("noch etwas", "en-gb+klatt", 90, 10)
    again, _ = synthesise("seven", "en-us+f3", 140, 60)
    assert np.array_equal(first, again)


def test_from_several_threads() -> None:
    expected, _ = synthesise("five")
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(synthesise("five")[0])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(np.array_equal(one, expected) for one in found)


def test_speed_pitch_and_voice_matter() -> None:
    slow, rate = synthesise("one two three", speed=100)
    fast, _ = synthesise("one two three", speed=300)
    assert len(fast) < 0.6 * len(slow)

    def period(samples: np.ndarray) -> int:
        """Samples between two strokes of the voice: where 0.1 s of the middle are most like themselves."""
        middle = samples[len(samples) // 4 :][: rate // 10]
        alike = np.correlate(middle, middle, "full")[len(middle) - 1 :]
        shortest = rate // 400  # of 400 Hz
        return shortest + int(np.argmax(alike[shortest : rate // 50]))

    assert period(synthesise("aaaa", pitch=99)[0]) < 0.8 * period(synthesise("aaaa", pitch=0)[0])
    assert not np.array_equal(synthesise("seven")[0], synthesise("seven", "en-gb-scotland")[0])
    assert not np.array_equal(synthesise("seven")[0], synthesise("seven", "en-us+m2")[0])


def test_odd_text_is_spoken() -> None:
    for text in ("", " ", "日本語", "a\0b", "\ud800", "<b>&amp;"):
        samples, _ = synthesise(text)
        assert np.isfinite(samples).all()


def test_voices_are_listed() -> None:
    assert {"en-us", "en-gb", "de", "fr"} <= set(voices()) and len(voices()) > 100
    assert {"f1", "f3", "m1", "whisper"} <= set(variants())


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"voice": "en-mars"}, "speech: no voice 'en-mars'"),
        ({"voice": "en-us+robot9"}, "no variant 'robot9'"),
        ({"speed": 20}, "speed 20 is out of range; choose 80 to 450"),
        ({"pitch": 100}, "pitch 100 is out of range; choose 0 to 99"),
    ],
)
def test_wrong_arguments_are_one_line(wrong: dict, message: str) -> None:
    with pytest.raises(AssetError, match=message.replace("+", r"\+")):
        synthesise("hello", **wrong)


def test_books_are_refused() -> None:
    with pytest.raises(AssetError, match="10,001 characters are too many"):
        synthesise("a" * 10_001)
