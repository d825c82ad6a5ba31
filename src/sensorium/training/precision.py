"""Precision and attention kernel, chosen by measuring the machine once with the model's own shapes.

On one CPU bf16 is ten times as fast as fp32, on another slower; ``sdpa``'s backward pass loses to plain matrix products
at short lengths on CPU. Neither can be told from a name.
"""

from __future__ import annotations

import ctypes
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor
from torch.nn import functional

from sensorium.run import sha256_text, write_atomic
from sensorium.training.memory import Shape

BF16_GAIN = 1.15  # bf16 must be so many times as fast: fp32 is the safer choice
REPEATS = 5


@dataclass(frozen=True)
class Choice:
    """What was measured and what follows from it.

    ``gflops`` are of the feed-forward's matrix product, ``milliseconds`` of one attention layer, forward and backward.
    """

    precision: str
    attention: str
    gflops: dict[str, float]
    milliseconds: dict[str, float]

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose(
    shape: Shape, cache: Path, precision: str = "auto", attention: str = "auto", device: torch.device | str = "cpu"
) -> Choice:
    """The faster precision and attention kernel; what is not "auto" is kept as asked.

    Args:
        shape: of a typical micro-batch.
        cache: folder for what was measured; the key is machine, torch version, threads and shape. A second process waits
            for the first one's figures instead of measuring beside it.
    """
    device = torch.device(device)
    key = sha256_text(json.dumps([machine_name(device), torch.__version__, torch.get_num_threads(), asdict(shape)]))[
        :32
    ]
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"speed-{key}.json"
    with FileLock(str(path) + ".lock"):
        figures = _read(path)
        if figures is None:
            figures = _measure(shape, device)
            write_atomic(path, json.dumps(figures))
    gflops = {kind: figures[f"gflops_{kind}"] for kind in ("fp32", "bf16")}
    if precision == "auto":
        precision = "bf16" if gflops["bf16"] >= BF16_GAIN * gflops["fp32"] else "fp32"
    milliseconds = {kernel: figures[f"ms_{precision}_{kernel}"] for kernel in ("sdpa", "eager")}
    if attention == "auto":
        attention = min(milliseconds, key=lambda kernel: milliseconds[kernel])
    return Choice(precision, attention, gflops, milliseconds)


def machine_name(device: torch.device) -> str:
    """The processor's or GPU's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        # flags too: virtual machines hide the model, but not whether it multiplies bf16
        names = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        names = [platform.processor()]
    return f"{platform.machine()} {device.type} {' '.join(names)}"


def raise_malloc_thresholds() -> bool:
    """Keep large buffers in the heap between steps instead of mapping them anew each time (glibc; elsewhere nothing).

    Measured 1.4 × on a step with 100 MB of activations. Returns whether it took effect.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    m_trim_threshold, m_mmap_threshold = -1, -3
    trimmed = bool(libc.mallopt(m_trim_threshold, 2**31 - 1))
    mapped = any(
        libc.mallopt(m_mmap_threshold, size) for size in (2**30, 2**25)
    )  # older glibc allows 32 MiB at the most
    return trimmed and mapped


def _read(path: Path) -> dict[str, float] | None:
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {str(k): float(v) for k, v in figures.items()} if isinstance(figures, dict) and len(figures) == 6 else None


def _measure(shape: Shape, device: torch.device) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left = torch.randn(min(shape.tokens, 4096), shape.width, dtype=dtype, device=device)
        right = torch.randn(shape.width, shape.ffn, dtype=dtype, device=device)
        seconds = _median_seconds(lambda a=left, b=right: a @ b, device)  # type: ignore[misc]
        figures[f"gflops_{name}"] = 2e-9 * left.shape[0] * shape.width * shape.ffn / seconds
        for kernel, attend in (("sdpa", _sdpa), ("eager", _eager)):
            figures[f"ms_{name}_{kernel}"] = 1e3 * _median_seconds(
                _attention_step(shape, dtype, device, attend), device
            )
    return figures


def _attention_step(
    shape: Shape, dtype: torch.dtype, device: torch.device, attend: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
) -> Callable[[], None]:
    """One attention layer forward and backward at (batch, heads, length, width / heads), with an additive causal mask."""
    size = (shape.batch, shape.heads, shape.length, max(1, shape.width // shape.heads))
    query, key, value = (torch.randn(size, dtype=dtype, device=device, requires_grad=True) for _ in range(3))
    mask = torch.full((shape.length, shape.length), torch.finfo(dtype).min, dtype=dtype, device=device).triu(1)[
        None, None
    ]

    def step() -> None:
        attend(query, key, value, mask).sum().backward()

    return step


def _sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _eager(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """As transformers' ``eager_attention_forward``: softmax in fp32."""
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5 + mask
    return functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype) @ value


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()
    return max(statistics.median(once() for _ in range(REPEATS)), 1e-9)
