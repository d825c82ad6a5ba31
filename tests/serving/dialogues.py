"""Tiny models that talk, conversations at random, and what one-at-a-time service answers to them."""

from __future__ import annotations

import io
from functools import cache, partial
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image

from sensorium.data.collate import collate
from sensorium.data.media import read_media
from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.data.rows import Example
from sensorium.models.decoding import DecodingSettings, generate
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor
from sensorium.models.sequences import end_of_turn
from tests.tiny_models import model_of, processor_of

WORDS = ("red", "blue", "green", "circle", "square", "yes", "no", "what is it?", "ü", "🦊")
LOUDER = {"llama": 4, "gpt2": 8}
INPUTS = {"image_url": "image", "input_audio": "audio", "words": "text"}


@cache
def talker(gpt: str = "llama", method: str = "lora", **fusion: Any) -> tuple[MultimodalGPT, Processor]:
    """A model and its processor; the same one for the same arguments."""
    processor = processor_of(INPUTS, gpt=gpt, fusion=fusion)
    processor.read_media = partial(read_media, root=None)
    adapt = {"method": method, "virtual_tokens": 4, "layers": "all"} if method == "prefix" else None
    model = model_of(processor, gpt=gpt, adapt=adapt)
    with torch.no_grad():  # fresh weights are so small that a GPT says one token for ever, whatever it reads
        for parameter in (*model.backbone.parameters(), *model.projectors.parameters()):
            if parameter.ndim > 1:
                parameter.mul_(LOUDER[gpt])
    return model, processor


@cache
def picture(seed: int) -> bytes:
    """A PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def sound(seed: int) -> bytes:
    """A WAV of 0.2 to 0.8 s of noise."""
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    soundfile.write(buffer, rng.normal(size=int(rng.integers(3200, 12800))) / 10, 16_000, format="WAV")
    return buffer.getvalue()


def user(*parts: Any) -> Message:
    """A user's turn from texts, and pictures or sounds as ("image", bytes)."""
    columns = {"image": "image_url", "audio": "input_audio"}
    made = [
        TextPart(part) if isinstance(part, str) else MediaPart(part[0], columns[part[0]], {"bytes": part[1]})
        for part in parts
    ]
    return Message("user", tuple(made))


def conversation(rng: np.random.Generator, turns: int | None = None) -> list[Message]:
    """A few turns; all pictures and sounds come from small sets, so that conversations begin alike."""
    made = [Message("system", (TextPart("say what it is " * int(rng.integers(1, 4))),))] if rng.random() < 0.5 else []
    for turn in range(turns or int(rng.integers(1, 4))):
        if turn:
            made.append(Message("assistant", (TextPart(" ".join(rng.choice(WORDS, 3))),)))
        parts: list[Any] = []
        if rng.random() < 0.6:
            parts.append(("image", picture(int(rng.integers(3)))))
        if rng.random() < 0.3:
            parts.append(("audio", sound(int(rng.integers(2)))))
        made.append(user(*parts, " ".join(rng.choice(WORDS, int(rng.integers(1, 6))))))
    return made


def alone(model: MultimodalGPT, processor: Processor, messages: list[Message], count: int) -> list[int]:
    """The greedy tokens of ``models.decoding.generate``."""
    batch = collate([processor.sequence([Example(0, {"messages": messages}, None)], answering=True, whole=True)])
    stops = {processor.tokenizer.eos_token_id, end_of_turn(processor.tokenizer)}
    return generate(model, batch, stops, DecodingSettings(max_new_tokens=count))[0]
