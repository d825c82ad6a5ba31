"""Whether a picture, or a sound, and a text belong together: a binary head on right and wrong pairs (Li et al. 2021, ALBEF)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.objectives.contrastive import alike
from sensorium.objectives.loss import Loss
from sensorium.objectives.supervised import binary_loss


def matching_loss(outputs: Tensor, matches: Tensor) -> Loss:
    """−Σ log P(match | pair), and how many pairs there are; outputs (pairs,) log-odds, matches (pairs,) 1 or 0."""
    return Loss(binary_loss(outputs, matches), len(matches))


@dataclass
class Pairs:
    """Which items are shown together: ``left`` and ``right`` (pairs,) are places in the batch, ``matches`` (pairs,) 1 or 0."""

    left: Tensor
    right: Tensor
    matches: Tensor


def pairs(scores: Tensor, groups: Tensor | None = None, hard: bool = True) -> Pairs:
    """All n right pairs; for each left item a wrong right one, for each right item a wrong left one: up to 3 n pairs.

    Args:
        scores: (n, n) similarities of left and right items, as of ``contrastive.similarities``; not differentiated.
        groups: (n,) items of one number are no wrong partners of each other. None: all differ.
        hard: wrong partners are drawn by softmax of the scores, so the more alike the likelier; else evenly.

    Wrong partners are drawn by torch's default generator, which the training loop seeds anew for every micro-batch. An item
    that no other item is a wrong partner of has the right pair alone.
    """
    n = len(scores)
    places = torch.arange(n, device=scores.device)
    excluded = torch.eye(n, dtype=torch.bool, device=scores.device)
    if groups is not None:
        excluded |= alike(groups)
    left, right, matches = [places], [places], [torch.ones(n, device=scores.device)]
    for by_left, table in ((True, scores), (False, scores.T)):
        shown = places[~excluded.all(1)]
        drawn = _draw(table.detach()[shown], excluded[shown], hard)
        left.append(shown if by_left else drawn)
        right.append(drawn if by_left else shown)
        matches.append(torch.zeros(len(shown), device=scores.device))
    return Pairs(torch.cat(left), torch.cat(right), torch.cat(matches))


def _draw(scores: Tensor, excluded: Tensor, hard: bool) -> Tensor:
    """A column for each row, never an excluded one."""
    if not len(scores):
        return torch.zeros(0, dtype=torch.long, device=scores.device)
    weights = (scores.float() if hard else torch.zeros_like(scores, dtype=torch.float32)).masked_fill(
        excluded, -torch.inf
    )
    return torch.multinomial(weights.softmax(1), 1).squeeze(1)
