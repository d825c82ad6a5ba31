"""From vectors to lists: the first items for each user, seen ones left out, lists made more diverse."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

USERS_TOGETHER = 256


@torch.inference_mode()
def top_k(
    users: Tensor, items: Tensor, k: int, bias: Tensor | None = None, excluded: np.ndarray | None = None
) -> tuple[Tensor, Tensor]:
    """The k items with the highest scores, one matrix product for each stretch of users.

    Args:
        users: (users, width); items: (items, width); bias: (items,).
        excluded: (users, n) items that are not in the running, -1 where there are fewer.

    Returns:
        indices (users, k) and scores (users, k), the best first; -inf where nothing is left.
    """
    k = min(k, len(items))
    found = []
    for start in range(0, len(users), USERS_TOGETHER):
        scores = users[start : start + USERS_TOGETHER] @ items.T
        if bias is not None:
            scores += bias
        if excluded is not None:
            rows, places = np.nonzero(excluded[start : start + USERS_TOGETHER] >= 0)
            scores[rows, excluded[start : start + USERS_TOGETHER][rows, places]] = -torch.inf
        found.append(scores.topk(k, dim=1))
    if not found:
        return torch.zeros(0, k, dtype=torch.long), torch.zeros(0, k)
    return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])


def rerank(
    scores: np.ndarray,
    vectors: np.ndarray,
    k: int,
    *,
    diversity: float = 0.0,
    freshness: float = 0.0,
    age: np.ndarray | None = None,
) -> np.ndarray:
    """Places of k of some candidates, in order: maximal marginal relevance (Carbonell & Goldstein 1998).

    Args:
        scores: (candidates,) of one user, the best first; vectors: (candidates, width) of what is in them.
        diversity: 0 keeps the order; 1 looks at nothing but how unlike an item is to those above it.
        freshness: 0 to 1, how much newer items gain; age: (candidates,) from 0, the newest, to 1.
    """
    low, high = float(scores.min()), float(scores.max())
    merit = (scores - low) / max(high - low, 1e-9)
    if freshness and age is not None:
        merit = (1 - freshness) * merit + freshness * (1 - age)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    nearest = np.zeros(len(scores))
    left, chosen = np.ones(len(scores), dtype=bool), []
    for _ in range(min(k, len(scores))):
        value = np.where(left, (1 - diversity) * merit - diversity * nearest, -np.inf)
        best = int(np.argmax(value))
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, unit @ unit[best])
    return np.array(chosen, dtype=np.int64)
