"""Next-token negative log-likelihood on supervised tokens: L = −Σ log P(yᵢ | y₍<ᵢ₎, x)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sensorium.data.collate import Batch
from sensorium.objectives.loss import IGNORED, Loss, in_full


def causal_lm_loss(model: Callable[[Batch], Tensor], batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """The sum over supervised tokens, in nats; ``model`` gives logits (supervised, vocabulary) at those places alone."""
    return nn.functional.cross_entropy(model(batch), batch.answers, reduction="sum", label_smoothing=label_smoothing)


def token_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Loss:
    """−Σ log P(target) in nats, and how many targets there are.

    Args:
        logits: (..., vocabulary); targets: (...) token numbers, ``IGNORED`` where nothing is supervised.
    """
    scores, wanted = logits.flatten(0, -2), targets.flatten()
    kept = wanted != IGNORED
    count = int(kept.sum())
    if count < len(wanted):
        scores, wanted = scores[kept], wanted[kept]
    total = nn.functional.cross_entropy(in_full(scores), wanted, reduction="sum", label_smoothing=label_smoothing)
    return Loss(total, count)
