"""Rows as batches: grouped, bounded and in order; the trunk is kept by what it depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.collate import Batch, MediaItem, Sequence
from sensorium.data.rows import Example
from sensorium.jobs import feed as room
from sensorium.jobs.feed import MOST_SHARING, Feed, Trunk, Units, bare, estimated_lengths, hidden_dtype, trunk_key
from tests.tiny_models import mixed_rows, processor_of


def feed_of(count: int = 9, batch_size: int = 4, **more: Any) -> Feed:
    rows: Any = [Example(i, {"words": "word " * (1 + i % 4)}, "yes") for i in range(count)]
    return Feed(rows, processor_of({"words": "text"}), batch_size, **more)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 4), max_size=40))
def test_groups_hold_every_row_once_and_only_alike_ones_up_to_eight(keys: list[int]) -> None:
    feed = Feed([], None, 4, lambda row: str(keys[row]))  # type: ignore[arg-type]
    groups = feed.groups(list(range(len(keys))))
    assert sorted(row for group in groups for row in group) == list(range(len(keys)))
    assert all(len({keys[row] for row in group}) == 1 and len(group) <= MOST_SHARING for group in groups)
    assert all(group == sorted(group) for group in groups)
    full = {key: -(-keys.count(key) // MOST_SHARING) for key in set(keys)}
    assert len(groups) == sum(full.values())


def test_without_sharing_every_row_stands_alone() -> None:
    assert feed_of().groups([3, 1, 2]) == [[3], [1], [2]]


def test_batches_keep_order_and_the_bound_in_sequences() -> None:
    batches = list(feed_of().batches([[row] for row in (8, 0, 3, 1, 5, 2)]))
    assert [batch.rows for batch in batches] == [[8, 0, 3, 1], [5, 2]]
    assert list(feed_of().batches([])) == []


def test_batches_keep_the_bound_in_padded_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = feed_of(batch_size=100)
    lengths = [len(feed.sequence([row]).ids) for row in range(9)]
    monkeypatch.setattr(room, "TOKENS_A_BATCH", 2 * max(lengths))
    batches = list(feed.batches([[row] for row in range(9)]))
    assert [row for batch in batches for row in batch.rows] == list(range(9)) and len(batches) > 1
    assert all(batch.input_ids.numel() <= 2 * max(lengths) for batch in batches)
    monkeypatch.setattr(room, "TOKENS_A_BATCH", 1)  # a sequence longer than the bound still comes, alone
    assert [batch.rows for batch in feed.batches([[0], [1]])] == [[0], [1]]


def test_options_reach_the_processor() -> None:
    batch = next(iter(feed_of().batches([[0]], choices=["yes", "no"])))
    assert batch.answers_count == 2
    assert next(iter(feed_of().batches([[0]], answering=True))).supervised == 0


def test_units_augment_only_where_asked() -> None:
    rows: Any = mixed_rows(2)
    feed = Feed(rows, processor_of({"picture": "image"}), 4)
    plain, augmented = Units(feed, [[0], [1]], 0, False), Units(feed, [[0], [1]], 0, True)
    pictures = {key: augmented[key].media[0].value for key in ((0, 1), (1, 1))}
    assert torch.equal(plain[(0, 1)].media[0].value, plain[(1, 1)].media[0].value)  # type: ignore[arg-type]
    assert not torch.equal(pictures[(0, 1)], pictures[(1, 1)])  # type: ignore[arg-type]
    assert torch.equal(augmented[(1, 1)].media[0].value, pictures[(1, 1)])  # type: ignore[arg-type]
    assert plain[(0, 1)].rows == [1]


# -- the trunk -------------------------------------------------------------------------------------


def sequence(ids: list[int], slots: list[int], value: float = 0.0) -> Sequence:
    length = len(ids)
    item = MediaItem("picture", torch.full((len(slots), 2), value), len(slots), slots, 0, True)
    return Sequence(ids, list(range(length)), [0] * length, [-1], [item], [0])


class Counting:
    """Stands for a GPT: hidden states are the ids; counts the sequences that it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, batch: Batch) -> torch.Tensor:
        self.runs += len(batch.input_ids)
        assert all(media.values is None for media in batch.media.values())  # media do not enter below
        return batch.input_ids[..., None].float()


def test_alike_sequences_run_once_whatever_their_pictures() -> None:
    compute = Counting()
    trunk = Trunk(compute)
    some = [sequence([1, 2, 3], [1], 0.0), sequence([1, 2, 3], [1], 5.0), sequence([1, 4], [1])]
    trunk.fill(some)
    trunk.fill([sequence([1, 4], [1])])
    assert compute.runs == 2
    assert [s.trunk[:, 0].tolist() for s in some] == [[1, 2, 3], [1, 2, 3], [1, 4]]  # type: ignore[index]


def test_stored_states_are_taken_before_any_run() -> None:
    compute, one = Counting(), sequence([1, 2], [])
    Trunk(compute, {trunk_key(one): torch.zeros(2, 1)}).fill([one])
    assert compute.runs == 0 and one.trunk is not None and not one.trunk.any()


def test_memory_is_bounded_and_a_batch_is_whole_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TRUNK_BYTES", 20)
    trunk = Trunk(Counting())
    for start in range(0, 30, 3):
        some = [sequence([start + i, 7], []) for i in range(3)]
        trunk.fill(some)
        assert all(s.trunk is not None and s.trunk[0, 0] == s.ids[0] for s in some)
    assert sum(t.nbytes for t in trunk._kept.values()) == trunk._bytes <= 20


def test_a_key_is_of_all_that_the_trunk_sees_and_nothing_more() -> None:
    one = sequence([1, 2, 3], [1])
    same = sequence([1, 2, 3], [1], 9.0)
    assert trunk_key(one) == trunk_key(same) == trunk_key(bare(one))
    for change in ({"ids": [1, 2, 4]}, {"positions": [0, 1, 1]}, {"branches": [0, 0, 1], "parents": [-1, 0]}):
        other = sequence([1, 2, 3], [1])
        for name, value in change.items():
            setattr(other, name, value)
        assert trunk_key(other) != trunk_key(one)
    assert trunk_key(sequence([1, 2, 3], [2])) != trunk_key(one)
    assert all(item.value is None for item in bare(one).media) and one.media[0].value is not None


# -- sizes -----------------------------------------------------------------------------------------


def test_estimated_lengths_grow_with_the_text_and_the_media() -> None:
    characters = np.array([0, 40, 400])
    short, long = (estimated_lengths([[0], [1], [0, 1, 2]], characters, media) for media in (0, 5))
    assert (np.diff(short) > 0).all() and (long - short == 5).all() and short.dtype == np.int64
    real = [len(feed_of(1).sequence([0]).ids)]
    assert abs(int(estimated_lengths([[0]], np.array([8]), 0)[0]) - real[0]) <= 16


def test_a_module_s_own_type() -> None:
    assert hidden_dtype(torch.nn.Linear(1, 1).to(torch.bfloat16)) == torch.bfloat16
