"""Task draw: the next code, the next word and the hidden codes, in whatever form a sequence has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn.functional import cross_entropy

from sensorium.models.drawing.sequences import DrawingBatch, DrawingSequence, batch_of
from sensorium.models.drawing.vocabulary import Vocabulary
from sensorium.objectives.loss import Loss


class Draw:
    """The task, as the training loop wants it."""

    def __init__(self, vocabulary: Vocabulary, label_smoothing: float = 0.0) -> None:
        self.vocabulary, self.label_smoothing = vocabulary, label_smoothing

    def loss(self, model: Any, batch: DrawingBatch) -> Loss:
        """Sum of −log P over all predicted words and codes."""
        words, codes = model(batch)
        smooth = self.label_smoothing
        total = words.sum() * 0 + codes.sum() * 0  # every process touches the same parameters in every step
        if len(batch.word_answers):
            total = total + cross_entropy(words, batch.word_answers, reduction="sum", label_smoothing=smooth)
        if len(batch.code_answers):
            total = total + cross_entropy(codes, batch.code_answers, reduction="sum", label_smoothing=smooth)
        return Loss(total, len(batch.word_answers) + len(batch.code_answers))

    def collate(self, items: Sequence[tuple[int, DrawingSequence]]) -> DrawingBatch:
        """(row, sequence) each, side by side."""
        return batch_of([one for _, one in items], self.vocabulary, [row for row, _ in items])
