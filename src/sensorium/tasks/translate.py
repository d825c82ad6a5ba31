"""Translating: a source and its translation as a pair to learn from, and texts into another language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from sensorium.models.language import beam
from sensorium.models.language.translator import Translator
from sensorium.objectives.tied_softmax import tied_softmax
from sensorium.tasks.answers import Loss
from sensorium.tasks.hidden_words import MARK

PAD, END = "<pad>", "</s>"
LONGER = 2  # a translation has at most so many times the source's tokens,
BEYOND = 10  # and so many more

Pictures = tuple[Tensor, Tensor]  # features (rows, positions, width), and which rows have any (rows,) bool


def tag(language: str) -> str:
    """The special token that asks for a language."""
    return f"<2{language}>"


def special_tokens(languages: Sequence[str]) -> list[str]:
    """What the tokenizer holds beside text; the padding is first."""
    return [PAD, END, MARK, *map(tag, languages)]


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], masked: bool = False) -> list[np.ndarray]:
    """Token ids (tokens,) int32 of each text; only where ``masked`` is the mark of hidden words read as such."""
    if not len(texts):
        return []
    found = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=not masked)["input_ids"]
    return [np.array(ids, dtype=np.int32) for ids in found]


@dataclass(frozen=True)
class Pair:
    """One example: ids of the source with tag and end, of the target with tag and end; features of its picture."""

    row: int
    source: np.ndarray
    target: np.ndarray
    picture: Tensor | None = None


@dataclass
class TranslationBatch:
    """What a step runs on.

    Attributes:
        rows: row numbers of the table. source: (pairs, positions) ids; present: (pairs, positions) bool.
        target: (pairs, steps) ids, tag first; real: (pairs, steps) bool; wanted: (real positions,) what follows each.
        features, pictured: as ``Pictures``; None where no pair has one.
    """

    rows: list[int]
    source: Tensor
    present: Tensor
    target: Tensor
    real: Tensor
    wanted: Tensor
    features: Tensor | None = None
    pictured: Tensor | None = None

    def to(self, device: torch.device | str) -> TranslationBatch:
        """The batch with every tensor on ``device``."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        moved: dict[str, Any] = {name: t.to(device) for name, t in found.items() if isinstance(t, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class Translate:
    """The task: what a batch is, and its loss. ``pad`` is the id that fills rows up; ``shape`` a picture's features' shape."""

    pad: int
    label_smoothing: float = 0.0
    shape: tuple[int, int] | None = None

    name = "translate"

    def collate(self, pairs: list[Pair]) -> TranslationBatch:
        """One batch."""
        source, present = padded([pair.source for pair in pairs], self.pad)
        target, real = padded([pair.target[:-1] for pair in pairs], self.pad)
        wanted = np.concatenate([pair.target[1:] for pair in pairs])
        features = pictured = None
        if self.shape is not None:  # in every batch of every process alike, with pictures or without
            pictured = torch.tensor([pair.picture is not None for pair in pairs])
            features = torch.stack(
                [torch.zeros(self.shape) if pair.picture is None else pair.picture for pair in pairs]
            )
        wanted_ = torch.from_numpy(wanted.astype(np.int64))
        return TranslationBatch([p.row for p in pairs], source, present, target, real, wanted_, features, pictured)

    def loss(self, model: Any, batch: TranslationBatch) -> Loss:
        """Smoothed negative log-likelihood of the target's tokens and its end, summed."""
        picture = None if batch.features is None else (batch.features, batch.pictured)
        states, table = model(batch.source, batch.present, batch.target, batch.real, picture)
        return Loss(tied_softmax(states, table, batch.wanted, self.label_smoothing), len(batch.wanted))


def padded(rows: Sequence[np.ndarray], pad: int) -> tuple[Tensor, Tensor]:
    """Rows of ids filled up at the end: (rows, longest) int64, and where they are real, bool."""
    lengths = np.array([len(row) for row in rows])
    real = np.arange(max(int(lengths.max(initial=0)), 1)) < lengths[:, None]
    filled = np.full(real.shape, pad, dtype=np.int64)
    filled[real] = np.concatenate([*rows, np.empty(0, dtype=np.int64)])
    return torch.from_numpy(filled), torch.from_numpy(real)


def translate_texts(
    model: Translator,
    tokenizer: PreTrainedTokenizerFast,
    sources: Sequence[str],
    targets: Sequence[str],
    pictures: Pictures | None = None,
    *,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    batch_size: int = 32,
    masked: bool = False,
    done: Callable[[int], Any] = lambda count: None,
) -> list[str]:
    """Translations of ``sources``, each into the language of ``targets`` beside it, in their order.

    Args:
        batch_size: sentences searched at once, of about equal length. masked: sources may hold the mark of hidden words.
        done: told how many more are finished.

    A source of more tokens than the model's window is cut there.
    """
    window, config = model.config.window, model.config
    end, pad = tokenizer.convert_tokens_to_ids(END), tokenizer.convert_tokens_to_ids(PAD)
    ids = [row[: window - 2] for row in encode(tokenizer, sources, masked)]
    order = np.argsort([-len(row) for row in ids], kind="stable")
    found = [""] * len(ids)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        tags = torch.tensor([config.tags[targets[i]] for i in chosen], dtype=torch.long, device=model.device)
        source, present = padded([np.array([config.tags[targets[i]], *ids[i], end]) for i in chosen], pad)
        shown = None
        if pictures is not None:
            shown = pictures[0][chosen].to(model.device), pictures[1][chosen].to(model.device)
        with torch.inference_mode():
            memory = model.encode(source.to(model.device), present.to(model.device), shown)
        limits = [min(window, LONGER * len(ids[i]) + BEYOND) for i in chosen]
        for i, best in zip(
            chosen,
            beam.translate(
                model,
                memory,
                tags,
                limits,
                end=end,
                forbidden=tokenizer.all_special_ids,
                beam=beam_size,
                length_penalty=length_penalty,
            ),
            strict=True,
        ):
            found[i] = tokenizer.decode(best.tokens, skip_special_tokens=True).strip()
        done(len(chosen))
    return found
