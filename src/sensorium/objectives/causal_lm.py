"""Next-token negative log-likelihood on supervised tokens: L = −Σ log P(yᵢ | y₍<ᵢ₎, x)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sensorium.data.collate import Batch


def causal_lm_loss(model: Callable[[Batch], Tensor], batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """The sum over supervised tokens, in nats; ``model`` gives logits (supervised, vocabulary) at those places alone."""
    return nn.functional.cross_entropy(model(batch), batch.answers, reduction="sum", label_smoothing=label_smoothing)
