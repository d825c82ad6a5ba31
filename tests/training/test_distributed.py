"""Agreement among one process, and what accelerate's launcher does not say. Several: test_processes."""

from __future__ import annotations

import pytest

from sensorium.training.distributed import add_up, any_process, collect, from_main, make_accelerator


def test_one_process_agrees_with_itself() -> None:
    accelerator = make_accelerator(cpu=True)
    assert accelerator.num_processes == 1
    assert add_up(accelerator, [1.0, 2.5]) == [1.0, 2.5]
    assert any_process(accelerator, True) and not any_process(accelerator, False)
    assert from_main(accelerator, {"a": 1}) == {"a": 1}
    assert collect(accelerator, [3, 4]) == [3, 4]


def test_launcher_that_started_one_process_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    make_accelerator(cpu=True, say=said.append)
    assert not said
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # what `accelerate launch --num_processes 2` sets on CPU
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    make_accelerator(cpu=True, say=said.append)
    assert said == ["accelerate launch started one process; on CPU too, several need --multi_gpu (or torchrun)"]
