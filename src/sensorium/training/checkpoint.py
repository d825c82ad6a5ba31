"""Checkpoints that survive ``kill -9``: written beside, hashed, synced, renamed; the newest valid one resumes.

``step-00000042/`` holds ``model.safetensors`` (what trains, and buffers), ``optimizer.safetensors`` (fp32 masters and
moments), ``state.json`` (where training is) and ``manifest.json`` (sizes and SHA-256 of the others).
``best-00000030/`` is a snapshot of the weights alone; it stays while a checkpoint's state names it as ``best_step``.
There is no pickle, and no stream of random numbers to store: data draws from (seed, epoch, unit), the model from
(seed, step, micro-batch), see ``loop``. Nor a scaler: bf16 has fp32's range.

Only one process may write to a folder; several may read.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.errors import RunError
from sensorium.run import replace_folder, sha256_file, write_atomic
from sensorium.training.optim import MasterAdamW
from sensorium.training.protocols import Say

MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"


class Checkpoints:
    """A run's ``checkpoints`` folder.

    Args:
        keep: how many of the newest checkpoints stay.
        say: told, in one line, when a damaged checkpoint is passed over.
    """

    def __init__(self, folder: str | Path, keep: int = 2, say: Say = print) -> None:
        self.folder, self.keep, self._say = Path(folder), keep, say

    def save(self, step: int, model: nn.Module, optimizer: MasterAdamW, state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of ``step``; older ones beyond ``keep`` go after it is in place.

        Raises:
            RunError: it cannot be written (disk full, read-only); the checkpoints before it are whole.
        """
        final = self.folder / f"step-{step:08d}"
        self._write(final, {MODEL: changing_tensors(model), OPTIMIZER: optimizer.state()}, state)
        steps = self._steps()
        for old in steps[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        named = {f"best-{_best_step(folder) or 0:08d}" for folder in steps[-self.keep :]}
        for old in self.folder.glob("best-*"):
            if old.name not in named:
                shutil.rmtree(old, ignore_errors=True)
        return final

    def save_best(self, step: int, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Snapshot the weights of ``step``; ``facts`` says why they are best."""
        self._write(self.folder / f"best-{step:08d}", {MODEL: changing_tensors(model)}, facts)

    def newest_valid(self) -> str | None:
        """The name of the newest whole checkpoint, or None. Damaged ones are passed over, and said so."""
        for folder in reversed(self._steps()):
            fault = _fault(folder)
            if fault is None:
                return folder.name
            self._say(f"checkpoint {folder.name} is damaged ({fault}); trying the one before")
        return None

    def load(self, name: str, model: nn.Module, optimizer: MasterAdamW) -> dict[str, Any]:
        """Put a checkpoint that ``newest_valid`` named into model and optimiser; returns its state.

        Raises:
            RunError: it belongs to a model of other names or shapes.
        """
        folder = self.folder / name
        load_changing(model, load_file(folder / MODEL), where=str(folder))
        optimizer.load_state(load_file(folder / OPTIMIZER))
        return dict(json.loads((folder / STATE).read_text(encoding="utf-8")))

    def has_best(self, step: int) -> bool:
        """Whether the snapshot of ``step`` is there and whole; a damaged one is said so."""
        fault = _fault(self.folder / f"best-{step:08d}")
        if fault is not None:
            self._say(f"the best weights, of step {step}, are damaged ({fault}) and not used")
        return fault is None

    def load_best(self, step: int, model: nn.Module) -> None:
        """Put the best weights into ``model``."""
        folder = self.folder / f"best-{step:08d}"
        load_changing(model, load_file(folder / MODEL), where=str(folder))

    def clear(self) -> None:
        """Remove them all: of a finished run the model is saved, and moments are several times its size."""
        for folder in [*self.folder.glob("step-*"), *self.folder.glob("best-*")]:
            shutil.rmtree(folder, ignore_errors=True)

    def clean(self) -> None:
        """Remove what an interrupted writer left behind; a folder caught between its two renames is put back."""
        for leftover in self.folder.glob(".*.old"):  # replace_folder's name for what it is about to replace
            final = self.folder / leftover.name[1:].split(".")[0]
            if not final.exists():
                leftover.rename(final)
        for leftover in [*self.folder.glob(".*.old"), *self.folder.glob(".*.tmp")]:
            shutil.rmtree(leftover, ignore_errors=True)

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-" + "[0-9]" * 8)) if self.folder.is_dir() else []

    def _write(self, final: Path, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{final.name}.", suffix=".tmp"))
            for name, tensors in files.items():
                save_file({key: value.contiguous() for key, value in tensors.items()}, temporary / name)
            (temporary / STATE).write_text(json.dumps(dict(state)), encoding="utf-8")
            entries = {
                f.name: {"bytes": f.stat().st_size, "sha256": sha256_file(f)} for f in sorted(temporary.iterdir())
            }
            write_atomic(temporary / MANIFEST, json.dumps({"files": entries}, indent=1))
            temporary.chmod(0o755)
            replace_folder(temporary, final)
        except (OSError, SafetensorError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            mend = "free some disk, then run the same command again"
            raise RunError(f"the checkpoint cannot be written ({cause})", where=str(self.folder), mend=mend) from error
        finally:
            if temporary is not None and temporary.exists():
                shutil.rmtree(temporary, ignore_errors=True)


def _best_step(folder: Path) -> int | None:
    try:
        return json.loads((folder / STATE).read_text(encoding="utf-8")).get("best_step")
    except (OSError, ValueError, AttributeError):
        return None


def changing_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters and the buffers that a saved model holds (running statistics), by name."""
    tensors = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    buffers = dict(model.named_buffers())
    kept = model.state_dict(keep_vars=True).keys() & buffers.keys()
    return tensors | {name: buffers[name] for name in sorted(kept)}


@torch.no_grad()
def load_changing(model: nn.Module, tensors: Mapping[str, Tensor], where: str = "") -> None:
    """Copy ``changing_tensors`` of the same model back, bit for bit. RunError where names, shapes or types differ."""
    mine = changing_tensors(model)
    strange = sorted(mine.keys() ^ tensors.keys())
    strange += [
        n
        for n in sorted(mine.keys() & tensors.keys())
        if mine[n].shape != tensors[n].shape or mine[n].dtype != tensors[n].dtype
    ]
    if strange:
        raise RunError(f"the checkpoint is another model's ({', '.join(strange[:3])})", where=where, mend="add --fresh")
    for name, tensor in mine.items():
        tensor.copy_(tensors[name])


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, entry in files.items():
            path = folder / name
            if path.stat().st_size != entry["bytes"]:
                return f"{name} is {path.stat().st_size} bytes, not {entry['bytes']}"
            if sha256_file(path) != entry["sha256"]:
                return f"{name} has another hash"
        if MODEL not in files or STATE not in files:
            return f"{MANIFEST} is incomplete"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None
