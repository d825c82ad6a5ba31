"""Blocks are named by all that their keys and values depend on."""

from __future__ import annotations

import torch

from sensorium.data.collate import MediaItem, Sequence
from sensorium.serving.engine.prefixes import BLOCK, Marks, Prefixes, media_name
from sensorium.serving.engine.slots import Slots


def sequence(
    ids: list[int], picture: torch.Tensor | None = None, slots: tuple[int, ...] = (), looks: bool = False
) -> Sequence:
    item = MediaItem("image_url", picture, len(slots) or 1, list(slots))
    count = len(ids)
    memory = [0] if looks else []
    return Sequence(
        ids, list(range(count)), [0] * count, [-1], [item] if picture is not None else [], [0], memory=memory
    )


def names(made: Sequence) -> list[bytes]:
    return Marks(made, [media_name(item) for item in made.media]).names


def test_starts_are_alike_up_to_the_first_difference() -> None:
    one = names(sequence(list(range(3 * BLOCK + 5))))
    other = names(sequence([*range(2 * BLOCK + 3), 999, *range(2 * BLOCK)]))
    assert len(one) == 3 and len(other) == 4
    assert one[:2] == other[:2] and one[2] != other[2]
    shifted = names(sequence([7, *range(3 * BLOCK)]))
    assert not set(shifted) & set(one)


def test_another_picture_changes_the_names_from_its_place_on_or_everywhere_where_all_look_at_it() -> None:
    ids = [5] * (3 * BLOCK)
    red, blue, slots = torch.zeros(3, 4, 4), torch.ones(3, 4, 4), (BLOCK + 2, BLOCK + 3)
    with_red, with_blue = names(sequence(ids, red, slots)), names(sequence(ids, blue, slots))
    assert with_red[0] == with_blue[0] and with_red[1] != with_blue[1] and with_red[2] != with_blue[2]
    assert names(sequence(ids, red, slots)) == with_red
    assert names(sequence(ids, red, (BLOCK + 2,))) != with_red  # less room for its features
    looking = [names(sequence(ids, picture, (0,), looks=True)) for picture in (red, blue)]
    assert not set(looking[0]) & set(looking[1])


def test_marks_grow_as_an_answer_does() -> None:
    whole = Marks(sequence(list(range(40))), [])
    grown = Marks(sequence(list(range(20))), [])
    for token in range(20, 40):
        grown.add(token)
    assert grown.names == whole.names


def test_what_was_stored_comes_back_whole_blocks_at_a_time() -> None:
    slots, prefixes = Slots(2, count=1, capacity=64), Prefixes(1 << 20)
    keys = torch.randn(1, 2, 40, 4)
    for layer in range(2):
        slots.reading(0).update(keys + layer, -keys - layer, layer)
    slots.enter(0, 40)
    marks = Marks(sequence(list(range(40))), [])
    prefixes.store(slots, 0, marks, 40)
    fresh = Slots(2, count=1, capacity=64)
    assert prefixes.fetch(fresh, marks, 39) == 2 * BLOCK
    assert prefixes.fetch(fresh, marks, 2 * BLOCK - 1) == BLOCK  # a token must be left to read
    last = torch.randn(1, 2, 1, 4)
    for layer in range(2):
        known, values = fresh.reading(2 * BLOCK).update(last, last, layer)
        assert torch.equal(known[0, :, : 2 * BLOCK], keys[0, :, : 2 * BLOCK] + layer)
        assert torch.equal(values[0, :, : 2 * BLOCK], -keys[0, :, : 2 * BLOCK] - layer)
        assert torch.equal(known[0, :, -1:], last[0])
    assert prefixes.fetch(Slots(2, 1, 64), Marks(sequence([9] * 40), []), 39) == 0
