"""What codes lose of a picture, given back to its edit."""

from __future__ import annotations

from torch import Tensor


def carried(drawn: Tensor, source: Tensor, rebuilt: Tensor) -> Tensor:
    """An edit with the details of what it was made from, (…, 3, size, size) in [-1, 1] as all arguments are.

    The source, less what its own codes rebuild, is what the tokenizer cannot say. It is added in full where the edit
    changed nothing, so that there the source itself is left, and the less the more a place was changed; nothing where
    black became white.

    Args:
        drawn: the edit, decoded. source: the picture that was edited. rebuilt: the same, through its codes and back.
    """
    changed = (drawn - rebuilt).abs().mean(-3, keepdim=True) / 2
    return drawn + (1 - changed).clamp(min=0) * (source - rebuilt)
