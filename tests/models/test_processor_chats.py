"""Conversations to sequences: every answer taught, media anywhere and never cut, sounds in words, cells told, caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sensorium.data.collate import Sequence
from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.data.rows import Example
from sensorium.errors import RunError
from sensorium.models import recogniser as recognising
from sensorium.models.processor import RECOGNISER, Processor
from sensorium.models.recogniser import Recogniser
from tests.tiny_models import mixed_rows, processor_of

ROWS = mixed_rows(3)
BOTH = {"image_url": "image", "input_audio": "audio"}


def shown(row: int) -> MediaPart:
    return MediaPart("image", "image_url", ROWS[row].inputs["picture"])


def said(row: int) -> MediaPart:
    return MediaPart("audio", "input_audio", ROWS[row].inputs["sound"])


def turn(role: str, *parts: Any) -> Message:
    return Message(role, tuple(TextPart(p) if isinstance(p, str) else p for p in parts))  # type: ignore[arg-type]


TALK = [
    turn("system", "be brief"),
    turn("user", shown(0), "what is it?", said(0)),
    turn("assistant", "red"),
    turn("user", said(1), shown(1), "and these?", shown(2)),
    turn("assistant", "green and blue"),
    turn("user", "thanks"),
    turn("assistant", "yes"),
]


def example(talk: list[Message] = TALK, **cells: Any) -> Example:
    return Example(0, {**cells, "messages": talk}, talk[-1].text)


def processor(kind: str = "tokens", **settings: Any) -> Processor:
    made = processor_of(BOTH, fusion={"kind": kind, "from_layer": 0}, **settings)
    made.settings.inputs = {}
    return made


def taught(made: Sequence, by: Processor) -> str:
    return str(by.tokenizer.decode(made.answers))


def read(made: Sequence, by: Processor) -> str:
    """What the GPT reads, media as ``#``."""
    slots = {place for item in made.media for place in item.slots}
    return "".join("#" if i in slots else by.tokenizer.decode([token]) for i, token in enumerate(made.ids))


@pytest.fixture
def hears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recogniser:
    """A recogniser that says how long a sound is, from a folder that only looks like a model."""
    for name in recognising.NEEDED:
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(recognising, "_load", lambda folder: None)
    monkeypatch.setattr(recognising, "_said", lambda model, mel: f"sound of {mel.shape[1]} frames")
    return Recogniser(tmp_path)


@pytest.mark.parametrize("kind", ["tokens", "cross_attention"])
def test_every_answer_is_taught_and_media_stand_where_they_were_shown(kind: str) -> None:
    by = processor(kind)
    made = by.sequence([example()])
    assert taught(made, by) == "red<|end|>green and blue<|end|>yes<|end|>"
    assert [item.column for item in made.media] == ["image_url", "input_audio", "input_audio", "image_url", "image_url"]
    if kind == "tokens":
        counts = [item.positions for item in made.media]
        first, last = "#" * counts[0], "#" * counts[1]
        assert f"user\n{first}what is it?{last}<|end|>" in read(made, by)
        assert f"user\n{'#' * (counts[2] + counts[3])}and these?{'#' * counts[4]}<|end|>" in read(made, by)
    assert taught(by.sequence([example()], last_only=True), by) == "yes<|end|>"
    assert by.sequence([example(TALK[:-1])], answering=True).supervised == 0


def test_a_long_conversation_keeps_the_system_turn_and_the_newest_and_no_medium_is_cut() -> None:
    by = processor()
    by.settings.max_text_tokens = len(by.sequence([example()]).ids) // 2
    made = by.sequence([example()])
    words = read(made, by)
    assert "be brief" in words and "what is it?" not in words and "thanks" in words
    assert all(len(item.slots) == item.positions for item in made.media)
    assert taught(made, by).endswith("yes<|end|>")
    assert "what is it?" in read(by.sequence([example()], whole=True), by)
    longer = [*TALK[:5], turn("user", "word " * 200), TALK[-1]]
    cut = by.sequence([example(longer)])
    assert "be brief" in read(cut, by) and not cut.media
    assert len(cut.ids) < by.settings.max_text_tokens + 60  # the template comes on top


def test_the_gpts_context_bounds_media_too() -> None:
    by = processor()
    whole = len(by.sequence([example()]).ids)
    for context in range(whole, 50, -5):  # the last exchange, which always stays, takes fewer
        by.settings.context = context
        assert len(by.sequence([example()]).ids) <= context
    assert "what is it?" not in read(by.sequence([example()]), by)


def test_cells_of_the_row_are_told_in_the_first_turn_that_is_read() -> None:
    by = processor()
    by.settings.inputs = {"hour": "number", "place": "place"}
    made = by.sequence([example(hour=17.0, place=(52.1, 4.3))])
    assert "be brief<|end|>\n<|start|>user\nhour: 17\nplace: 52.1, 4.3#" in read(made, by)
    assert "hour" not in read(by.sequence([example(hour=None, place=None)]), by)
    by.settings.max_text_tokens = len(made.ids) // 2
    words = read(by.sequence([example(hour=17.0, place=None)]), by)
    assert "what is it?" not in words and "user\nhour: 17" in words


@pytest.mark.parametrize(
    ("speech", "told", "sounds"),
    [("features", "#what is it?#", 2), ("recognition", "what is it?\nsound", 0), ("both", "?#sound", 2)],
)
def test_speech_joins_as_features_or_words_or_both(speech: str, told: str, sounds: int, hears: Recogniser) -> None:
    by = processor(speech=speech)
    by.recogniser = hears
    made = by.sequence([example()])
    assert told.replace("#", "") in read(made, by).replace("#", "")
    assert [item.column for item in made.media].count("input_audio") == sounds
    assert ("frames" in read(made, by)) == (speech != "features")
    assert taught(made, by) == "red<|end|>green and blue<|end|>yes<|end|>"


def test_a_sound_column_is_recognised_too(hears: Recogniser) -> None:
    by = processor_of(
        {"sound": "audio", "words": "text"}, fusion={"kind": "tokens", "from_layer": 0}, speech="recognition"
    )
    by.settings.encoders = {}
    by.recogniser = hears
    row = replace(ROWS[0], inputs={"sound": ROWS[0].inputs["sound"], "words": "which?"}, target="red")
    assert "frames\nwhich?" in read(by.sequence([row]), by)
    missing = replace(row, inputs={"sound": None, "words": "which?"})
    assert "user\nwhich?" in read(by.sequence([missing]), by)


def test_a_saved_processor_hears_alike_and_one_without_its_recogniser_is_refused(
    hears: Recogniser, tmp_path: Path
) -> None:
    by = processor(speech="both")
    by.recogniser = hears
    by.save_pretrained(tmp_path / "run")
    again = Processor.from_pretrained(tmp_path / "run")
    assert again.recogniser is not None and again.recogniser.store is None  # what strangers say is not written down
    assert again.sequence([example()]).ids == by.sequence([example()]).ids
    (tmp_path / "run" / RECOGNISER / "model.bin").unlink()
    with pytest.raises(RunError, match=r"recogniser.*no model\.bin.*copy the run again"):
        Processor.from_pretrained(tmp_path / "run")
    by.recogniser = None
    with pytest.raises(RunError, match="without speech recognition"):
        by.sequence([example()])


def test_features_are_looked_up_by_a_part_s_bytes() -> None:
    by = processor()
    asked: list[bytes] = []

    def known(width: int) -> Callable[[bytes], torch.Tensor]:
        def look(data: bytes) -> torch.Tensor:
            asked.append(data)
            return torch.ones(3, width)

        return look

    made = by.sequence([example()], cached={"image_url": known(16), "input_audio": known(16)})
    assert asked == [part.reference for message in TALK for part in message.parts if isinstance(part, MediaPart)]
    assert all(item.cached and item.positions == 3 == len(item.slots) for item in made.media)
