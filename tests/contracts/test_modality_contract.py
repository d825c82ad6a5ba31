"""What every modality must do: decode or clean, augment by a generator alone, corrupt by severity, refuse garbage."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.errors import MediaError
from sensorium.modalities import audio, generator, image, text
from tests.small_data import picture, tone


@dataclass
class Sense:
    module: Any
    example: Callable[[int], Any]
    check: Callable[[Any], None]


def pixels(seed: int) -> np.ndarray:
    return image.decode(picture("green", np.random.default_rng(seed), 24))


def samples(seed: int) -> np.ndarray:
    return audio.decode(tone("green", np.random.default_rng(seed), 0.2))


def words(seed: int) -> str:
    return text.clean(f"A thing number {seed} that looks green, from here to there.")


def is_picture(value: Any) -> None:
    assert value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3 and value.size


def is_sound(value: Any) -> None:
    assert value.dtype == np.float32 and value.ndim == 1 and len(value) and np.abs(value).max() <= 1
    assert np.isfinite(value).all()


def is_text(value: Any) -> None:
    assert isinstance(value, str) and value.strip() and text.clean(value) == value


SENSES = {
    "image": Sense(image, pixels, is_picture),
    "audio": Sense(audio, samples, is_sound),
    "text": Sense(text, words, is_text),
}
CORRUPTIONS = [(name, kind) for name, sense in SENSES.items() for kind in sense.module.CORRUPTIONS]


def same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


@pytest.fixture(params=SENSES)
def sense(request: pytest.FixtureRequest) -> Sense:
    return SENSES[request.param]


def test_what_is_decoded_is_of_the_sense_s_own_kind(sense: Sense) -> None:
    sense.check(sense.example(0))
    assert same(sense.example(0), sense.example(0)) and not same(sense.example(0), sense.example(1))


def test_augmentation_follows_its_generator_and_leaves_its_input(sense: Sense) -> None:
    value = sense.example(0)
    kept = value.copy() if isinstance(value, np.ndarray) else value
    made = [sense.module.augment(value, generator(1, epoch, 5)) for epoch in range(12)]
    again = [sense.module.augment(value, generator(1, epoch, 5)) for epoch in range(12)]
    assert all(same(a, b) for a, b in zip(made, again, strict=True))
    assert any(not same(a, value) for a in made) and same(value, kept)
    for one in made:
        sense.check(one)
        assert not isinstance(one, np.ndarray) or one.ndim == value.ndim


@pytest.mark.parametrize(("name", "kind"), CORRUPTIONS)
def test_corruptions_follow_their_generator_and_keep_the_shape(name: str, kind: str) -> None:
    sense = SENSES[name]
    value = sense.example(0)
    kept = value.copy() if isinstance(value, np.ndarray) else value
    for severity in range(1, 6):
        one, other = (sense.module.corrupt(value, kind, severity, np.random.default_rng(3)) for _ in range(2))
        assert same(one, other) and same(value, kept)
        if isinstance(value, np.ndarray):
            assert one.shape == value.shape and one.dtype == value.dtype
            sense.check(one)
        else:
            assert isinstance(one, str)
    assert not same(sense.module.corrupt(value, kind, 5, np.random.default_rng(3)), value)


@pytest.mark.parametrize(("kind", "severity"), [("nothing", 1), (None, 0), (None, 6)])
def test_unknown_corruptions_are_refused_by_name(sense: Sense, kind: str | None, severity: int) -> None:
    kind = kind or next(iter(sense.module.CORRUPTIONS))
    with pytest.raises(ValueError, match=re.escape(next(iter(sense.module.CORRUPTIONS)))):
        sense.module.corrupt(sense.example(0), kind, severity, np.random.default_rng(0))


@pytest.mark.parametrize("module", [image, audio], ids=["image", "audio"])
@settings(max_examples=40)
@given(data=st.binary(max_size=200))
def test_garbage_is_a_media_error_and_nothing_else(module: Any, data: bytes) -> None:
    with pytest.raises(MediaError):
        module.decode(data)


@pytest.mark.parametrize(
    ("module", "whole"),
    [(image, picture("red", np.random.default_rng(0), 12)), (audio, tone("red", np.random.default_rng(0), 0.05))],
    ids=["image", "audio"],
)
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_media_decode_or_are_a_media_error(module: Any, whole: bytes, data: st.DataObject) -> None:
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(broken)))
    try:
        found = module.decode(bytes(broken[:cut]))
    except MediaError:
        return
    (is_picture if module is image else is_sound)(found)


@given(st.text(max_size=80))
def test_cleaning_is_idempotent_and_never_fails(raw: str) -> None:
    assert text.clean(text.clean(raw)) == text.clean(raw)
