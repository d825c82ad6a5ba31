"""Which item of a catalogue comes next: softmax over all items, or over sampled ones with their chance taken off."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK = 4096  # predictions whose scores over the catalogue are held at a time


def full_softmax(
    user_vectors: Tensor, item_vectors: Tensor, bias: Tensor | None, targets: Tensor, chunk: int = CHUNK
) -> Tensor:
    """Σ −log softmax(u · v + b) at the targets, in nats, over all items.

    Args:
        user_vectors: (n, width); item_vectors: (items, width); bias: (items,) or None; targets: (n,) places of items.
        chunk: rows whose scores (chunk, items) are held at once; the backward pass computes them anew.
    """
    total = user_vectors.new_zeros(())
    for start in range(0, len(targets), chunk):
        part = user_vectors[start : start + chunk], item_vectors, bias, targets[start : start + chunk]
        if len(targets) <= chunk:
            return _nll(*part)
        total = total + checkpoint(_nll, *part, use_reentrant=False, preserve_rng_state=False)
    return total


def sampled_softmax(
    user_vectors: Tensor,
    candidate_vectors: Tensor,
    bias: Tensor | None,
    places: Tensor,
    log_weights: Tensor,
    chunk: int = CHUNK,
) -> Tensor:
    """The same sum with the partition function estimated from candidates (Bengio & Senécal 2008; Yi et al. 2019).

    The target counts as itself, every other candidate times its weight; as a candidate stands once and the target's own
    column is the target, no accidental hit is counted against it.

    Args:
        user_vectors: (n, width); candidate_vectors: (candidates, width) of different items, all targets among them.
        bias: (candidates,) or None; places: (n,) column of each target among the candidates.
        log_weights: (candidates,) of ``log_weights_of``.
    """
    total = user_vectors.new_zeros(())
    for start in range(0, len(places), chunk):
        rows = slice(start, start + chunk)
        total = total + checkpoint(
            _sampled_nll,
            user_vectors[rows],
            candidate_vectors,
            bias,
            places[rows],
            log_weights,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return total


def log_weights_of(drawn: Tensor, expected: Tensor) -> Tensor:
    """log(times drawn / times expected): what makes a sum over drawn items that over all in expectation.

    Args:
        drawn: (candidates,) how often each was drawn; expected: (candidates,) how often it is drawn on average.
    """
    return drawn.float().log() - expected.float().log()


def _nll(users: Tensor, items: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    scores = users.float() @ items.float().T
    return nn.functional.cross_entropy(scores if bias is None else scores + bias, targets, reduction="sum")


def _sampled_nll(users: Tensor, items: Tensor, bias: Tensor | None, places: Tensor, log_weights: Tensor) -> Tensor:
    scores = users.float() @ items.float().T
    scores = scores if bias is None else scores + bias
    weighted = scores + log_weights
    own = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, places[:, None], True)
    return nn.functional.cross_entropy(torch.where(own, scores, weighted), places, reduction="sum")
