"""Which units go into which step, and reading them ahead.

A unit is what the data set hands out for one index: a row, or several rows that share a picture. The plan of an epoch is
a pure function of (seed, epoch): it does not depend on the number of processes, so that a position in training is a step
number and nothing else.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sensorium.errors import DataError, RecipeError, RunError, SensoriumError
from sensorium.training.protocols import Batch

POOL_STEPS = 50  # steps sorted by length together; as transformers' group_by_length


@dataclass(frozen=True)
class EpochPlan:
    """One epoch: micro-batch ``m`` is ``order[bounds[m]:bounds[m + 1]]``; step ``s`` has micro-batches ``s·k … s·k+k-1``."""

    order: np.ndarray  # (units,) int64
    bounds: np.ndarray  # (steps * per_step + 1,) int64
    per_step: int

    def micro_batch(self, step: int, index: int) -> np.ndarray:
        """The units of one micro-batch, shape (sequences,)."""
        m = step * self.per_step + index
        return self.order[self.bounds[m] : self.bounds[m + 1]]

    def share(self, first: int, last: int, rank: int, world: int) -> Iterator[np.ndarray]:
        """The micro-batches of process ``rank`` in steps ``first … last-1``: every ``world``-th of each step."""
        for step in range(first, last):
            for index in range(rank, self.per_step, world):
                yield self.micro_batch(step, index)


class BatchPlan:
    """Deterministic length-bucketed batches; every unit exactly once an epoch, every process equally often.

    Args:
        lengths: positions each unit takes, shape (units,); equal lengths make plain shuffled batches.
        batch_size: units in one optimiser step, over all processes.
        micro_batch_size: units in one forward pass; divides ``batch_size``.

    The last step of an epoch is smaller but has as many micro-batches as the others, so that every process runs equally
    often; where that cannot be, its units join the step before.
    """

    def __init__(
        self, lengths: Sequence[int] | np.ndarray, batch_size: int, micro_batch_size: int, seed: int = 0
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int32)
        if not len(self.lengths):
            raise DataError("no rows to train on", mend="check the splits and the quarantined rows")
        if micro_batch_size < 1 or batch_size % micro_batch_size:
            raise RecipeError(
                f"batch_size {batch_size} is no multiple of micro_batch_size {micro_batch_size}",
                where="training",
                mend="choose a micro_batch_size that divides it",
            )
        self.batch_size, self.micro_batch_size, self.seed = batch_size, micro_batch_size, seed
        units, per_step = len(self.lengths), batch_size // micro_batch_size
        # Fewer units than micro-batches: a divisor of what was asked, which processes share as well, where it leaves the
        # micro-batches at most twice their size; else as many as the size asks for.
        shared = max(k for k in range(1, min(per_step, units) + 1) if per_step % k == 0)
        self.per_step = (
            shared if units >= per_step or units <= 2 * micro_batch_size * shared else -(-units // micro_batch_size)
        )
        full, rest = divmod(units, batch_size)
        if 0 < rest < self.per_step and full:  # too few for every process: the last full step takes them in
            full, rest = full - 1, rest + batch_size
        self._full, self._rest = full, rest
        self.steps = full + bool(rest)

    @property
    def units(self) -> int:
        return len(self.lengths)

    def signature(self) -> dict[str, int]:
        """What a checkpoint must agree with for its step number to mean the same place."""
        return {
            "units": self.units,
            "batch_size": self.batch_size,
            "micro_batch_size": self.micro_batch_size,
            "seed": self.seed,
        }

    def check_world(self, world: int) -> None:
        """RecipeError unless ``world`` processes can share each step's micro-batches equally."""
        if self.per_step % world:
            small = self.units < self.batch_size // self.micro_batch_size
            cause = (
                f"only {self.units} rows" if small else f"batch_size / micro_batch_size = {self.per_step} micro-batches"
            )
            raise RecipeError(
                f"{cause} cannot be shared by {world} processes",
                where="training.micro_batch_size",
                mend="start fewer processes" if small else f"make batch_size / micro_batch_size a multiple of {world}",
            )

    def check_signature(self, theirs: dict[str, int]) -> None:
        """RunError where a checkpoint was written with another plan."""
        mine = self.signature()
        changed = [key for key in mine if theirs.get(key) != mine[key]]
        if changed:
            shown = ", ".join(f"{key} {theirs.get(key)} → {mine[key]}" for key in changed)
            known = "" if "units" in changed else f"set training.{changed[0]}: {theirs.get(changed[0])}, or "
            raise RunError(f"the checkpoint was written with other batches ({shown})", mend=f"{known}add --fresh")

    def epoch(self, epoch: int) -> EpochPlan:
        """The plan of one epoch (from 0), the same in every process and after every resume."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.units)
        in_full = self._full * self.batch_size
        head, tail = order[:in_full], order[in_full:]
        pool = max(1, min(POOL_STEPS, self._full // 4)) * self.batch_size
        head = head[np.lexsort((self.lengths[head], np.arange(in_full) // pool))]  # by length inside each pool
        micro = head.reshape(-1, self.micro_batch_size)
        at = np.arange(len(micro)) * self.micro_batch_size // pool
        head = micro[np.lexsort((rng.random(len(micro)), at))].reshape(-1)  # micro-batches shuffled inside each pool
        tail = tail[np.argsort(self.lengths[tail], kind="stable")]
        bounds = np.arange(0, in_full + 1, self.micro_batch_size)
        if self._rest:
            cuts = in_full + np.arange(1, self.per_step + 1) * self._rest // self.per_step
            bounds = np.concatenate([bounds, cuts])
        return EpochPlan(np.concatenate([head, tail]), bounds, self.per_step)


def micro_batch_size(batch_size: int, asked: int | None, world: int) -> int:
    """Units in one forward pass: what was asked, else the whole batch shared by ``world`` processes."""
    if asked:
        return asked
    if batch_size % world:
        raise RecipeError(
            f"batch_size {batch_size} cannot be shared by {world} processes",
            where="training.batch_size",
            mend=f"make it a multiple of {world}",
        )
    return batch_size // world


class Units(Protocol):
    """The data set: ``units[(epoch, unit)]`` reads, augments by (seed, epoch, unit) and encodes one unit."""

    def __getitem__(self, key: tuple[int, int]) -> Any: ...


class PlannedLoader:
    """Reads a plan's micro-batches, in this process or ahead by ``workers`` processes of one thread each."""

    def __init__(
        self,
        units: Units,
        collate: Callable[[list[Any]], Batch],
        plan: BatchPlan,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.plan = plan
        self._reader = _Reader(units, collate)
        self._workers, self._pin_memory = workers, pin_memory

    def load(self, epoch: int, micro_batches: Iterable[np.ndarray]) -> Generator[Batch, None, None]:
        """Batches in the order given. A SensoriumError met while reading is raised here as it was, from a worker too."""
        loader = DataLoader(
            self._reader,
            batch_sampler=_Keys(epoch, micro_batches),  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            num_workers=self._workers,
            worker_init_fn=_start_worker if self._workers else None,
            pin_memory=self._pin_memory,
            generator=torch.Generator().manual_seed(0),  # else it draws from the generator that the model uses
        )
        for batch in loader:
            if isinstance(batch, SensoriumError):
                raise batch
            yield batch


@dataclass
class _Keys:
    """A batch sampler: lists of (epoch, unit)."""

    epoch: int
    micro_batches: Iterable[np.ndarray]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for units in self.micro_batches:
            yield [(self.epoch, int(unit)) for unit in units]


class _Reader(Dataset):  # type: ignore[type-arg]
    """Reads and collates a whole micro-batch where it runs; hands an error of ours back as a value.

    torch would rebuild a worker's exception around its traceback, and the one clear line would be lost.
    """

    def __init__(self, units: Units, collate: Callable[[list[Any]], Batch]) -> None:
        self._units, self._collate = units, collate

    def __getitems__(self, keys: list[tuple[int, int]]) -> Batch | SensoriumError:
        try:
            return self._collate([self._units[key] for key in keys])
        except SensoriumError as error:
            return error

    def __getitem__(self, key: tuple[int, int]) -> Any:
        return self._units[key]


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(index: int) -> None:
    """One thread, and signals left to the main process: it ends its step and saves while workers go on reading.

    Terminals and schedulers signal every process of a group; workers leave when the main process closes or dies.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
