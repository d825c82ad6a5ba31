"""Whole models over tiny random-weight parts, with their processors, for tests of models, tasks and jobs."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from sensorium.data.rows import Example
from sensorium.modalities.table import TableCodec
from sensorium.models.backbone import adapt_backbone, load_backbone
from sensorium.models.encoders import build_encoder
from sensorium.models.multimodal_gpt import MultimodalGPT, MultimodalGPTConfig
from sensorium.models.processor import TABLE, TABLE_TYPES, Processor, ProcessorSettings
from sensorium.recipe import LATE_FUSIONS, AdaptRecipe, FusionRecipe
from tests import tiny_parts
from tests.small_data import picture, tone

FOLDERS = {"image": "vit", "audio": "whisper", "text": "bert"}


@cache
def part(name: str) -> Path:
    """A tiny part's folder, made once a process."""
    return tiny_parts.MAKERS[name](_root() / name)


@cache
def _root() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tiny-parts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def codec(rows: list[Example], inputs: dict[str, str]) -> dict[str, Any] | None:
    """The table codec of these rows, as settings keep it."""
    columns = {n: (kind, [row.inputs.get(n) for row in rows]) for n, kind in inputs.items() if kind in TABLE_TYPES}
    return TableCodec.fit(columns).to_dict() if columns else None


def processor_of(
    inputs: dict[str, str],
    *,
    rows: list[Example] | None = None,
    classes: list[str] | None = None,
    task: str = "generate",
    gpt: str = "llama",
    fusion: dict[str, Any] | None = None,
    text_encoder: bool = False,
    audio: str = "whisper",
    **settings: Any,
) -> Processor:
    """A processor for columns ``inputs``; a text column is read by the GPT, and encoded too with ``text_encoder``."""
    kinds = {n: kind for n, kind in inputs.items() if kind in ("image", "audio") or (kind == "text" and text_encoder)}
    table = codec(rows or [], inputs)
    if table:
        kinds[TABLE] = TABLE
    made = ProcessorSettings(
        task=task,
        inputs=inputs,
        target_kind="category" if classes else "number" if task == "classify" else "text",
        classes=classes,
        fusion=FusionRecipe(**{"width": 16, "heads": 4, "tokens": 4, **(fusion or {})}).model_dump(),
        encoders=dict(sorted(kinds.items())),
        image_size=32,
        audio_values="log_mel" if audio == "whisper" else "samples",
        table=table,
        **settings,
    )
    words = AutoTokenizer.from_pretrained(part("bert")) if text_encoder else None
    return Processor(made, AutoTokenizer.from_pretrained(part(gpt)), words)


def model_of(
    processor: Processor,
    *,
    gpt: str = "llama",
    adapt: dict[str, Any] | None = None,
    tuned_encoders: bool = False,
    audio: str = "whisper",
    **config: Any,
) -> MultimodalGPT:
    """The model for a processor; gates are open and adapters differ from zero, so that every part shows."""
    settings, method = processor.settings, AdaptRecipe(**{"method": "lora", "layers": 2, **(adapt or {})})
    folders = {**FOLDERS, "audio": audio}
    torch.manual_seed(0)
    backbone = load_backbone(part(gpt), dtype=torch.float32, attention="sdpa")
    named = sorted(set(settings.encoders.values()) - {TABLE})
    encoders = {kind: build_encoder(kind, part(folders[kind]), dtype=torch.float32) for kind in named}
    for encoder in encoders.values():
        encoder.requires_grad_(tuned_encoders)
    outputs = len(settings.classes) if settings.classes else int(settings.task == "classify")
    made = MultimodalGPTConfig(
        inputs=settings.encoders,
        widths={kind: encoder.width for kind, encoder in encoders.items()} | {TABLE: 64},
        fusion=settings.fusion,
        adapt=method.model_dump(),
        classes=outputs,
        table=processor.codec.sizes() if processor.codec else {},
        reads_text=bool(processor.texts) or settings.task == "generate",
        backbone_width=backbone.config.hidden_size,
        backbone_layers=backbone.config.num_hidden_layers,
        **config,
    )
    model = MultimodalGPT(made, adapt_backbone(backbone, method), encoders).eval()
    stir(model, 0.3)
    return model


def stir(model: torch.nn.Module, std: float) -> None:
    """Open the gates and move adapters away from zero, so that every part of the model shows in its answers."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or name.endswith("gate"):
            torch.nn.init.normal_(parameter, std=std)


def sources_of(processor: Processor, gpt: str = "llama") -> dict[str, Path]:
    """The folders that a model's unchanged parts came from."""
    return {kind: part(name) for kind, name in FOLDERS.items() if kind in processor.settings.encoders.values()} | {
        "backbone": part(gpt)
    }


# -- rows ------------------------------------------------------------------------------------------

MIXED = {"picture": "image", "sound": "audio", "words": "text", "size": "number", "shop": "category"}
COLOURS = ("red", "green", "blue")


def mixed_rows(count: int, *, target: str = "colour", missing: bool = False) -> list[Example]:
    """Rows of every kind of input; with ``missing`` row i lacks input i, and one row lacks all."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        colour = COLOURS[i % 3]
        cells: dict[str, Any] = {
            "picture": picture(colour, rng, 16),
            "sound": tone(colour, rng, 0.1 + 0.2 * (i % 3)),
            "words": " ".join([f"thing {i} is {colour}"] * (1 + i % 3)),
            "size": float(rng.normal(i % 3)),
            "shop": ("north", "south")[i % 2],
        }
        if missing:
            gone = list(cells)[i % 6 : i % 6 + 1] or list(cells)
            cells.update(dict.fromkeys(gone))
        rows.append(Example(i, cells, colour if target == "colour" else float(i)))
    return rows


def is_late(fusion: str) -> bool:
    return fusion in LATE_FUSIONS


class ListFeed:
    """The plainest feed: rows in memory, batches of a few, nothing cached."""

    def __init__(self, processor: Processor, rows: list[Example], size: int = 3, together: int = 1) -> None:
        self.processor, self.rows, self.size, self.together = processor, {r.row: r for r in rows}, size, together

    def example(self, row: int) -> Example:
        return self.rows[row]

    def groups(self, rows: list[int]) -> list[list[int]]:
        return [rows[i : i + self.together] for i in range(0, len(rows), self.together)]

    def batches(self, groups: list[list[int]], *, trunk: bool = True, **options: Any) -> Any:
        from sensorium.data.collate import collate

        made = [self.processor.sequence([self.rows[row] for row in group], **options) for group in groups]
        for start in range(0, len(made), self.size):
            yield collate(made[start : start + self.size])
