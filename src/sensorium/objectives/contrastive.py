"""Alignment of two senses: each item finds its partner among all of the batch (van den Oord et al. 2018, Radford et al. 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sensorium.objectives.loss import Loss, in_full

FIRST_LOG_SCALE = math.log(1 / 0.07)  # CLIP's first inverse temperature
LARGEST_SCALE = 100.0  # CLIP's bound, against a softmax that is too sharp to learn from


def similarities(left: Tensor, right: Tensor, log_scale: Tensor) -> Tensor:
    """Scaled cosines (n, m) of left (n, width) and right (m, width); ``log_scale`` () is the log of 1 / temperature."""
    left, right = (nn.functional.normalize(in_full(vectors), dim=-1) for vectors in (left, right))
    return log_scale.exp().clamp(max=LARGEST_SCALE) * left @ right.T


def contrastive_loss(left: Tensor, right: Tensor, log_scale: Tensor, groups: Tensor | None = None) -> Loss:
    """Symmetric InfoNCE: Σ ½ (−log P(rightᵢ | leftᵢ) − log P(leftᵢ | rightᵢ)) in nats, and n.

    Args:
        left, right: (n, width), partners at the same place; their lengths do not matter.
        log_scale: (), learned; its exponential is bounded by ``LARGEST_SCALE``.
        groups: (n,) numbers; items of one number are alike (the same name twice), so that they are no negatives of each
            other. None: all differ.
    """
    scores = similarities(left, right, log_scale)
    if groups is not None:
        scores = scores.masked_fill(alike(groups), -torch.inf)
    places = torch.arange(len(scores), device=scores.device)
    both = nn.functional.cross_entropy(scores, places, reduction="sum") + nn.functional.cross_entropy(
        scores.T, places, reduction="sum"
    )
    return Loss(both / 2, len(scores))


def alike(groups: Tensor) -> Tensor:
    """(n, n) true where two different items have one number; groups (n,)."""
    same = groups[:, None] == groups[None, :]
    return same.fill_diagonal_(False)
