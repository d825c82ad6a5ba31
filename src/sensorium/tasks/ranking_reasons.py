"""Why an item: by how much its score falls when a part of the history, or a kind of knowledge, is taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.data.interactions.arrays import Histories
from sensorium.models.ranking.protocols import Ranker

Centred = Callable[[frozenset[str]], Tensor]


@dataclass(frozen=True)
class Reason:
    """``kind``: history or input; ``name``: of the item (its index as text) or of the input; ``fall`` of the score."""

    kind: str
    name: str
    fall: float


def because(
    ranker: Ranker,
    history: Histories,
    items: Sequence[int],
    inputs: list[str],
    most: int = 20,
    centred: Centred | None = None,
) -> list[list[Reason]]:
    """For each of ``items`` the falls of its score, largest first, against the mean of all items' scores.

    Args:
        history: of one user. items: those listed: no others are scored. inputs: names that ``ranker`` can do without.
        most: latest items of the history to try.
        centred: names that are withheld -> (listed, width + 1) what ``centred_vectors`` gives; for callers who keep it.

    Each of the latest items is taken out and the rest read again, all in one batch; then each input is withheld.
    """
    listed = list(items)
    centred = centred or (lambda without: centred_vectors(ranker, listed, without))
    own, nothing = centred(frozenset()), frozenset[str]()
    whole = _margins(ranker, history, own, nothing)[0]
    there = np.flatnonzero(history.items[0] >= 0)[-most:]
    reasons: list[list[Reason]] = [[] for _ in listed]
    if len(there):
        falls = whole - _margins(ranker, _each_left_out(history, there), own, nothing)
        for place, row in zip(there, falls, strict=True):
            for mine, fall in zip(reasons, row, strict=True):
                mine.append(Reason("history", str(int(history.items[0][place])), float(fall)))
    for name in inputs:
        without = frozenset({name})
        for mine, fall in zip(reasons, whole - _margins(ranker, history, centred(without), without)[0], strict=True):
            mine.append(Reason("input", name, float(fall)))
    return [sorted(mine, key=lambda reason: -reason.fall) for mine in reasons]


@torch.inference_mode()
def centred_vectors(ranker: Ranker, items: Sequence[int], without: frozenset[str] = frozenset()) -> Tensor:
    """(listed, width + 1) vectors of ``items`` and, last, their bias, each less the mean over the whole catalogue."""
    vectors, bias = ranker.item_vectors(without), ranker.item_bias()
    return torch.cat([vectors[list(items)] - vectors.mean(0), (bias[list(items)] - bias.mean())[:, None]], 1)


def _margins(ranker: Ranker, histories: Histories, own: Tensor, without: frozenset[str]) -> np.ndarray:
    """(users, listed) scores above the mean of all: that mean is the user's product with the mean vector."""
    return (ranker.user_vectors(histories, without) @ own[:, :-1].T + own[:, -1]).cpu().numpy()


def _each_left_out(history: Histories, places: np.ndarray) -> Histories:
    """One history, again and again, each time without the step at one of ``places``."""
    width = history.items.shape[1]
    kept = np.array([[-1, *np.delete(np.arange(width), place)] for place in places])

    def shorter(cells: np.ndarray, filler: float) -> np.ndarray:
        return np.where(kept < 0, filler, cells[0][kept]).astype(cells.dtype)

    return Histories(
        shorter(history.items, -1),
        shorter(history.gaps, 0),
        shorter(history.ratings, np.nan),
        np.repeat(history.users, len(places)),
        None if history.reviews is None else shorter(history.reviews, -1),
    )
