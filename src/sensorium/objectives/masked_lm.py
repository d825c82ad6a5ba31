"""Hidden tokens named from what stands around them: L = −(1/N) Σ log P(yᵢ | xᵢ, ŷᵢ) (Devlin et al. 2019).

xᵢ is what remains in sight, ŷᵢ what stands in the hidden token's place (the mask, another token, or itself), yᵢ the token.
On a causal model the same objective is infilling, which ``data.masking.infill`` lays out and ``causal_lm.token_loss``
sums.
"""

from __future__ import annotations

from torch import Tensor

from sensorium.objectives.causal_lm import token_loss
from sensorium.objectives.loss import IGNORED, Loss

__all__ = ["hidden_places", "masked_lm_loss"]


def masked_lm_loss(logits: Tensor, targets: Tensor) -> Loss:
    """The sum over hidden tokens, in nats, and how many there are; 0 of 0 where a batch hides none.

    Args:
        logits: (batch, tokens, vocabulary), or (hidden, vocabulary) at the hidden places alone.
        targets: (batch, tokens) or (hidden,): the token that is hidden there, ``IGNORED`` where none is.
    """
    return token_loss(logits, targets)


def hidden_places(targets: Tensor) -> Tensor:
    """Indices (hidden,) into batch · tokens of what is supervised: logits are needed there alone."""
    return (targets.flatten() != IGNORED).nonzero().squeeze(1)
