"""Losses of heads: cross-entropy for classes and for yes or no, half the squared error for numbers."""

from __future__ import annotations

from torch import Tensor, nn

from sensorium.objectives.loss import in_full


def class_loss(outputs: Tensor, targets: Tensor, weights: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
    """−Σ wᵧ log softmax(outputs)ᵧ; outputs (batch, classes), targets (batch,) class numbers, weights (classes,)."""
    return nn.functional.cross_entropy(
        outputs.float(), targets.long(), weight=weights, reduction="sum", label_smoothing=label_smoothing
    )


def number_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ Σ (output − target)²: the Gaussian negative log-likelihood of standardised targets, but for a constant."""
    return 0.5 * nn.functional.mse_loss(outputs[:, 0].float(), targets, reduction="sum")


def binary_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """−Σ y log σ(o) + (1 − y) log(1 − σ(o)); outputs (n,) log-odds of yes, targets (n,) of 1 for yes and 0 for no."""
    scores = in_full(outputs)
    return nn.functional.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="sum")
