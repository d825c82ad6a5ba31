"""From vectors to lists: the first items for each user, seen ones left out, lists made more diverse and fresher."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

MEMORY = 1 << 26  # bytes of scores held at once
BLOCK = 256  # items whose best score is looked at before any of them


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

    Scores of as many users as fit into ``MEMORY`` are held at once, so that memory does not grow with the users.
    """
    k = min(k, len(items))
    together = max(1, MEMORY // max(1, len(items) * users.element_size()))
    found = []
    for start in range(0, len(users), together):
        part = users[start : start + together]
        scores = part @ items.T if bias is None else torch.addmm(bias, part, items.T)
        if excluded is not None:
            rows, places = np.nonzero(excluded[start : start + together] >= 0)
            scores[rows, excluded[start : start + together][rows, places]] = -torch.inf
        found.append(_first(scores, k))
    if not found:
        return torch.zeros(0, k, dtype=torch.long), torch.zeros(0, k)
    return torch.cat([places for places, _ in found]), torch.cat([scores for _, scores in found])


def _first(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and values (users, k) of the highest scores (users, items).

    The k best lie in the k blocks whose own best are highest: whatever is in another block has k better ones. A maximum
    takes one look at each score, where keeping the k best of all takes several.
    """
    users, items = scores.shape
    blocks = items // BLOCK
    if blocks <= 2 * k:
        best = scores.topk(k, dim=1)
        return best.indices, best.values
    whole = scores[:, : blocks * BLOCK].view(users, blocks, BLOCK)
    chosen = whole.amax(2).topk(k, dim=1).indices
    places = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=scores.device)).view(users, k * BLOCK)
    rest = torch.arange(blocks * BLOCK, items, device=scores.device).expand(users, -1)
    places = torch.cat([places, rest], 1)
    best = scores.gather(1, places).topk(k, dim=1)
    return places.gather(1, best.indices), best.values


def ages(first_seen: Sequence[float | None]) -> np.ndarray:
    """(items,) from 0, the newest, to 1, the oldest, by the order of the moments at which items first appeared.

    By order, not by seconds: of a catalogue that mostly appeared at once the rest would all be about as new. An item
    that never appeared (None) is as new as the newest.
    """
    times = np.array([np.nan if time is None else time for time in first_seen], dtype=np.float64)
    found, there = np.zeros(len(times)), np.isfinite(times)
    moments, order = np.unique(times[there], return_inverse=True)
    if len(moments) > 1:
        found[there] = 1 - order / (len(moments) - 1)
    return found


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
