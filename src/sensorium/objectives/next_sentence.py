"""Whether, and how likely, one sentence follows another."""

from __future__ import annotations

from torch import Tensor

from sensorium.objectives.causal_lm import token_loss
from sensorium.objectives.loss import Loss
from sensorium.objectives.supervised import binary_loss


def next_sentence_loss(outputs: Tensor, follows: Tensor) -> Loss:
    """−Σ log P(follows | pair) of a binary head (Devlin et al. 2019), and how many pairs there are.

    Args:
        outputs: (pairs,) log-odds that the second sentence follows the first in its document.
        follows: (pairs,) 1 where it does, 0 where it was drawn from elsewhere.
    """
    return Loss(binary_loss(outputs, follows), len(follows))


def next_sentence_likelihood(logits: Tensor, targets: Tensor, pairs: int) -> Loss:
    """−Σ log P(xᵢ₊₁ | xᵢ) in nats over true pairs: every token of the second sentence given the first and those before it.

    The count is that of pairs, as in L = −(1/N) Σ log P(xᵢ₊₁ | xᵢ); a long sentence therefore weighs more than a short one.

    Args:
        logits: (..., vocabulary); targets: (...) tokens of second sentences, ``IGNORED`` elsewhere.
        pairs: N, how many pairs the targets belong to.
    """
    return Loss(token_loss(logits, targets).total, pairs)
