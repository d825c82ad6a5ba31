"""Plans: each unit once an epoch, in buckets, the same for any number of processes; reading them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sensorium.errors import DataError, MediaError, RecipeError, RunError
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size

plans = st.builds(
    lambda lengths, micro, k, seed: BatchPlan(lengths, micro * k, micro, seed),
    st.lists(st.integers(0, 500), min_size=1, max_size=200),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 10),
)


@given(plan=plans, epoch=st.integers(0, 5))
@example(plan=BatchPlan([1] * 4, 5, 1), epoch=0)  # few rows, and their number shares no divisor with what was asked
@example(plan=BatchPlan([1] * 6, 14, 2), epoch=0)
def test_each_unit_once_an_epoch_and_no_micro_batch_empty(plan: BatchPlan, epoch: int) -> None:
    laid = plan.epoch(epoch)
    parts = [laid.micro_batch(s, m) for s in range(plan.steps) for m in range(plan.per_step)]
    assert sorted(np.concatenate(parts)) == list(range(plan.units))
    assert all(len(part) for part in parts)
    assert all(len(part) <= 2 * plan.micro_batch_size for part in parts)
    assert all(len(part) == plan.micro_batch_size for part in parts[: -plan.per_step])


@given(plan=plans, world=st.integers(1, 6), epoch=st.integers(0, 2), data=st.data())
def test_processes_share_each_step_and_run_equally_often(plan: BatchPlan, world: int, epoch: int, data: Any) -> None:
    assume(plan.per_step % world == 0)
    plan.check_world(world)
    first = data.draw(st.integers(0, plan.steps))
    laid, again = (
        plan.epoch(epoch),
        BatchPlan(plan.lengths, plan.batch_size, plan.micro_batch_size, plan.seed).epoch(epoch),
    )
    alone = [tuple(m) for m in laid.share(first, plan.steps, 0, 1)]
    shares = [[tuple(m) for m in again.share(first, plan.steps, rank, world)] for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert [m for together in zip(*shares, strict=True) for m in together] == alone  # and in the same places


def test_epochs_and_seeds_differ() -> None:
    lengths = np.random.default_rng(0).integers(1, 99, 64)
    orders = {tuple(BatchPlan(lengths, 8, 4, seed).epoch(epoch).order) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_buckets_waste_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 5000)
    laid = BatchPlan(lengths, 32, 8).epoch(0)
    padded = sum(lengths[part].max() * len(part) for part in laid.share(0, 5000 // 32 + 1, 0, 1))
    assert padded < 1.05 * lengths.sum()
    unsorted = sum(lengths[i : i + 8].max() * 8 for i in range(0, 5000, 8))
    assert unsorted > 1.5 * lengths.sum()


def test_a_million_units_are_planned_in_a_moment() -> None:
    plan = BatchPlan(np.random.default_rng(0).integers(1, 500, 1_000_000), 32, 8)
    laid = plan.epoch(0)
    assert laid.order.nbytes + laid.bounds.nbytes < 10_000_000
    assert len(laid.micro_batch(0, 0)) == 8


@pytest.mark.parametrize(
    ("lengths", "batch", "micro", "world", "error", "message"),
    [
        ([], 8, 8, 1, DataError, "no rows to train on; check the splits and the quarantined rows"),
        ([1] * 9, 8, 3, 1, RecipeError, "training: batch_size 8 is no multiple of micro_batch_size 3; choose"),
        ([1] * 9, 8, 8, 2, RecipeError, "= 1 micro-batches cannot be shared by 2 processes; make .* a multiple of 2"),
        ([1], 8, 4, 2, RecipeError, "only 1 rows cannot be shared by 2 processes; start fewer processes"),
    ],
)
def test_bad_plans(
    lengths: list[int], batch: int, micro: int, world: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        BatchPlan(lengths, batch, micro).check_world(world)


def test_micro_batch_size() -> None:
    assert micro_batch_size(16, None, 1) == 16
    assert micro_batch_size(16, None, 2) == 8
    assert micro_batch_size(16, 4, 2) == 4
    with pytest.raises(RecipeError, match="batch_size 9 cannot be shared by 2 processes"):
        micro_batch_size(9, None, 2)


class Numbers:
    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        if key[1] == 6:
            raise MediaError("not a picture", where="t.csv row 6", mend="replace it")
        return key


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_reads_in_order_and_keeps_errors_one_line(workers: int) -> None:
    loader = PlannedLoader(Numbers(), lambda units: {"rows": units}, BatchPlan([1] * 8, 2, 2), workers)
    parts = [np.array([3, 1]), np.array([0, 7]), np.array([6, 2]), np.array([4, 5])]
    batches = loader.load(9, parts)
    assert next(batches) == {"rows": [(9, 3), (9, 1)]}
    assert next(batches) == {"rows": [(9, 0), (9, 7)]}
    with pytest.raises(MediaError) as caught:
        next(batches)
    assert str(caught.value) == "t.csv row 6: not a picture; replace it"
    assert caught.value.mend == "replace it"


def test_signature_of_other_batches_is_refused() -> None:
    plan = BatchPlan([1] * 8, 4, 2)
    plan.check_signature(BatchPlan([1] * 8, 4, 2).signature())
    with pytest.raises(
        RunError, match=r"other batches \(batch_size 8 → 4\); set training.batch_size: 8, or add --fresh"
    ):
        plan.check_signature(BatchPlan([1] * 8, 8, 2).signature())
    with pytest.raises(RunError, match=r"other batches \(units 9 → 8\); add --fresh"):
        plan.check_signature(BatchPlan([1] * 9, 4, 2).signature())


class Slow:
    def __getitem__(self, key: tuple[int, int]) -> int:
        time.sleep(0.02)
        return key[1]


def test_workers_read_on_when_everyone_is_signalled() -> None:
    """A terminal's Ctrl-C and a scheduler's SIGTERM reach workers too; the step at work still gets its batches."""
    loader = PlannedLoader(Slow(), lambda units: {"rows": units}, BatchPlan([1] * 40, 1, 1), workers=1)
    batches = loader.load(0, [np.array([i]) for i in range(40)])
    next(batches)
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
    assert [batch["rows"] for batch in batches] == [[i] for i in range(1, 40)]
