"""Histories as tensors, and what an interaction tells beside its item: in how many seconds, with which rating."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.data.interactions.arrays import Histories

GAPS = 32  # buckets: 0, then powers of two of seconds
RATINGS = 16  # buckets between the lowest and the highest rating; one more says that there is none


@dataclass
class Sequences:
    """Histories as tensors, padded on the left.

    Attributes:
        items: (users, steps), -1 where padded; gaps, ratings: (users, steps); users: (users,).
        reviews: (users, steps), which review each step has, -1 for none; None where nothing is known of reviews.
    """

    items: Tensor
    gaps: Tensor
    ratings: Tensor
    users: Tensor
    reviews: Tensor | None = None

    @classmethod
    def of(cls, histories: Histories, device: torch.device | str = "cpu") -> Sequences:
        """Tensors of ``histories``, at least one step wide: where nobody has a history, it is padding."""
        least = ((0, 0), (max(1 - histories.items.shape[1], 0), 0))
        arrays = [np.pad(histories.items, least, constant_values=-1)]
        arrays += [np.pad(histories.gaps, least), np.pad(histories.ratings, least), histories.users]
        if histories.reviews is not None:
            arrays.append(np.pad(histories.reviews, least, constant_values=-1))
        return cls(*(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays))


def gap_bucket(gaps: Tensor) -> Tensor:
    """Seconds -> 0 for none, then the power of two."""
    return gaps.clamp(min=0).add(1).log2().ceil().long().clamp(0, GAPS - 1)


def rating_bucket(ratings: Tensor, low: float, high: float) -> Tensor:
    """Ratings -> 0 where there is none, else 1 … RATINGS by equal steps."""
    share = ((ratings - low) / max(high - low, 1e-9)).clamp(0, 1)
    return torch.where(ratings.isnan(), 0, 1 + (share.nan_to_num() * (RATINGS - 1)).round().long())
