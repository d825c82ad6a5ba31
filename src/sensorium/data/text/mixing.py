"""Two streams of windows in one: what is learnt, and what is read again against forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sensorium.errors import DataError


@dataclass(frozen=True)
class Mixture:
    """``mixture(epoch, unit)``: which stream a unit is of, and its number there.

    An epoch has every unit of the main stream once, and beside them as many of the replayed stream as make ``share`` of all.
    These go through the replayed stream in an order drawn from (seed, round), on and on over the epochs, so none comes twice
    before all came once.

    Args:
        main, replay: how many units each stream has.
        share: of all units of an epoch that are replayed, from 0 up to but not including 1.
    """

    main: int
    replay: int
    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.share and not self.replay:
            raise DataError("there is nothing to replay", where="pretraining.replay", mend="name a text with documents")

    @property
    def replayed(self) -> int:
        """Units of the replayed stream in an epoch."""
        return round(self.main * self.share / (1 - self.share))

    def __len__(self) -> int:
        return self.main + self.replayed

    def __call__(self, epoch: int, unit: int) -> tuple[bool, int]:
        """Whether it is replayed, and the number in its stream."""
        if not 0 <= unit < len(self):
            raise IndexError(unit)
        if unit < self.main:
            return False, unit
        number, place = divmod(epoch * self.replayed + unit - self.main, self.replay)
        return True, int(_order(self.seed, number, self.replay)[place])


@lru_cache(maxsize=4)
def _order(seed: int, number: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(count)
