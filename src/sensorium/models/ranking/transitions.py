"""What follows what: a linear model of sequences in closed form, one matrix from decayed histories to the next item.

Row t of H holds the items that a user had met up to step t, the latest with weight 1, the one before with the decay, and
so on; row t of Y is one at the item that came next. B = (HᵀH + λI)⁻¹ HᵀY is the ridge regression of Y on H: EASE (Steck
2019) made sequential (SLIST, Choi et al. 2021). Its scores, ``decayed(history) @ B``, have full rank, which item vectors
of a narrow GPT have not: it knows sharp successions, the GPT the rest.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse

FORGOTTEN = 1e-3  # weight below which a step counts no more
ROWS = 50_000  # rows of H at once


def decayed(items: np.ndarray, catalogue: int, decay: float) -> np.ndarray:
    """What users have met, the latest most: histories (users, steps), -1 where padded on the left -> (users, catalogue) fp32."""
    age = np.arange(items.shape[1])[::-1]
    weights = np.where(items >= 0, np.power(decay, age), 0.0)
    found = np.zeros((len(items), catalogue), dtype=np.float32)
    np.add.at(found, (np.arange(len(items))[:, None], np.maximum(items, 0)), weights)
    return found


def fit_transitions(user: np.ndarray, item: np.ndarray, catalogue: int, decay: float, ridge: float) -> np.ndarray:
    """B (catalogue, catalogue) fp32: from what was met to what comes next.

    Args:
        user, item: (interactions,) of training alone, sorted by user and time.
        decay: weight of a step against the one after it, below 1.
        ridge: λ, in units of a history's own weight.

    Memory is that of two matrices (catalogue, catalogue) fp64, time its third power.
    """
    gram = np.zeros((catalogue, catalogue))
    cross = np.zeros((catalogue, catalogue))
    reach = int(np.ceil(np.log(FORGOTTEN) / np.log(decay))) if decay > 0 else 1
    ends = np.flatnonzero(np.append(user[:-1] == user[1:], False)) if len(user) else np.zeros(0, dtype=np.int64)
    first = np.searchsorted(user, user)  # where the user of each interaction begins
    for start in range(0, len(ends), ROWS):
        rows = ends[start : start + ROWS]
        met = _met(item, rows, first[rows], reach, decay, catalogue)
        following = scipy.sparse.csr_matrix(
            (np.ones(len(rows)), (np.arange(len(rows)), item[rows + 1])), shape=(len(rows), catalogue)
        )
        gram += (met.T @ met).toarray()
        cross += (met.T @ following).toarray()
    gram[np.diag_indices(catalogue)] += ridge
    return scipy.linalg.solve(gram, cross, assume_a="pos", overwrite_a=True, overwrite_b=True).astype(np.float32)


def _met(
    item: np.ndarray, rows: np.ndarray, first: np.ndarray, reach: int, decay: float, catalogue: int
) -> scipy.sparse.csr_matrix:
    """H (rows, catalogue): the decayed history up to and with each of ``rows``; ``first``: where its user begins."""
    lengths = np.minimum(rows - first + 1, reach)
    row = np.repeat(np.arange(len(rows)), lengths)
    age = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values = np.power(decay, age)
    return scipy.sparse.csr_matrix((values, (row, item[rows[row] - age])), shape=(len(rows), catalogue))
