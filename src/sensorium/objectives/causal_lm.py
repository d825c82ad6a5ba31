"""Next-token negative log-likelihood on supervised tokens: L = −Σ log P(yᵢ | y₍<ᵢ₎, x)."""

from __future__ import annotations

from torch import Tensor, nn

from sensorium.data.collate import Batch
from sensorium.models.multimodal_gpt import MultimodalGPT


def causal_lm_loss(model: MultimodalGPT, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """The sum over supervised tokens, in nats; logits are computed at those places alone."""
    return nn.functional.cross_entropy(model(batch), batch.answers, reduction="sum", label_smoothing=label_smoothing)
