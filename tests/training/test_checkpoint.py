"""Checkpoints as files: what is kept, what is passed over, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sensorium import run
from sensorium.errors import RunError
from sensorium.training import checkpoint
from sensorium.training.checkpoint import Checkpoints, changing_tensors, load_changing
from sensorium.training.optim import Group, MasterAdamW


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tuned = nn.Linear(3, 2, dtype=torch.bfloat16)
        self.frozen = nn.Linear(3, 2).requires_grad_(False)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("derived", torch.arange(4), persistent=False)


def parts() -> tuple[Part, MasterAdamW]:
    model = Part()
    return model, MasterAdamW([Group("x", {n: p for n, p in model.named_parameters() if p.requires_grad}, 0.1, 0.0)])


def trained() -> tuple[Part, MasterAdamW]:
    model, optimizer = parts()
    for p in model.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    optimizer.step()
    model.norm.running_mean += 3
    return model, optimizer


def test_round_trip_holds_what_changes_and_nothing_else(tmp_path: Path) -> None:
    model, optimizer = trained()
    store = Checkpoints(tmp_path)
    folder = store.save(7, model, optimizer, {"step": 7, "loss": [0.1]})
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json",
    ]  # fmt: skip
    names = changing_tensors(model).keys()
    assert "frozen.weight" not in names and "derived" not in names
    assert {"tuned.weight", "norm.running_mean", "norm.num_batches_tracked"} <= names
    other, fresh = parts()
    assert store.newest_valid() == "step-00000007"
    assert store.load("step-00000007", other, fresh) == {"step": 7, "loss": [0.1]}
    assert all(torch.equal(tensor, changing_tensors(other)[name]) for name, tensor in changing_tensors(model).items())
    assert all(torch.equal(tensor, fresh.state()[name]) for name, tensor in optimizer.state().items())


def test_keeps_two_and_the_best_that_they_name(tmp_path: Path) -> None:
    model, optimizer = trained()
    store = Checkpoints(tmp_path)
    best: int | None = None
    for step in range(1, 7):
        if step in (1, 3):
            store.save_best(step, model, {"metrics": {"loss": 1.0}})
            best = step
        store.save(step, model, optimizer, {"best_step": best})
        if step == 3:
            assert {p.name for p in tmp_path.glob("best-*")} == {"best-00000001", "best-00000003"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-00000003", "step-00000005", "step-00000006"]
    assert store.has_best(3)
    store.load_best(3, Part())


def _truncate(folder: Path) -> None:
    data = (folder / "optimizer.safetensors").read_bytes()
    (folder / "optimizer.safetensors").write_bytes(data[:-1])


def _flip(folder: Path) -> None:
    data = bytearray((folder / "state.json").read_bytes())
    data[1] ^= 1
    (folder / "state.json").write_bytes(data)


def _wrong_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[1]")


def _empty_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"files": {}}')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_truncate, r"optimizer.safetensors is \d+ bytes, not \d+"),
        (_flip, "state.json has another hash"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff{"), "manifest.json cannot be read"),
        (_wrong_manifest, "manifest.json cannot be read"),
        (_empty_manifest, "manifest.json is incomplete"),
    ],
)
def test_damage_is_passed_over_and_said(tmp_path: Path, damage: Callable[[Path], Any], said: str) -> None:
    lines: list[str] = []
    store = Checkpoints(tmp_path, say=lines.append)
    model, optimizer = trained()
    store.save(1, model, optimizer, {})
    damage(store.save(2, model, optimizer, {}))
    assert store.newest_valid() == "step-00000001"
    (line,) = lines
    import re

    assert re.fullmatch(rf"checkpoint step-00000002 is damaged \({said}\); trying the one before", line)
    damage(tmp_path / "step-00000001")
    assert store.newest_valid() is None


def test_empty_folder_has_none(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "none")
    store.clean()
    assert store.newest_valid() is None


def test_crash_between_any_two_writes_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path)
    model, optimizer = trained()
    store.save(1, model, optimizer, {"step": 1})
    for module, name in (
        (checkpoint, "save_file"), (checkpoint, "sha256_file"), (checkpoint, "write_atomic"),
        (checkpoint, "replace_folder"), (run.os, "replace"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.shutil, "rmtree", lambda *args, **kwargs: None)  # a killed process tidies nothing

            def die(*args: Any, **kwargs: Any) -> None:
                raise KeyboardInterrupt

            patch.setattr(module, name, die)
            with pytest.raises(KeyboardInterrupt):
                store.save(2, model, optimizer, {"step": 2})
        assert store.newest_valid() == "step-00000001", name
    store.clean()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_clean_puts_back_what_was_being_replaced(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    model, _ = trained()
    store.save_best(4, model, {})
    (tmp_path / "best-00000004").rename(tmp_path / ".best-00000004.123.old")
    store.clean()
    assert store.has_best(4) and len(list(tmp_path.iterdir())) == 1


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path)
    model, optimizer = trained()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\); free some disk"):
        store.save(1, model, optimizer, {})
    assert list(tmp_path.iterdir()) == []


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    model, optimizer = trained()
    Checkpoints(tmp_path).save(1, model, optimizer, {})
    other = Part()
    other.tuned = nn.Linear(3, 3)
    with pytest.raises(RunError, match=r"another model's \(tuned.bias, tuned.weight\); add --fresh"):
        Checkpoints(tmp_path).load("step-00000001", other, optimizer)
    with pytest.raises(RunError, match="another model's"):
        load_changing(model, {})


def test_manifest_names_every_file(tmp_path: Path) -> None:
    model, optimizer = trained()
    folder = Checkpoints(tmp_path).save(1, model, optimizer, {})
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files["model.safetensors"]["sha256"] == run.sha256_file(folder / "model.safetensors")
    assert sorted(files) == ["model.safetensors", "optimizer.safetensors", "state.json"]
