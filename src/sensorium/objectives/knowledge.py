"""Losses of a knowledge graph's triples (head, relation, tail) against corrupted ones."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

MARGIN = 1.0


def transe(heads: Tensor, relations: Tensor, tails: Tensor, wrong: Tensor) -> Tensor:
    """Σ max(0, margin + ‖h + r − t‖ − ‖h + r − t′‖) (Bordes et al. 2013); all (triples, width)."""
    moved = heads + relations
    near, far = (moved - tails).norm(dim=1), (moved - wrong).norm(dim=1)
    return nn.functional.relu(MARGIN + near - far).sum()


def distmult(heads: Tensor, relations: Tensor, tails: Tensor, wrong: Tensor) -> Tensor:
    """Σ −log σ(⟨h, r, t⟩) − log σ(−⟨h, r, t′⟩) (Yang et al. 2015, with the logistic loss); all (triples, width)."""
    right = (heads * relations * tails).sum(1)
    false = (heads * relations * wrong).sum(1)
    return (nn.functional.softplus(-right) + nn.functional.softplus(false)).sum()


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {"transe": transe, "distmult": distmult}
