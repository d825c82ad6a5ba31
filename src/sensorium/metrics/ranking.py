"""How well held-out items are ranked among all items of a catalogue, and what the lists of the first ones look like.

Nothing is sampled: a rank is a place among the whole catalogue (Krichene & Rendle 2020 on what sampled metrics hide).
Gains are binary, with ``1 / log2(1 + rank)`` as the discount (Järvelin & Kekäläinen 2002).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sensorium.metrics.statistic import Counted, divide

CUTOFFS = (5, 10, 20)
NEVER = 2**40
"""The rank of an item that is never recommended, beyond every cut-off."""


def ranks_of(
    scores: np.ndarray, targets: np.ndarray, excluded: np.ndarray | Sequence[np.ndarray] | None = None
) -> np.ndarray:
    """The place of each held-out item among all items, from 1.

    Equal scores share the mean of their places, rounded up: with e equals beside it the item counts as behind half of
    them. A scorer that gives all items one score thus ranks everything in the middle.

    Args:
        scores: (cases, items), more is better; -inf is the last.
        targets: (cases,) the item to be found.
        excluded: items that are not in the running: (cases, items) bool, or an array of items a case. An item to be
            found that is excluded is never recommended: its rank is ``NEVER``.

    Returns:
        (cases,) int64.

    Raises:
        ValueError: shapes that do not fit, or a score that is not a number, which has no place.
    """
    scores, targets = np.asarray(scores), np.asarray(targets, dtype=np.int64)
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(f"scores {scores.shape} do not fit targets {targets.shape}")
    if np.isnan(scores).any():
        raise ValueError("some scores are not numbers")
    cases = np.arange(len(targets))
    wanted = scores[cases, targets][:, None]
    ahead, equal = scores > wanted, scores == wanted
    out = None if excluded is None else _mask(excluded, scores.shape)
    if out is not None:
        ahead &= ~out
        equal &= ~out
    equal[cases, targets] = False
    ranks = 1 + ahead.sum(1, dtype=np.int64) + (equal.sum(1, dtype=np.int64) + 1) // 2
    return ranks if out is None else np.where(out[cases, targets], NEVER, ranks)


def accuracy_at(ranks: np.ndarray, k: int, users: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """``hit_rate``, ``ndcg``, ``mrr`` and ``recall`` at ``k``, a value a list.

    Args:
        ranks: (targets,) place of each held-out item, from 1.
        k: how many items a list shows.
        users: (targets,) whose list each target belongs to, where lists have several; one target a list by default.

    Returns:
        (lists,) float64 each, lists in the order of sorted ``users``. With one target a list recall is the hit rate.
    """
    ranks = np.asarray(ranks, dtype=np.int64)
    if (ranks < 1).any():
        raise ValueError("ranks are counted from 1")
    lists = np.arange(len(ranks)) if users is None else np.unique(users, return_inverse=True)[1]
    of_list = np.bincount(lists)
    found = ranks <= k
    hits = np.bincount(lists, found)
    gains = np.bincount(lists, np.where(found, 1 / np.log2(1.0 + ranks), 0.0))
    best = np.zeros(len(of_list))
    np.maximum.at(best, lists, np.where(found, 1 / ranks, 0.0))
    ideal = np.cumsum(1 / np.log2(2.0 + np.arange(k)))
    return {
        "hit_rate": (hits > 0).astype(np.float64),
        "ndcg": gains / ideal[np.minimum(of_list, k) - 1],
        "mrr": best,
        "recall": hits / of_list,
    }


def diversity(top: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Intra-list diversity (Ziegler et al. 2005): 1 minus the mean cosine of the pairs of a list.

    Args:
        top: (cases, k) items; -1 where a list is shorter.
        content: (items, width) vectors; one of zeros is unlike all others.

    Returns:
        (cases,) float64; 0 for a list of fewer than two.
    """
    length = np.linalg.norm(content, axis=1, keepdims=True)
    unit = np.divide(content, length, out=np.zeros(content.shape, dtype=np.float64), where=length > 0)
    found = np.zeros(len(top))
    for start in range(0, len(top), 1024):  # (1024, k, width) at a time
        part = top[start : start + 1024]
        vectors = np.where((part >= 0)[:, :, None], unit[part], 0.0)
        # The sum of all pairs is the squared length of the sum, less each vector's product with itself.
        pairs = (vectors.sum(1) ** 2).sum(1) - (vectors**2).sum((1, 2))
        shown = (part >= 0).sum(1).astype(np.float64)
        found[start : start + 1024] = np.where(shown > 1, 1 - divide(pairs, shown * (shown - 1)), 0.0)
    return found


def novelty(top: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """Mean self-information of a list in bits (Zhou et al. 2010): ``-log2`` of an item's share of interactions.

    Args:
        top: (cases, k) items; -1 where a list is shorter.
        popularity: (items,) training interactions of each; an item with none counts as if it had one.
    """
    counts = np.maximum(np.asarray(popularity, dtype=np.float64), 1.0)
    return _mean_of(top, -np.log2(counts / max(float(np.sum(popularity)), 1.0)))


def average_popularity(top: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """(cases,) mean training interactions of the items of a list; arguments as of ``novelty``."""
    return _mean_of(top, np.asarray(popularity, dtype=np.float64))


def coverage(top: np.ndarray, items: int) -> Counted:
    """The share of the catalogue of ``items`` that stands in any list of ``top`` (cases, k)."""
    return _of_counts(top, lambda counts: float((counts > 0).sum()) / items)


def concentration(top: np.ndarray, items: int) -> Counted:
    """Gini of how often each of ``items`` is recommended in ``top`` (cases, k)."""
    return _of_counts(top, lambda counts: gini(counts, items))


def gini(counts: np.ndarray, items: int | None = None) -> float:
    """Gini coefficient: 0 where all have as much, near 1 where one has all.

    Args:
        counts: (n,) non-negative.
        items: how many there are, when some that have nothing are left out of ``counts``.
    """
    ordered = np.sort(np.asarray(counts, dtype=np.float64))
    n = len(ordered) if items is None else items
    total = ordered.sum()
    if not total:
        return 0.0
    places = np.arange(n - len(ordered) + 1, n + 1)
    return float(((2 * places - n - 1) * ordered).sum() / (n * total))


def _of_counts(top: np.ndarray, of: Callable[[np.ndarray], float]) -> Counted:
    """``of`` how often each item that is in some list is recommended, lists counted by weights."""
    shown = top >= 0
    _, item = np.unique(top[shown], return_inverse=True)
    case = np.nonzero(shown)[0]
    width = int(item.max()) + 1 if len(item) else 0

    def value(weights: np.ndarray) -> float:
        return of(np.bincount(item, weights[case], minlength=width))

    return Counted(len(top), value)


def _mean_of(top: np.ndarray, of_item: np.ndarray) -> np.ndarray:
    shown = top >= 0
    return divide(np.where(shown, of_item[top], 0.0).sum(1), shown.sum(1))


def _mask(excluded: np.ndarray | Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(excluded, np.ndarray) and excluded.dtype == bool:
        if excluded.shape != shape:
            raise ValueError(f"an exclusion of {excluded.shape} does not fit scores {shape}")
        return excluded
    if len(excluded) != shape[0]:
        raise ValueError(f"exclusions of {len(excluded)} cases do not fit scores {shape}")
    mask = np.zeros(shape, dtype=bool)
    for row, items in enumerate(excluded):
        items = np.asarray(items, dtype=np.int64)
        mask[row, items[items >= 0]] = True  # -1 pads a history
    return mask
