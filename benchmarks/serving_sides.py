"""The two sides of ``serving``: the engine under many clients, and ``transformers.generate`` for one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from sensorium import assets
from sensorium.data.collate import collate
from sensorium.data.media import read_media
from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.data.rows import Example
from sensorium.jobs.parts import image_statistics
from sensorium.models.backbone import load_backbone
from sensorium.models.encoders import build_encoder
from sensorium.models.fusion import place_tokens
from sensorium.models.multimodal_gpt import MultimodalGPT, MultimodalGPTConfig
from sensorium.models.processor import Processor, ProcessorSettings
from sensorium.models.sequences import end_of_turn
from sensorium.recipe import AdaptRecipe, FusionRecipe
from sensorium.serving.engine.batching import BatchingEngine, EngineSettings
from sensorium.serving.protocols import Sampling

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SYSTEM = "You describe small pictures in a few plain sentences."
QUESTIONS = (
    "What is in the picture?",
    "Which colours does the picture have, and where are they?",
    "Tell a very short story about what you see.",
    "Would a child know what this is? Say why, in two sentences.",
    "Name three things that go well with what is shown, and say how they belong together.",
)


@dataclass(frozen=True)
class Seconds:
    """Time by the wall's clock, and processor time of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.monotonic(), time.process_time())

    @classmethod
    def since(cls, then: Seconds) -> Seconds:
        now = cls.now()
        return cls(now.wall - then.wall, now.cpu - then.cpu)


def talker(precision: str, attention: str) -> tuple[MultimodalGPT, Processor]:
    """SmolLM2 that sees EfficientNet's features from layer 0 on, through a projector that nobody trained."""
    from transformers import AutoTokenizer

    folders = {"backbone": assets.locate("smollm2-135m-instruct"), "image": assets.locate("efficientnet-lite0")}
    torch.manual_seed(0)
    backbone = load_backbone(folders["backbone"], dtype=DTYPES[precision], attention=attention)
    encoder = build_encoder("image", folders["image"], dtype=torch.float32)
    fusion, inputs = FusionRecipe(kind="tokens", from_layer=0, tokens=16).model_dump(), {"image_url": "image"}
    config = MultimodalGPTConfig(
        inputs=inputs,
        widths={"image": encoder.width},
        fusion=fusion,
        adapt=AdaptRecipe(method="frozen").model_dump(),
        backbone_width=backbone.config.hidden_size,
        backbone_layers=backbone.config.num_hidden_layers,
    )
    settings = ProcessorSettings(
        "generate", {"image_url": "image"}, "text", fusion=fusion, encoders=inputs, image_size=224
    )
    settings.image_mean, settings.image_std = image_statistics(str(folders["image"]))
    tokenizer = AutoTokenizer.from_pretrained(folders["backbone"])
    processor = Processor(settings, tokenizer, None, partial(read_media, root=None))
    return MultimodalGPT(config, backbone, {"image": encoder}).eval(), processor


def requests(count: int, seed: int) -> list[list[Message]]:
    """Conversations of one turn, each about another picture."""
    table = pq.read_table(assets.locate("emoji") / "emoji.parquet", columns=["picture"]).column("picture")
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(table), count, replace=False)
    made = []
    for number, row in enumerate(rows.tolist()):
        picture = MediaPart("image", "image_url", {"bytes": table[row]["bytes"].as_py()})
        words = TextPart(QUESTIONS[number % len(QUESTIONS)])
        made.append([Message("system", (TextPart(SYSTEM),)), Message("user", (picture, words))])
    return made


@contextmanager
def running(model: MultimodalGPT, processor: Processor, settings: EngineSettings) -> Iterator[BatchingEngine]:
    """An engine that is closed at the end."""
    engine = BatchingEngine(model, processor, settings)
    try:
        yield engine
    finally:
        engine.close()


def crowd(
    model: MultimodalGPT, processor: Processor, asked: list[list[Message]], tokens: int, clients: int
) -> dict[str, Any]:
    """``clients`` at once, each asking its next question when its last is answered."""
    waiting, firsts, answers = list(enumerate(asked)), [0.0] * len(asked), [[0]] * len(asked)

    async def client(engine: BatchingEngine) -> None:
        while waiting:
            place, messages = waiting.pop(0)
            began = time.monotonic()
            reply = await engine.submit(messages, Sampling(max_tokens=tokens))
            async for _ in reply:
                firsts[place] = firsts[place] or time.monotonic() - began
            answers[place] = reply.ids

    async def together(engine: BatchingEngine) -> Seconds:
        began = Seconds.now()
        await asyncio.gather(*(client(engine) for _ in range(clients)))
        return Seconds.since(began)

    with running(model, processor, EngineSettings(places=clients, queue=2 * clients)) as engine:
        seconds = asyncio.run(together(engine))
    return _figures(seconds, firsts, answers)


@torch.inference_mode()
def one_by_one(model: MultimodalGPT, processor: Processor, asked: list[list[Message]], tokens: int) -> dict[str, Any]:
    """``transformers.generate`` for each request, one after the other: decoding of the picture included, as in a crowd."""
    ends = sorted({processor.tokenizer.eos_token_id, end_of_turn(processor.tokenizer)})
    firsts, answers, began = [], [], Seconds.now()
    for messages in asked:
        start, first = time.monotonic(), []
        batch = collate([processor.sequence([Example(0, {"messages": messages}, None)], answering=True)])
        media = batch.media["image_url"]
        embedded = model.backbone.get_input_embeddings()(batch.input_ids)
        features = model.project(batch)["image_url"]
        embedded = place_tokens(embedded, features, media.mask, media.row, media.slots)
        noted = _first_token(first)
        found = model.backbone.generate(
            inputs_embeds=embedded,
            attention_mask=torch.ones_like(batch.input_ids),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=ends[0],
            logits_processor=[noted],
        )
        firsts.append(first[0] - start)
        answers.append([token for token in found[0].tolist() if token not in ends])
    return _figures(Seconds.since(began), firsts, answers)


def _first_token(noted: list[float]) -> Any:
    """A logits processor that notes when it is first called."""

    def note(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not noted:
            noted.append(time.monotonic())
        return scores

    return note


def _figures(seconds: Seconds, firsts: list[float], answers: list[list[int]]) -> dict[str, Any]:
    made = sum(map(len, answers))
    return {
        "seconds": seconds.wall,
        "cpu_seconds": seconds.cpu,
        "tokens": made,
        "tokens_per_second": {"wall": made / seconds.wall, "cpu": made / seconds.cpu},
        "first_token_median": float(np.median(firsts)),
        "first_token_p90": float(np.quantile(firsts, 0.9)),
        "answers": answers,
    }
