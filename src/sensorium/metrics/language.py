"""How well a language model foretells held-out text, and finds which medium a text belongs to.

Every figure is a ratio of sums over units (documents or rows), kept by unit so that resampling is one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sensorium.metrics.statistic import Statistic, divide, ratio

CUTOFFS = (1, 5, 10)


def statistics(columns: Mapping[str, np.ndarray]) -> dict[str, Statistic]:
    """The figures that some columns allow.

    Args:
        columns: (n,) each, of a unit:
            nats, tokens, bytes: Σ −log P of its tokens given those before, how many they are, and its UTF-8 bytes;
            masked_nats, masked_right, masked: the same of hidden tokens, how many are named, how many there are;
            next_right, next: sentence pairs judged rightly, and pairs;
            matching_right, matching: pairs of medium and text judged rightly, and pairs;
            rank, text_rank: place, from 1, of its own medium among all by its text, and of its text by its medium; 0
            where it has no medium.
    """
    found: dict[str, Statistic] = {}
    if "nats" in columns:
        found["perplexity"] = perplexity(columns["nats"], columns["tokens"])
        if "bytes" in columns:
            found["byte_perplexity"] = perplexity(columns["nats"], columns["bytes"])
    if "masked_right" in columns:
        found["masked_accuracy"] = ratio(columns["masked_right"], columns["masked"])
        if "masked_nats" in columns:
            found["masked_perplexity"] = perplexity(columns["masked_nats"], columns["masked"])
    if "next_right" in columns:
        found["next_sentence_accuracy"] = ratio(columns["next_right"], columns["next"])
    if "matching_right" in columns:
        found["matching_accuracy"] = ratio(columns["matching_right"], columns["matching"])
    for column, name in (("rank", "recall"), ("text_rank", "text_recall")):
        if column in columns:
            ranks = np.asarray(columns[column], dtype=np.float64)
            for k in CUTOFFS:
                found[f"{name}@{k}"] = ratio((ranks > 0) & (ranks <= k), ranks > 0)
    return found


def perplexity(nats: np.ndarray, count: np.ndarray) -> Statistic:
    """exp(Σ nats / Σ count), both (n,); of bytes where ``count`` counts these."""
    rows = np.stack([np.asarray(nats, dtype=np.float64), np.asarray(count, dtype=np.float64)], axis=1)
    return Statistic(rows, lambda sums: np.exp(np.minimum(divide(sums[..., 0], sums[..., 1]), 700.0)))


def ranks_of_partners(scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Place (n,), from 1, of each row's partner among all columns: 1 + how many others score higher, ties halved.

    Args:
        scores: (n, n), partners on the diagonal.
        groups: (n,) rows of one number are alike: they do not stand in each other's way.
    """
    own = np.diagonal(scores)[:, None]
    others = ~np.eye(len(scores), dtype=bool)
    if groups is not None:
        others &= groups[:, None] != groups[None, :]
    above, level = ((scores > own) & others).sum(1), ((scores == own) & others).sum(1)
    return 1 + above + (level + 1) // 2
