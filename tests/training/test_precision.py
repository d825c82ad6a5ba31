"""Measuring the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sensorium.training import precision
from sensorium.training.memory import Shape
from sensorium.training.precision import choose, raise_malloc_thresholds

SHAPE = Shape(batch=2, length=8, width=16, ffn=32, heads=2, layers=1)
FIGURES = {
    "gflops_fp32": 100.0, "gflops_bf16": 300.0,
    "ms_fp32_sdpa": 1.0, "ms_fp32_eager": 2.0, "ms_bf16_sdpa": 4.0, "ms_bf16_eager": 3.0,
}  # fmt: skip


def test_measures_once_and_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose(SHAPE, tmp_path / "cache")
    assert first.precision in ("fp32", "bf16") and first.attention in ("sdpa", "eager")
    assert all(value > 0 for value in (*first.gflops.values(), *first.milliseconds.values()))
    assert first.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[first.precision]

    def never(*args: Any) -> dict[str, float]:
        raise AssertionError("measured again")

    monkeypatch.setattr(precision, "_measure", never)
    assert choose(SHAPE, tmp_path / "cache") == first
    with pytest.raises(AssertionError):
        choose(Shape(2, 16, 16, 32, 2, 1), tmp_path / "cache")


@pytest.mark.parametrize(
    ("changes", "asked", "expected"),
    [
        ({}, ("auto", "auto"), ("bf16", "eager")),
        ({"gflops_bf16": 101.0}, ("auto", "auto"), ("fp32", "sdpa")),
        ({}, ("fp32", "auto"), ("fp32", "sdpa")),
        ({}, ("auto", "sdpa"), ("bf16", "sdpa")),
    ],
)
def test_choice(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, float],
    asked: tuple[str, str],
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(precision, "_measure", lambda *args: FIGURES | changes)
    choice = choose(SHAPE, tmp_path, *asked)
    assert (choice.precision, choice.attention) == expected


@pytest.mark.parametrize("content", ["{", "[]", '{"gflops_fp32": 1}', '{"a": "b"}'])
def test_damaged_figures_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(precision, "_measure", lambda *args: FIGURES)
    choose(SHAPE, tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text(content)
    assert choose(SHAPE, tmp_path).precision == "bf16"
    assert json.loads(path.read_text()) == FIGURES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_two_kernels_compute_the_same(dtype: torch.dtype) -> None:
    query, key, value = (torch.randn(2, 3, 5, 4, dtype=dtype) for _ in range(3))
    mask = torch.full((5, 5), torch.finfo(dtype).min, dtype=dtype).triu(1)[None, None]
    torch.testing.assert_close(
        precision._sdpa(query, key, value, mask), precision._eager(query, key, value, mask), rtol=1e-4, atol=1e-5
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_malloc_thresholds() -> None:
    import platform

    assert raise_malloc_thresholds() == (platform.libc_ver()[0] == "glibc")
    assert torch.ones(1000, 1000).sum() == 1e6  # still works
