"""Padding and gathering: everything is found again, nothing moves to another row, and padding is marked."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.collate import Batch, MediaItem, Sequence, collate, stacked

RANKS = {"picture": 3, "sound": 2, "words": 1}


def made(rng: np.random.Generator, row: int, cached: bool) -> Sequence:
    length = int(rng.integers(0, 7))
    parents = [-1, *(int(rng.integers(-1, i)) for i in range(1, 1 + int(rng.integers(0, 3))))]
    sequence = Sequence(
        rng.integers(1, 99, length).tolist(),
        rng.integers(0, 99, length).tolist(),
        rng.integers(0, len(parents), length).tolist(),
        parents,
        [],
        [row],
    )
    sequence.answers_count = int(rng.integers(1, 3))
    for _ in range(int(rng.integers(0, 3)) if length else 0):
        sequence.sources.append(int(rng.integers(length)))
        sequence.answers.append(int(rng.integers(99)))
        sequence.owners.append(int(rng.integers(sequence.answers_count)))
    sequence.memory = rng.integers(0, len(parents), int(rng.integers(0, 4))).tolist()
    sequence.targets = [float(row)] * int(rng.integers(0, 2))
    for column, rank in RANKS.items():
        for _ in range(int(rng.integers(0, 3))):
            missing = rng.random() < 0.3
            count = 1 if missing else int(rng.integers(1, 4))
            shape = (count, 5) if cached else (3,) * (rank - 1) + (int(rng.integers(1, 6)),)
            value = None if missing else torch.from_numpy(rng.normal(size=shape).astype(np.float32))
            sequence.media.append(MediaItem(column, value, count, rng.integers(0, 50, count).tolist(), 0, cached))
    return sequence


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.booleans(), st.integers(0, 5))
def test_every_entry_is_found_again_and_the_rest_is_padding(seed: int, cached: bool, pad: int) -> None:
    rng = np.random.default_rng(seed)
    sequences = [made(rng, row, cached) for row in range(int(rng.integers(1, 5)))]
    batch = collate(sequences, pad_id=pad)
    tokens, first = max(1, *(len(s.ids) for s in sequences)), 0
    assert batch.input_ids.shape == batch.position_ids.shape == batch.branches.shape == (len(sequences), tokens)
    places, answers, owners = batch.sources.tolist(), batch.answers.tolist(), batch.owners.tolist()
    for i, sequence in enumerate(sequences):
        length = len(sequence.ids)
        assert batch.input_ids[i].tolist() == sequence.ids + [pad] * (tokens - length)
        assert batch.position_ids[i].tolist() == sequence.positions + [0] * (tokens - length)
        assert batch.branches[i].tolist() == sequence.branches + [-1] * (tokens - length)
        assert [m for m in batch.memory[i].tolist() if m >= 0] == sequence.memory
        for source, answer, owner in zip(sequence.sources, sequence.answers, sequence.owners, strict=True):
            assert divmod(places.pop(0), tokens) == (i, source)
            assert (answers.pop(0), owners.pop(0)) == (answer, first + owner)
        first += sequence.answers_count
    assert not places and batch.answers_count == first
    assert batch.rows == [row for s in sequences for row in s.rows]
    assert batch.targets.tolist() == [t for s in sequences for t in s.targets]
    assert batch.supervised == sum(s.supervised for s in sequences)
    check_media(sequences, batch, cached)


def check_media(sequences: list[Sequence], batch: Batch, cached: bool) -> None:
    items = {
        column: [(i, m) for i, s in enumerate(sequences) for m in s.media if m.column == column] for column in RANKS
    }
    assert list(batch.media) == sorted(column for column, found in items.items() if found)
    for column, media in batch.media.items():
        mine, seen = items[column], 0
        assert media.row.tolist() == [row for row, _ in mine] and media.cached == cached
        assert media.counts.tolist() == [item.positions for _, item in mine] == media.mask.sum(1).tolist()
        for k, (_, item) in enumerate(mine):
            assert media.present[k].item() == (item.value is not None)
            assert media.slots[k].tolist()[: item.positions] == item.slots
            assert (media.slots[k][item.positions :] == -1).all() and media.mask[k, : item.positions].all()
            if item.value is None:
                continue
            assert media.values is not None and media.lengths[seen] == item.value.shape[-1]
            value = media.values[k if cached else seen]
            inside = tuple(slice(size) for size in item.value.shape)
            assert torch.equal(value[inside], item.value)
            rest = value.clone()
            rest[inside] = 0
            assert not rest.any()
            seen += 1
        assert (media.values is None) == (seen == 0)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=4))
def test_stacked_pads_every_extent_with_zeros(shapes: list[tuple[int, int]]) -> None:
    found = stacked([torch.ones(shape) for shape in shapes])
    assert found.shape == (len(shapes), max(a for a, _ in shapes), max(b for _, b in shapes))
    assert [int(one.sum()) for one in found] == [a * b for a, b in shapes]


def test_cached_features_of_missing_rows_are_as_wide_as_their_neighbours() -> None:
    item = MediaItem("picture", torch.ones(2, 5), 2, [], 0, True)
    gone = MediaItem("picture", None, 1, [], 0, True)
    media = collate([Sequence([], [], [], [], [item], [0]), Sequence([], [], [], [], [gone], [1])]).media["picture"]
    assert media.values is not None and media.values.shape == (2, 2, 5) and not media.values[1].any()
    assert collate([Sequence([], [], [], [], [gone], [1])]).media["picture"].values is None


def test_a_trunk_is_padded_like_its_tokens_and_is_taken_only_where_all_have_one() -> None:
    one, other = (Sequence([1] * n, [0] * n, [0] * n, [-1], [], [0]) for n in (3, 5))
    one.trunk, other.trunk = torch.ones(3, 4), torch.ones(5, 4)
    trunk = collate([one, other]).trunk
    assert trunk is not None and trunk.shape == (2, 5, 4) and not trunk[0, 3:].any()
    other.trunk = None
    assert collate([one, other]).trunk is None


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_every_tensor_moves(device: str) -> None:
    rng = np.random.default_rng(5)
    batch = collate([made(rng, row, False) for row in range(4)]).to(device)
    tensors = [getattr(batch, f.name) for f in fields(batch)]
    tensors += [getattr(media, f.name) for media in batch.media.values() for f in fields(media)]
    assert {t.device.type for t in tensors if isinstance(t, torch.Tensor)} == {device}
