"""A drawn picture says what it is, to people and to programs, and the same one is the same bytes."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium.jobs.drawing.drawn import Drawn
from sensorium.jobs.drawing.png import png_bytes

PICTURE = Image.effect_noise((16, 16), 50).convert("RGB")
DRAWN = Drawn(PICTURE, "a red fox", 7, -0.5, torch.zeros(4, dtype=torch.int64), {"guidance": 3.0, "top_k": 0})
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def read(data: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Notes, and of the XMP packet what its elements hold."""
    opened = Image.open(io.BytesIO(data))
    opened.load()
    notes = dict(opened.text)  # type: ignore[attr-defined]
    packet = ET.fromstring(notes.pop("XML:com.adobe.xmp").removeprefix("\ufeff"))
    return notes, {element.tag: element.text or "" for element in packet.iter()}


def test_notes_are_read_back() -> None:
    notes, packet = read(png_bytes(DRAWN, "emoji-draw"))
    assert notes["Model"] == "emoji-draw" and notes["Prompt"] == "a red fox" and notes["Seed"] == "7"
    assert json.loads(notes["Settings"]) == {"guidance": 3.0, "top_k": 0}
    assert notes["Software"].startswith("Sensorium ")
    assert notes["DigitalSourceType"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert packet[IPTC + "DigitalSourceType"] == notes["DigitalSourceType"]
    assert packet[IPTC + "AIPromptInformation"] == "a red fox" and packet[IPTC + "AISystemUsed"] == "emoji-draw"
    opened = Image.open(io.BytesIO(png_bytes(DRAWN, "emoji-draw")))
    assert opened.convert("RGB").tobytes() == PICTURE.tobytes()


def test_a_part_that_was_drawn_makes_a_composite() -> None:
    notes, packet = read(png_bytes(replace(DRAWN, partly=True), "m"))
    assert notes["DigitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert packet[IPTC + "DigitalSourceType"] == notes["DigitalSourceType"]
    assert notes["Comment"].startswith("Part of this picture was generated")


@given(prompt=st.text(max_size=60), model=st.text(min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_any_words_survive(prompt: str, model: str) -> None:
    notes, packet = read(png_bytes(replace(DRAWN, prompt=prompt), model))
    if all(c.isprintable() for c in prompt):
        assert notes["Prompt"] == prompt == packet[IPTC + "AIPromptInformation"]
    assert len(notes["Prompt"]) == len(prompt)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_the_same_picture_is_the_same_bytes(mode: str) -> None:
    picture = Image.new(mode, (5, 4))
    one, other = (png_bytes(replace(DRAWN, image=picture), "m") for _ in range(2))
    assert one == other and Image.open(io.BytesIO(one)).mode == mode
