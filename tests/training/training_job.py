"""A tiny whole training: rows of token numbers, some with a picture, three classes. Also run as a script by tests.

``python training_job.py OUT [recipe key=value …]`` trains in OUT/checkpoints and writes OUT/weights.safetensors.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sensorium.errors import SensoriumError
from sensorium.recipe import TrainingRecipe
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import train
from sensorium.training.progress import Silent
from sensorium.training.protocols import Loss, Metric
from sensorium.training.tracking import NoTracker

ROWS, WIDTH = 37, 8


class TinyModel(nn.Module):
    """Mean of embeddings, plus a projected picture where a batch has any; ``projector`` is unused where none has."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, WIDTH)
        self.projector = nn.Linear(5, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.frozen = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, 3)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, tokens: Tensor, mask: Tensor, picture: Tensor | None, has_picture: Tensor) -> Tensor:
        """tokens, mask (batch, length); picture (pictures, 5); has_picture (batch,) bool → logits (batch, 3)."""
        x = (self.embedding(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        if picture is not None:
            x = x.index_add(0, has_picture.nonzero()[:, 0], self.projector(picture).to(x.dtype))
        if self.training:
            self.seen += 1
        return self.head(self.dropout(self.norm(self.frozen(x) + x)))


class TinyUnits:
    """Row → length, tokens, label; every third row has a picture. ``poison`` rows have NaN in it."""

    def __init__(self, rows: int = ROWS, poison: tuple[int, ...] = (), sleep: float = 0.0) -> None:
        rng = np.random.default_rng(5)
        self.lengths = rng.integers(1, 9, rows)
        self.tokens = [rng.integers(0, 20, n) for n in self.lengths]
        self.pictures = rng.normal(size=(rows, 5)).astype(np.float32)
        self.labels = np.array([int(t.sum()) % 3 for t in self.tokens])
        self.pictures[list(poison)] = np.nan
        self.sleep = sleep

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, row = key
        time.sleep(self.sleep)
        noise = np.random.default_rng([0, epoch, row]).normal(0, 0.01, 5).astype(np.float32)
        picture = self.pictures[row] + noise if row % 3 == 0 else None
        return {"row": row, "tokens": self.tokens[row], "picture": picture, "label": self.labels[row]}


class TinyBatch(dict[str, Any]):
    """Tensors by name; the loop asks for ``rows``."""

    @property
    def rows(self) -> list[int]:
        return list(self["rows"])


def collate(examples: list[dict[str, Any]]) -> TinyBatch:
    longest = max(len(e["tokens"]) for e in examples)
    tokens = torch.zeros(len(examples), longest, dtype=torch.long)
    mask = torch.zeros(len(examples), longest)
    for i, e in enumerate(examples):
        tokens[i, : len(e["tokens"])] = torch.as_tensor(e["tokens"])
        mask[i, : len(e["tokens"])] = 1
    pictures = [torch.as_tensor(e["picture"]) for e in examples if e["picture"] is not None]
    return TinyBatch(
        {
            "tokens": tokens,
            "mask": mask,
            "picture": torch.stack(pictures) if pictures else None,
            "has_picture": torch.tensor([e["picture"] is not None for e in examples]),
            "labels": torch.tensor([e["label"] for e in examples]),
            "rows": [e["row"] for e in examples],
        }
    )


class TinyTask:
    """Cross-entropy, each row counted 1 + its label times, so that rows weigh differently."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Loss:
        logits = model(batch["tokens"], batch["mask"], batch["picture"], batch["has_picture"])
        weight = 1 + batch["labels"]
        losses = nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="none")
        return Loss((losses * weight).sum(), int(weight.sum()))


def make_model(seed: int = 0, dropout: float = 0.2) -> TinyModel:
    torch.manual_seed(seed)
    return TinyModel(dropout)


def run_job(
    folder: Path,
    recipe: TrainingRecipe,
    model: nn.Module | None = None,
    units: TinyUnits | None = None,
    said: list[str] | None = None,
    **parts: Any,
) -> tuple[nn.Module, History]:
    """The tiny job in ``folder``; ``parts`` replace arguments of ``train``."""
    accelerator = make_accelerator(say=lambda line: None)
    model, units = model or make_model(), units or TinyUnits()
    micro = micro_batch_size(recipe.batch_size, recipe.micro_batch_size, accelerator.num_processes)
    plan = BatchPlan(units.lengths, recipe.batch_size, micro, recipe.seed)
    everything = collate([TinyUnits()[0, row] for row in range(ROWS)])

    def validate() -> dict[str, float]:
        with torch.no_grad():
            loss = TinyTask().loss(model, everything)
        return {"loss": float(loss.total) / loss.count}

    say = (said if said is not None else []).append
    arguments: dict[str, Any] = {
        "task": TinyTask(),
        "loader": PlannedLoader(units, collate, plan, recipe.workers),
        "validate": validate,
        "recipe": recipe,
        "accelerator": accelerator,
        "checkpoints": Checkpoints(folder / "checkpoints", say=say),
        "tracker": lambda step: NoTracker(),
        "progress": Silent(),
        "metric": Metric("loss"),
        "new_modules": ["projector", "head"],
        "say": say,
    }
    return model, train(model, **(arguments | parts))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    settings = {key: json.loads(value) for key, _, value in (argument.partition("=") for argument in sys.argv[2:])}
    units = TinyUnits(sleep=settings.pop("sleep", 0.0), poison=tuple(settings.pop("poison", ())))
    torch.set_num_threads(1)
    accelerator = make_accelerator()
    try:
        tuned, history = run_job(out, TrainingRecipe(**settings), units=units)
    except SensoriumError as error:
        print(f"rank {accelerator.process_index} {type(error).__name__} {error}\n", end="", flush=True)
        sys.exit(error.exit_code)
    if accelerator.is_main_process:
        save_file(weights(tuned), out / "weights.safetensors")
        (out / "history.json").write_text(json.dumps(history.to_dict() | {"processes": accelerator.num_processes}))
