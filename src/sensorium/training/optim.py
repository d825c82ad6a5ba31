"""AdamW whose masters and moments are fp32 whatever the model's type, parameter groups, and the schedule.

A bf16 weight of size 1 cannot take a step below 0.004: small updates are lost unless they add up in an fp32 master
(Micikevicius et al. 2018, "Mixed precision training"). AdamW follows Loshchilov & Hutter 2019 as torch implements it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.errors import RecipeError, RunError
from sensorium.recipe import TrainingRecipe


@dataclass(frozen=True)
class Group:
    """Parameters by name that share a learning rate and a weight decay."""

    name: str
    parameters: dict[str, nn.Parameter]
    learning_rate: float
    weight_decay: float


def parameter_groups(model: nn.Module, recipe: TrainingRecipe, new_modules: Sequence[str] = ()) -> list[Group]:
    """The trainable parameters as up to four groups: pretrained and new ones, each with and without weight decay.

    Args:
        new_modules: name prefixes of what starts from nothing (projectors, fusion, heads): ``head_learning_rate`` is theirs.

    Biases, norms, gates and single vectors (at most one dimension) do not decay.

    Raises:
        RecipeError: nothing trains.
    """
    parts: dict[tuple[bool, bool], dict[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            new = any(name == prefix or name.startswith(prefix.rstrip(".") + ".") for prefix in new_modules)
            parts.setdefault((new, parameter.dim() >= 2), {})[name] = parameter
    if not parts:
        raise RecipeError(
            "nothing trains", where="model.adapt", mend="choose another method than frozen, or a task with a head"
        )
    rates = {False: recipe.learning_rate, True: recipe.head_learning_rate or recipe.learning_rate}
    return [
        Group(
            ("new" if new else "pretrained") + ("" if decays else ", no decay"),
            parameters,
            rates[new],
            recipe.weight_decay if decays else 0.0,
        )
        for (new, decays), parameters in sorted(parts.items())
    ]


class MasterAdamW:
    """AdamW over fp32 masters. A parameter that is fp32 is its own master; others get an fp32 copy.

    A parameter without a gradient is left alone, with its moments and without decay, as in torch.
    """

    def __init__(self, groups: Sequence[Group], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        self._rates = [group.learning_rate for group in groups]
        self._parameters: dict[str, nn.Parameter] = {n: p for group in groups for n, p in group.parameters.items()}
        self._masters: dict[str, Tensor] = {
            name: p if p.dtype == torch.float32 else p.detach().to(torch.float32, copy=True).requires_grad_()
            for name, p in self._parameters.items()
        }
        settings = [
            {
                "params": [self._masters[n] for n in group.parameters],
                "lr": group.learning_rate,
                "weight_decay": group.weight_decay,
            }
            for group in groups
        ]
        fused = all(p.device.type in ("cpu", "cuda", "xpu", "mps") for p in self._masters.values())
        self._adamw = torch.optim.AdamW(settings, betas=betas, eps=eps, fused=fused, foreach=not fused)

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
        gradients = [m.grad for m in self._masters.values() if m.grad is not None]
        if not gradients:
            return 0.0
        norm = float(torch.nn.utils.get_total_norm(gradients)) * scale
        if not math.isfinite(norm):
            self.zero_grad()
            return norm
        if clip_norm is not None and norm > clip_norm:
            scale *= clip_norm / norm
        torch._foreach_mul_(gradients, scale)
        for rate, group in zip(self._rates, self._adamw.param_groups, strict=True):
            group["lr"] = rate * factor
        self._adamw.step()
        copies = [(p, self._masters[n]) for n, p in self._parameters.items() if self._masters[n] is not p]
        if copies:
            torch._foreach_copy_([p for p, _ in copies], [m for _, m in copies])
        self.zero_grad()
        return norm

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for name, parameter in self._parameters.items():
            parameter.grad = self._masters[name].grad = None

    def state(self) -> dict[str, Tensor]:
        """Masters and moments by parameter name, all fp32; a name is there once its parameter was updated."""
        tensors = {f"{n}.master": m.detach() for n, m in self._masters.items() if m is not self._parameters[n]}
        for name, master in self._masters.items():
            for key, value in self._adamw.state.get(master, {}).items():
                tensors[f"{name}.{key}"] = value
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave. RunError where names or shapes are another model's."""
        self._adamw.state.clear()
        for key, value in tensors.items():
            name, _, slot = key.rpartition(".")
            master = self._masters.get(name)
            if master is None or slot not in ("master", "step", "exp_avg", "exp_avg_sq"):
                raise RunError(f"the checkpoint holds {key}, which does not train here", mend="add --fresh")
            if slot != "step" and value.shape != master.shape:
                raise RunError(f"the checkpoint's {key} has another shape", mend="add --fresh")
            if slot == "master":
                master.copy_(value)
            else:
                device = master.device if slot != "step" or self._adamw.defaults["fused"] else "cpu"
                self._adamw.state[master][slot] = value.to(device, copy=True)


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
