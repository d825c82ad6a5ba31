"""AdamW whose masters and moments are fp32 whatever the model's type, parameter groups, and the schedule.

A bf16 weight of size 1 cannot take a step below 0.004: small updates are lost unless they add up in an fp32 master
(Micikevicius et al. 2018, "Mixed precision training"). AdamW follows Loshchilov & Hutter 2019 as torch implements it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import RecipeError, RunError
from sensorium.recipe import TrainingRecipe


@dataclass(frozen=True)
class Group:
    """Parameters by name that share a learning rate and a weight decay.

    ``by_rows``: tables whose gradients are sparse: a step changes the rows that it read, their moments and their decay.
    """

    name: str
    parameters: dict[str, nn.Parameter]
    learning_rate: float
    weight_decay: float
    by_rows: bool = False


def parameter_groups(model: nn.Module, recipe: TrainingRecipe, new_modules: Sequence[str] = ()) -> list[Group]:
    """The trainable parameters in groups: pretrained and new ones, each with and without weight decay, and sparse tables.

    Args:
        new_modules: name prefixes of what starts from nothing (projectors, fusion, heads): ``head_learning_rate`` is theirs.

    Biases, norms, gates and single vectors (at most one dimension) do not decay.

    Raises:
        RecipeError: nothing trains.
    """
    sparse = {f"{n}.weight" for n, part in model.named_modules() if isinstance(part, nn.Embedding) and part.sparse}
    parts: dict[tuple[bool, bool, bool], dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            new = any(name == prefix or name.startswith(prefix.rstrip(".") + ".") for prefix in new_modules)
            parts.setdefault((new, parameter.dim() >= 2, name in sparse), {})[name] = parameter
    if not parts:
        raise RecipeError(
            "nothing trains", where="model.adapt", mend="choose another method than frozen, or a task with a head"
        )
    rates = {False: recipe.learning_rate, True: recipe.head_learning_rate or recipe.learning_rate}
    return [
        Group(
            ("new" if new else "pretrained") + ("" if decays else ", no decay") + (", by rows" if by_rows else ""),
            parameters,
            rates[new],
            recipe.weight_decay if decays else 0.0,
            by_rows,
        )
        for (new, decays, by_rows), parameters in sorted(parts.items(), key=lambda part: part[0])
    ]


class MasterAdamW:
    """AdamW over fp32 masters. A parameter that is fp32 is its own master; others get an fp32 copy.

    A parameter without a gradient is left alone, with its moments and without decay, as in torch. So is, of a table that
    learns by rows, every row that the step did not read (torch's SparseAdam): memory and time are those of the rows.
    """

    def __init__(self, groups: Sequence[Group], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self._parameters: dict[str, nn.Parameter] = {n: p for group in groups for n, p in group.parameters.items()}
        self._masters: dict[str, Tensor] = {
            name: p if p.dtype == torch.float32 else p.detach().to(torch.float32, copy=True).requires_grad_()
            for name, p in self._parameters.items()
        }
        dense, by_rows = ([self._settings(g) for g in groups if g.by_rows is kind] for kind in (False, True))
        fused = all(p.device.type in ("cpu", "cuda", "xpu", "mps") for p in self._masters.values())
        nothing = [{"params": list[Tensor]()}]
        self._adamw = torch.optim.AdamW(dense or nothing, betas=betas, eps=eps, fused=fused, foreach=not fused)
        self._by_rows = torch.optim.SparseAdam(by_rows or nothing, betas=betas, eps=eps)

    def _settings(self, group: Group) -> dict[str, Any]:
        parameters = [self._masters[name] for name in group.parameters]
        return {"params": parameters, "rate": group.learning_rate, "weight_decay": group.weight_decay}

    @torch.no_grad()
    def step(self, factor: float = 1.0, scale: float = 1.0, clip_norm: float | None = None) -> float:
        """One update with learning rates times ``factor`` and gradients times ``scale``, clipped to ``clip_norm``.

        Returns:
            The norm of the scaled gradient before clipping. Where it is not finite nothing was updated.
        """
        for name, parameter in self._parameters.items():
            master = self._masters[name]
            if master is not parameter:
                master.grad = None if parameter.grad is None else parameter.grad.to(torch.float32)
                parameter.grad = None
            if master.grad is not None and master.grad.is_sparse:
                master.grad = master.grad.coalesce()
        found = [m.grad for m in self._masters.values() if m.grad is not None]
        gradients = [gradient.values() if gradient.is_sparse else gradient for gradient in found]
        if not gradients:
            return 0.0
        norm = float(torch.nn.utils.get_total_norm(gradients)) * scale
        if not math.isfinite(norm):
            self.zero_grad()
            return norm
        if clip_norm is not None and norm > clip_norm:
            scale *= clip_norm / norm
        torch._foreach_mul_(gradients, scale)
        for optimizer in (self._adamw, self._by_rows):
            for group in optimizer.param_groups:
                group["lr"] = group.get("rate", 0.0) * factor
        self._decay_rows()
        self._adamw.step()
        self._by_rows.step()
        copies = [(p, self._masters[n]) for n, p in self._parameters.items() if self._masters[n] is not p]
        if copies:
            torch._foreach_copy_([p for p, _ in copies], [m for _, m in copies])
        self.zero_grad()
        return norm

    def _decay_rows(self) -> None:
        """AdamW's decay, for the rows that were read: SparseAdam has none."""
        for group in self._by_rows.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    rows = table.grad.indices()[0]
                    table.index_copy_(0, rows, table[rows] * (1 - group["lr"] * group["weight_decay"]))

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for name, parameter in self._parameters.items():
            parameter.grad = self._masters[name].grad = None

    def state(self) -> dict[str, Tensor]:
        """Masters and moments by parameter name, all fp32; a name is there once its parameter was updated."""
        tensors = {f"{n}.master": m.detach() for n, m in self._masters.items() if m is not self._parameters[n]}
        for name, master in self._masters.items():
            for key, value in self._of(master).state.get(master, {}).items():
                tensors[f"{name}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave. RunError where names or shapes are another model's."""
        self._adamw.state.clear()
        self._by_rows.state.clear()
        for key, value in tensors.items():
            name, _, slot = key.rpartition(".")
            master = self._masters.get(name)
            if master is None or slot not in ("master", "step", "exp_avg", "exp_avg_sq"):
                raise RunError(f"the checkpoint holds {key}, which does not train here", mend="add --fresh")
            if slot != "step" and value.shape != master.shape:
                raise RunError(f"the checkpoint's {key} has another shape", mend="add --fresh")
            if slot == "master":
                master.copy_(value)
            elif slot == "step" and self._of(master) is self._by_rows:
                self._by_rows.state[master][slot] = int(value)
            elif slot == "step":
                device = master.device if self._adamw.defaults["fused"] else "cpu"
                self._of(master).state[master][slot] = value.to(device, copy=True)
            else:  # laid out in memory as the master is (channels last): the fused step takes one order for all
                self._of(master).state[master][slot] = torch.empty_like(master).copy_(value)

    def _of(self, master: Tensor) -> torch.optim.Optimizer:
        """Whose parameter it is."""
        by_rows = any(master is one for group in self._by_rows.param_groups for one in group["params"])
        return self._by_rows if by_rows else self._adamw


def schedule(step: int, total: int, warmup: float = 0.0, kind: str = "cosine") -> float:
    """The learning rate's factor in step ``step`` (from 0) of ``total``: linear warm-up, then cosine, linear or constant.

    Args:
        warmup: share of the steps in which it rises; their last one has factor 1.
    """
    rising = round(warmup * total)
    if step < rising:
        return (step + 1) / rising
    if kind == "constant":
        return 1.0
    done = min(1.0, (step - rising) / max(1, total - rising))
    return 1.0 - done if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
