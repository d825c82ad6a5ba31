"""A dictionary bounded in bytes: what was not used for longest goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Bounded(Generic[Value]):
    """Values by key, each with its size; the sizes together never exceed ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._kept: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable) -> Value | None:
        """The value, now the latest used; None where it is not kept."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keep a value of ``size`` bytes; one larger than the limit is not kept, and drives nothing out."""
        if key in self._kept:
            self.bytes -= self._kept.pop(key)[1]
        if size > self.limit:
            return
        while self.bytes + size > self.limit:
            self.bytes -= self._kept.popitem(last=False)[1][1]
        self._kept[key] = (value, size)
        self.bytes += size
