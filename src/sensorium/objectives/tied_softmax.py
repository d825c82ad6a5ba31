"""Smoothed cross-entropy over a vocabulary whose table is the embedding, a stretch of positions at a time.

Logits of all positions at once are the largest tensor of a small translator's step, read and written half a dozen times.
Here a stretch's logits stay in the processor's cache, and the gradient is taken while they are there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

STRETCH = 256  # positions


def tied_softmax(states: Tensor, table: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Σ over positions of (1 − ε)·(−log P(target)) + ε · mean over the vocabulary of −log P, as torch's cross-entropy.

    Args:
        states: (n, width); table: (vocabulary, width); targets: (n,) rows of the table.
    """
    return _TiedSoftmax.apply(states, table, targets, label_smoothing)  # type: ignore[no-any-return]


class _TiedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        taught = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        of_states, of_table = torch.empty_like(states), torch.zeros_like(table)
        for start in range(0, len(states), STRETCH):
            rows = slice(start, start + STRETCH)
            read, wanted = states[rows], targets[rows, None]
            logits = (read @ table.T).to(torch.promote_types(states.dtype, torch.float32))
            total -= (1 - smoothing) * logits.gather(1, wanted).sum()
            if smoothing:
                total -= smoothing * logits.mean(-1).sum()
            top = logits.amax(-1, keepdim=True)
            share = logits.sub_(top).exp_()  # the one exponential of each logit
            norm = share.sum(-1, keepdim=True)
            total += (norm.log() + top).sum()
            if taught:
                share /= norm
                if smoothing:
                    share -= smoothing / len(table)
                share.scatter_add_(1, wanted, torch.full_like(norm, smoothing - 1))
                share = share.to(states.dtype)
                torch.mm(share, table, out=of_states[rows])
                of_table.addmm_(share.T, read)
        ctx.save_for_backward(of_states, of_table)
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        of_states, of_table = ctx.saved_tensors
        (scale,) = above
        return of_states * scale, of_table * scale, None, None
