"""Keys and values of all running answers in one piece of memory, a slot each, each as long as its own answer.

A transformers model's layers hand new keys and values to ``update`` and attend to what it returns. Running answers
stand in slots 0, 1, … without gaps, so that a step over all of them reads views and copies nothing; a prompt is read in
the last slot, apart, and copied behind the running ones when it is whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FIRST = 256  # tokens of a slot at first; doubled when one needs more


class Slots:
    """Room for ``count`` running answers and one prompt, ``capacity`` tokens each.

    Memory is taken when the first token is read, when the layers' shapes are known, and doubled when a slot needs more.
    (Untouched memory is not free: where the system has huge pages, the first byte of each takes and fills 2 MiB.)
    """

    def __init__(self, layers: int, count: int, capacity: int) -> None:
        self.count, self.capacity = count, capacity
        self._store: list[Tensor | None] = [None] * layers  # (2, slots, heads, capacity, head width)
        self._lengths: Tensor | None = None  # of a step: tokens that each running slot holds before it
        self._start = self._keys = 0

    def reading(self, start: int) -> Slots:
        """The next ``update`` of every layer extends the prompt's slot, which holds ``start`` tokens."""
        self._lengths, self._start = None, start
        return self

    def stepping(self, lengths: Tensor) -> Slots:
        """The next ``update`` of every layer adds a token to slots 0, 1, …, which hold ``lengths`` (rows,) tokens."""
        self._lengths, self._keys = lengths, int(lengths.max()) + 1
        return self

    def update(self, keys: Tensor, values: Tensor, layer: int, **_: Any) -> tuple[Tensor, Tensor]:
        """New keys and values (rows, heads, tokens, head width) -> all of them (rows, heads, all tokens, head width).

        Behind a short slot's own length stand zeros or what an earlier answer left: finite, and to be masked.
        """
        if self._lengths is None:
            stop = self._start + keys.shape[2]
            store = self._room(layer, keys, stop)
            store[0, -1, :, self._start : stop], store[1, -1, :, self._start : stop] = keys[0], values[0]
            return store[0, -1:, :, :stop], store[1, -1:, :, :stop]
        store = self._room(layer, keys, self._keys)
        rows = torch.arange(len(keys), device=keys.device)
        store[0, rows, :, self._lengths], store[1, rows, :, self._lengths] = keys[:, :, 0], values[:, :, 0]
        return store[0, : len(keys), :, : self._keys], store[1, : len(keys), :, : self._keys]

    def _room(self, layer: int, like: Tensor, tokens: int) -> Tensor:
        """A layer's memory, with room for ``tokens`` in every slot; ``like`` (…, heads, …, head width)."""
        store = self._store[layer]
        if store is None or store.shape[3] < tokens:
            wanted = FIRST if store is None else 2 * store.shape[3]
            room = min(max(wanted, tokens), self.capacity)
            grown = like.new_zeros(2, self.count + 1, like.shape[1], room, like.shape[3])
            if store is not None:
                grown[:, :, :, : store.shape[3]] = store
            store = self._store[layer] = grown
        return store

    # -- slots as wholes ---------------------------------------------------------------------------

    def enter(self, slot: int, length: int) -> None:
        """Copy the prompt's slot, ``length`` tokens, to ``slot``."""
        self._copy(self.count, slot, length)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a slot of ``length`` tokens over another."""
        self._copy(source, target, length)

    def _copy(self, source: int, target: int, length: int) -> None:
        for store in self._store:
            if store is not None and source != target:
                store[:, target, :, :length] = store[:, source, :, :length]

    def cut(self, slot: int, start: int, stop: int) -> list[Tensor]:
        """A copy of tokens ``start`` to ``stop`` - 1 of a slot, (2, heads, tokens, head width) a layer."""
        return [store[:, slot, :, start:stop].clone() for store in self._store if store is not None]

    def paste(self, start: int, tokens: list[Tensor]) -> None:
        """What ``cut`` gave, into the prompt's slot from ``start`` on."""
        for layer, part in enumerate(tokens):
            stop = start + part.shape[2]
            self._room(layer, part, stop)[:, -1, :, start:stop] = part

    @property
    def bytes(self) -> int:
        """Memory that is taken."""
        return sum(store.nbytes for store in self._store if store is not None)
