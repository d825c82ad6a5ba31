"""Keys and values of what prompts begin with, kept in blocks, so that a start that was read before is not read again.

A block's name is a hash of all that its keys and values depend on: every token up to its end, and what pictures and
sounds stand in the places of placeholders (in all of the prompt where every token looks at them by cross-attention).
"""

from __future__ import annotations

from hashlib import blake2b

from torch import Tensor

from sensorium.data.collate import MediaItem, Sequence
from sensorium.serving.engine.bounded import Bounded
from sensorium.serving.engine.slots import Slots

BLOCK = 16  # tokens


def media_name(item: MediaItem) -> bytes:
    """A hash of a picture or sound as its encoder reads it, and of how much room its features take."""
    digest = blake2b(f"{item.column} {item.positions} ".encode(), digest_size=16)
    if item.value is not None:
        digest.update(f"{item.value.dtype} {tuple(item.value.shape)}".encode())
        digest.update(item.value.contiguous().numpy().data)
    return digest.digest()


class Marks:
    """The names of a growing sequence's whole blocks.

    Args:
        sequence: a prompt of one branch. names: of its media, see ``media_name``.
    """

    def __init__(self, sequence: Sequence, names: list[bytes]) -> None:
        self.names: list[bytes] = []
        self._tokens: list[bytes] = []  # behind the last whole block
        self._last = b"".join(names) if sequence.memory else b""
        held = {} if sequence.memory else _held(sequence, names)
        for place, token in enumerate(sequence.ids):
            self.add(token, held.get(place, b""))

    def add(self, token: int, held: bytes = b"") -> None:
        """One more token; ``held`` names what stands in its place."""
        self._tokens.append(b"%d %b" % (token, held))
        if len(self._tokens) == BLOCK:
            self._last = blake2b(self._last + b"|".join(self._tokens), digest_size=16).digest()
            self.names.append(self._last)
            self._tokens = []


def _held(sequence: Sequence, names: list[bytes]) -> dict[int, bytes]:
    places = {}
    for item, name in zip(sequence.media, names, strict=True):
        places.update({slot: b"%b %d" % (name, k) for k, slot in enumerate(item.slots)})
    return places


class Prefixes:
    """Blocks by name, at most ``limit`` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.kept: Bounded[list[Tensor]] = Bounded(limit)

    def fetch(self, slots: Slots, marks: Marks, most: int) -> int:
        """Copy the longest known start, at most ``most`` tokens, into the prompt's slot; how many tokens it has."""
        found = []
        for name in marks.names[: most // BLOCK]:
            if name not in self.kept:
                break
            found.append(name)
        for place in reversed(range(len(found))):  # starts are used last: what only few share goes first
            block = self.kept.get(found[place])
            assert block is not None
            slots.paste(place * BLOCK, block)
        return len(found) * BLOCK

    def store(self, slots: Slots, slot: int, marks: Marks, length: int) -> None:
        """Keep the whole blocks among a slot's first ``length`` tokens."""
        for place in reversed(range(min(len(marks.names), length // BLOCK))):
            name = marks.names[place]
            if self.kept.get(name) is None:
                block = slots.cut(slot, place * BLOCK, (place + 1) * BLOCK)
                self.kept.put(name, block, sum(part.nbytes for part in block))
