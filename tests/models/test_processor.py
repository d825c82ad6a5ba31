"""Rows to sequences: what is missing, augmented, cleaned or unknown; a saved processor makes the same sequences."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sensorium.data.collate import Sequence
from sensorium.data.rows import Example
from sensorium.errors import MediaError, RunError
from sensorium.modalities import audio, image
from sensorium.models.multimodal_gpt import GPT
from sensorium.models.processor import Processor
from tests.tiny_models import COLOURS, MIXED, mixed_rows, processor_of

EVERY = [
    {"kind": "tokens", "from_layer": 0},
    {"kind": "cross_attention", "from_layer": 1},
    {"kind": "concat"},
]


def assert_same(one: Sequence, other: Sequence) -> None:
    for name in (
        "ids",
        "positions",
        "branches",
        "parents",
        "sources",
        "answers",
        "owners",
        "memory",
        "targets",
        "rows",
    ):
        assert getattr(one, name) == getattr(other, name), name
    assert len(one.media) == len(other.media)
    for mine, theirs in zip(one.media, other.media, strict=True):
        assert (mine.column, mine.positions, mine.slots) == (theirs.column, theirs.positions, theirs.slots)
        assert (mine.value is None) == (theirs.value is None)
        assert mine.value is None or torch.equal(mine.value, theirs.value)  # type: ignore[arg-type]


def made(task: str, fusion: dict[str, Any], rows: list[Example], **more: Any) -> Processor:
    classes = list(COLOURS) if task == "classify" else None
    return processor_of(MIXED, rows=rows, task=task, classes=classes, fusion=fusion, text_encoder=True, **more)


@pytest.mark.parametrize("fusion", EVERY)
@pytest.mark.parametrize("task", ["classify", "generate"])
def test_a_saved_processor_makes_the_same_sequences(task: str, fusion: dict, tmp_path: Path) -> None:
    if task == "generate" and fusion["kind"] == "concat":
        pytest.skip("late fusions do not generate")
    rows = mixed_rows(6, missing=True)
    processor = made(task, fusion, rows, system="look and answer", choices={"é": ["a", "ß"]})
    processor.save_pretrained(tmp_path)
    again = Processor.from_pretrained(tmp_path)
    assert again.settings.choices == {"é": ["a", "ß"]}
    assert json.loads(json.dumps(asdict(again.settings))) == json.loads(json.dumps(asdict(processor.settings)))
    for row in rows:
        assert_same(processor.sequence([row]), again.sequence([row]))
        assert_same(processor.sequence([row], epoch=2, seed=5), again.sequence([row], epoch=2, seed=5))


def test_a_damaged_processor_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"processor_config\.json cannot be read.*rerun sensorium fit"):
        Processor.from_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text('{"nothing": 1}', encoding="utf-8")
    with pytest.raises(RunError, match="nothing"):
        Processor.from_pretrained(tmp_path)


def test_values_are_what_the_modalities_give() -> None:
    row = mixed_rows(1)[0]
    processor = made("classify", EVERY[0], mixed_rows(6))
    pixels = image.resize(image.decode(row.inputs["picture"]), 32)
    expected = (pixels.astype(np.float32) / 255 - 0.5) / 0.5
    found = processor.values("picture", row)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    samples = audio.decode(row.inputs["sound"])
    sound = processor.values("sound", row)
    assert sound is not None
    np.testing.assert_array_equal(sound.numpy(), audio.log_mel(samples))
    processor.settings.audio_values = "samples"
    plain = processor.values("sound", row)
    assert plain is not None and plain.shape == samples.shape
    assert abs(float(plain.mean())) < 1e-4 and abs(float(plain.std()) - 1) < 1e-2
    words = processor.values("words", row)
    assert words is not None and processor.text_tokenizer.decode(words) == row.inputs["words"]


def test_missing_cells_are_missing_and_take_one_position() -> None:
    rows = mixed_rows(6, missing=True)
    processor = made("classify", EVERY[0], mixed_rows(6))
    for row in rows:
        for item in processor.sequence([row]).media:
            cells = ("size", "shop") if item.column == "table" else (item.column,)
            gone = all(row.inputs[cell] is None for cell in cells)
            assert (item.value is None) == gone
            assert item.positions == len(item.slots) and (item.positions == 1 or not gone)


def test_augmentation_depends_on_seed_epoch_and_row_alone() -> None:
    rows = mixed_rows(3)
    processor = made("classify", EVERY[0], rows)
    plain = processor.sequence([rows[1]])
    assert_same(processor.sequence([rows[1]], epoch=1, seed=3), processor.sequence([rows[1]], epoch=1, seed=3))
    for change in ({"epoch": 2, "seed": 3}, {"epoch": 1, "seed": 4}):
        one, other = processor.sequence([rows[1]], epoch=1, seed=3), processor.sequence([rows[1]], **change)
        assert any(
            not torch.equal(a.value, b.value)  # type: ignore[arg-type]
            for a, b in zip(one.media, other.media, strict=True)
            if a.column in ("picture", "sound")
        )
    assert plain.ids[-5:] == processor.sequence([rows[1]], epoch=1, seed=3).ids[-5:]  # the GPT's words stay


def test_words_are_cleaned_alike_wherever_they_are_read() -> None:
    processor = processor_of({"words": "text"})
    one, other = (Example(0, {"words": w}, t) for w, t in (("cafe\u0301\x07", "e\u0301"), ("café", "é")))
    assert_same(processor.sequence([one]), processor.sequence([other]))
    assert_same(processor.sequence([one], choices=["e\u0301"]), processor.sequence([other], choices=["é"]))


def test_text_of_nothing_but_control_characters_is_still_something_to_encode() -> None:
    processor = made("classify", EVERY[2], mixed_rows(3))
    value = processor.values("words", Example(0, {"words": "\x01"}, None))
    assert value is not None and len(value) == 1


def test_a_target_that_no_training_row_had_is_none_to_learn_and_no_reason_to_stop() -> None:
    processor = processor_of(MIXED, rows=mixed_rows(3), task="classify", classes=list(COLOURS))
    row = mixed_rows(1)[0]
    assert processor.sequence([row]).targets == [0.0]
    for target in ("purple", None):
        assert processor.sequence([Example(0, row.inputs, target)]).targets == []


def test_numbers_are_taught_standardised() -> None:
    processor = processor_of(MIXED, rows=mixed_rows(3), task="classify", target_mean=10.0, target_scale=4.0)
    row = mixed_rows(1)[0]
    assert processor.sequence([Example(0, row.inputs, 12.0)]).targets == [0.5]


def test_rows_without_text_have_a_place_to_be_classified_at() -> None:
    row = Example(0, {"picture": mixed_rows(1)[0].inputs["picture"]}, "red")
    for fusion in EVERY:
        processor = processor_of({"picture": "image"}, task="classify", classes=list(COLOURS), fusion=fusion)
        assert bool(processor.sequence([row]).ids) == (fusion["kind"] != "concat")


def test_cached_features_take_the_place_of_values() -> None:
    rows = mixed_rows(2)
    processor = made("classify", EVERY[2], rows)
    known = {"picture": lambda row: torch.full((1, 16), float(row)), "sound": lambda row: None}
    sequence = processor.sequence([rows[1]], cached=known)
    found = {item.column: item for item in sequence.media}
    assert found["picture"].cached and torch.equal(found["picture"].value, torch.ones(1, 16))  # type: ignore[arg-type]
    assert found["sound"].cached and found["sound"].value is None and found["sound"].positions == 1
    assert not found["words"].cached
    read = processor.sequence([rows[1]], cached={GPT: lambda row: torch.ones(1, 32)})
    assert read.ids == [] and read.media[-1].column == GPT


def test_a_broken_picture_is_a_media_error_and_no_reader_a_run_error() -> None:
    processor = processor_of({"picture": "image"})
    with pytest.raises(MediaError):
        processor.sequence([Example(0, {"picture": b"no picture"}, "red")])
    with pytest.raises(RunError, match="without a way to read media"):
        processor.sequence([Example(0, {"picture": "a.png"}, "red")])
    processor.read_media = lambda reference: mixed_rows(1)[0].inputs["picture"]
    assert processor.sequence([Example(0, {"picture": "a.png"}, "red")]).media[0].value is not None
