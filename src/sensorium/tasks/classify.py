"""Classes and numbers: a head on the fused vector, or on the GPT's last hidden state."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Batch
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import ProcessorSettings
from sensorium.objectives.supervised import class_loss, number_loss
from sensorium.tasks.answers import Answers, Feed, Loss, Progress


class Classify:
    """The task of naming a class, or a number where the settings have no classes.

    Args:
        settings: the processor's, which know the classes or the target's mean and scale.
        counts: training rows of each class, for balanced weights; None: unweighted.
    """

    name = "classify"

    def __init__(
        self, settings: ProcessorSettings, *, counts: np.ndarray | None = None, label_smoothing: float = 0.0
    ) -> None:
        self.settings, self.label_smoothing = settings, label_smoothing
        self.weights = None if counts is None else balanced_weights(counts)

    @property
    def measure(self) -> tuple[str, bool]:
        """The metric that validation chooses by, and whether more is better."""
        return ("accuracy", True) if self.settings.classes is not None else ("mae", False)

    def loss(self, model: MultimodalGPT, batch: Batch) -> Loss:
        outputs = model(batch)
        if self.settings.classes is None:
            return Loss(number_loss(outputs, batch.targets), len(batch.targets))
        weights = None if self.weights is None else self.weights.to(outputs.device)
        return Loss(class_loss(outputs, batch.targets, weights, self.label_smoothing), len(batch.targets))

    @torch.inference_mode()
    def predict(self, model: MultimodalGPT, feed: Feed, rows: list[int], progress: Progress | None = None) -> Answers:
        """An answer a row, in order."""
        outputs = []
        for batch in feed.batches([[row] for row in rows]):
            outputs.append(model(batch).float().cpu())
            if progress:
                progress(len(batch.rows))
        found = torch.cat(outputs) if outputs else torch.zeros(0, max(len(self.settings.classes or []), 1))
        targets = [feed.example(row).target for row in rows]
        nan = np.full(len(rows), np.nan)
        ones = np.ones(len(rows), dtype=np.int64)
        if self.settings.classes is None:
            numbers = (found[:, 0] * self.settings.target_scale + self.settings.target_mean).tolist()
            return Answers(np.array(rows), targets, numbers, None, nan, nan, ones)
        probabilities = found.softmax(1).numpy()
        classes = self.settings.classes
        best = probabilities.argmax(1)
        truth = [classes.index(str(t)) if t is not None and str(t) in classes else None for t in targets]
        likelihoods = np.array(
            [np.nan if t is None else np.log(max(probabilities[i, t], 1e-12)) for i, t in enumerate(truth)]
        )
        predictions = [classes[i] for i in best]
        return Answers(np.array(rows), targets, predictions, probabilities, probabilities.max(1), likelihoods, ones)


def balanced_weights(counts: np.ndarray) -> Tensor:
    """n / (classes · n_c) for each class c, as scikit-learn's ``balanced``; counts (classes,)."""
    counts = np.maximum(np.asarray(counts, dtype=np.float64), 1)
    return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)
