"""What a drawer hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image
from torch import Tensor


@dataclass(frozen=True)
class Drawn:
    """One picture.

    Attributes:
        image: RGB, square; of a picture with a mask its own size and mode. prompt: the words, or the instruction.
        seed: gives this very picture again, alone, under the same settings.
        score: how well the same model finds that the picture keeps to its words, see ``sampling.scored``; None without
            words, and of a run that has not learnt to caption.
        codes: (grid * grid,) int64, row by row. settings: what else it came from, for the notes of its file.
        partly: only a part of it was drawn, the rest was there before.
    """

    image: Image
    prompt: str
    seed: int
    score: float | None
    codes: Tensor
    settings: Mapping[str, Any] = field(default_factory=dict)
    partly: bool = False
