"""The few things that several processes must agree on, through accelerate."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, broadcast_object_list, gather_object

from sensorium.training.protocols import Say


def make_accelerator(cpu: bool | None = None, say: Say = print) -> Accelerator:
    """An Accelerator as the loop wants it.

    Mixed precision is off (weights are bf16 over fp32 masters, see ``optim``). Parameters that a step leaves unused are
    looked for, since one process may have pictures in its rows when another has none: without it they would wait for
    each other for ever.

    Args:
        cpu: stay on the CPU; by default where there is nothing else. Without it accelerate takes processes on a machine
            without a GPU for strangers.
        say: told where ``accelerate launch --num_processes 2`` started one process, as it does on CPU.
    """
    if cpu is None:
        cpu = not torch.accelerator.is_available()
    made = Accelerator(
        cpu=cpu,
        mixed_precision="no",
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=timedelta(hours=12)),  # the others wait while the first one evaluates
        ],
    )
    alone = made.num_processes == 1 and "WORLD_SIZE" not in os.environ
    if alone and "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ:
        say("accelerate launch started one process; on CPU too, several need --multi_gpu (or torchrun)")
    return made


def add_up(accelerator: Accelerator, values: list[float]) -> list[float]:
    """Element-wise sums over all processes, in double precision (single on devices without it)."""
    if accelerator.num_processes == 1:
        return values
    kind = torch.float32 if accelerator.device.type == "mps" else torch.float64
    total = accelerator.reduce(torch.tensor(values, dtype=kind, device=accelerator.device), reduction="sum")
    return [float(value) for value in total]


def any_process(accelerator: Accelerator, wish: bool) -> bool:
    """Whether any process wishes it; all get the same answer."""
    return add_up(accelerator, [float(wish)])[0] > 0


def from_main(accelerator: Accelerator, value: Any) -> Any:
    """The main process's value, in all processes."""
    if accelerator.num_processes == 1:
        return value
    return broadcast_object_list([value], from_process=0)[0]


def collect(accelerator: Accelerator, values: list[Any]) -> list[Any]:
    """All processes' lists joined, in all processes."""
    return values if accelerator.num_processes == 1 else list(gather_object(values))
