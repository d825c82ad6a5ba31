"""What an objective gives: a sum and how many things it sums over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100  # a target that is not supervised; torch's own default of ignore_index


@dataclass
class Loss:
    """A sum over ``count`` supervised items, so that processes and micro-batches can divide by the right total."""

    total: Tensor
    count: int


def in_full(values: Tensor) -> Tensor:
    """``values`` in at least fp32: sums of logarithms need it where a model computes in bf16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
