"""What training will need, said before the first step."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sensorium.errors import RecipeError

GIB = 1024**3


@dataclass(frozen=True)
class Shape:
    """The size of one forward pass through the GPT: ``batch`` sequences of ``length`` positions.

    ``layers`` counts those that the backward pass reaches; those below keep nothing.
    """

    batch: int
    length: int
    width: int
    ffn: int
    heads: int
    layers: int

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    @classmethod
    def of(cls, config: Any, batch: int, length: int, layers: int | None = None) -> Shape:
        """From a transformers configuration (of the text part, where it has several)."""
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        width = int(config.hidden_size)
        ffn = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
        depth = layers if layers is not None else int(config.num_hidden_layers)
        return cls(batch, length, width, int(ffn), int(config.num_attention_heads), depth)


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes, by what they hold."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def further(self) -> int:
        """What is not there yet once the model is built."""
        return self.total - self.weights

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimiser": self.optimizer,
            "activations": self.activations,
        }
        inner = ", ".join(f"{name} {value / GIB:.2f}" for name, value in parts.items())
        return f"{self.total / GIB:.2f} GiB ({inner})"


def estimate(model: nn.Module, shape: Shape, attention: str = "sdpa") -> MemoryNeed:
    """What training ``model`` needs; activations are a rough figure for a Llama-like layer without recomputation.

    A layer keeps about ten values of the model's width and four of the feed-forward's for each position, and with
    ``eager`` attention three maps of (heads, length, length) for each sequence.
    """
    weights = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    trained = [p for p in model.parameters() if p.requires_grad]
    gradients = sum(p.numel() * (p.element_size() + (4 if p.dtype != torch.float32 else 0)) for p in trained)
    optimizer = sum(p.numel() * (8 if p.dtype == torch.float32 else 12) for p in trained)
    size = next((p.element_size() for p in model.parameters() if p.is_floating_point()), 4)
    values = shape.tokens * (10 * shape.width + 4 * shape.ffn)
    if attention == "eager":
        values += 3 * shape.batch * shape.heads * shape.length**2
    return MemoryNeed(weights, gradients, optimizer, values * shape.layers * size)


def available(device: torch.device | str = "cpu") -> int:
    """Bytes that can still be had: of the GPU, else of the machine or the container's limit, whichever is less."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, max(0, limit - used + _reclaimable()))


def check(need: MemoryNeed, free: int) -> None:
    """RecipeError where what training needs beyond the built model exceeds ``free`` bytes."""
    if need.further > free:
        raise RecipeError(
            f"training needs {need.further / GIB:.1f} GiB beside the model, {free / GIB:.1f} GiB are free",
            where="training",
            mend="lower training.micro_batch_size, or tune fewer weights (model.adapt: lora)",
        )


def give_back() -> None:
    """Hand freed heap back to the system (glibc; elsewhere nothing): preparing a large table leaves much of it."""
    gc.collect()
    if sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory(device: torch.device | str = "cpu") -> int:
    """Most bytes this process ever held: allocated on a GPU, resident otherwise (0 where it is unknown)."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _reclaimable() -> int:
    """Page cache counts as used in a container, but gives way."""
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split() for line in lines)
    return int(fields.get("inactive_file", 0))
