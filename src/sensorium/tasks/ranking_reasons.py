"""Why an item: by how much its score falls when a part of the history, or a kind of knowledge, is taken away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sensorium.data.interactions import Histories
from sensorium.models.ranking_protocols import Ranker


@dataclass(frozen=True)
class Reason:
    """``kind``: history or input; ``name``: of the item (its index as text) or of the input; ``share`` of the score."""

    kind: str
    name: str
    fall: float


def because(ranker: Ranker, history: Histories, item: int, inputs: list[str], most: int = 20) -> list[Reason]:
    """The fall of ``item``'s score, largest first, against the mean of all items' scores.

    Args:
        history: of one user. inputs: names that ``ranker`` can do without.
        most: latest items of the history to try.

    Each of the latest items is taken out and the rest read again, all in one batch; then each input is withheld.
    """
    whole = _margin(ranker, history, item)[0]
    there = np.flatnonzero(history.items[0] >= 0)[-most:]
    reasons: list[Reason] = []
    if len(there):
        width = history.items.shape[1]
        kept = np.array([[-1, *np.delete(np.arange(width), place)] for place in there])
        shorter = Histories(
            np.where(kept < 0, -1, history.items[0][kept]),
            np.where(kept < 0, 0, history.gaps[0][kept]).astype(np.float32),
            np.where(kept < 0, np.nan, history.ratings[0][kept]).astype(np.float32),
            np.repeat(history.users, len(there)),
        )
        falls = whole - _margin(ranker, shorter, item)
        reasons += [
            Reason("history", str(int(history.items[0][place])), float(fall))
            for place, fall in zip(there, falls, strict=True)
        ]
    for name in inputs:
        fall = whole - _margin(ranker, history, item, frozenset({name}))[0]
        reasons.append(Reason("input", name, float(fall)))
    return sorted(reasons, key=lambda reason: -reason.fall)


def _margin(ranker: Ranker, histories: Histories, item: int, without: frozenset[str] = frozenset()) -> np.ndarray:
    """(users,) the item's score above the mean of all."""
    scores = ranker.user_vectors(histories, without) @ ranker.item_vectors(without).T + ranker.item_bias()
    return (scores[:, item] - scores.mean(1)).cpu().numpy()
