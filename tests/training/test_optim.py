"""AdamW over masters against torch's own, groups, and the schedule against its closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sensorium.errors import RecipeError, RunError
from sensorium.recipe import TrainingRecipe
from sensorium.training.optim import Group, MasterAdamW, parameter_groups, schedule


def parameters(dtype: torch.dtype = torch.float32) -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {"a": nn.Parameter(torch.randn(7, 5).to(dtype)), "b": nn.Parameter(torch.randn(3).to(dtype))}


def test_fp32_equals_torch_adamw_with_clipping() -> None:
    mine, theirs = parameters(), parameters()
    ours = MasterAdamW([Group("x", {"a": mine["a"]}, 0.01, 0.1), Group("y", {"b": mine["b"]}, 0.03, 0.0)])
    reference = torch.optim.AdamW(
        [
            {"params": [theirs["a"]], "lr": 0.01, "weight_decay": 0.1},
            {"params": [theirs["b"]], "lr": 0.03, "weight_decay": 0.0},
        ],
        fused=False,
        foreach=False,
    )
    for step in range(20):
        for name in mine:
            gradient = torch.randn(mine[name].shape)
            mine[name].grad = gradient * 8  # as a sum over eight items
            theirs[name].grad = gradient if (name, step) != ("b", 4) else None
            if (name, step) == ("b", 4):
                mine[name].grad = None  # unused in this step
        norm = nn.utils.clip_grad_norm_(list(theirs.values()), 2.0)
        reference.param_groups[0]["lr"], reference.param_groups[1]["lr"] = 0.01 * 0.5, 0.03 * 0.5
        reference.step()
        assert ours.step(0.5, 1 / 8, 2.0) == pytest.approx(float(norm), rel=1e-5)
        assert all(p.grad is None for p in mine.values())
    for name in mine:
        assert (mine[name] - theirs[name]).abs().max() <= 1e-6


def test_bf16_keeps_small_updates() -> None:
    """Steps of 1e-4 at a weight of 1, where bf16's next number is 0.0078 away: a thousand move it by a tenth."""
    weight = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    ours = MasterAdamW([Group("x", {"w": weight}, 1e-4, 0.0)])
    plain = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    torchs = torch.optim.AdamW([plain], lr=1e-4, weight_decay=0.0)
    for _ in range(1000):
        weight.grad, plain.grad = torch.ones_like(weight), torch.ones_like(plain)
        ours.step()
        torchs.step()
    assert torch.equal(plain, torch.ones_like(plain))  # what masters are for
    assert ours.state()["w.master"].dtype == torch.float32
    torch.testing.assert_close(ours.state()["w.master"], torch.full((4,), 0.9), rtol=1e-4, atol=0)
    assert torch.equal(weight, torch.full((4,), 0.9).to(torch.bfloat16))


def test_non_finite_gradient_updates_nothing() -> None:
    mine = parameters()
    before = {name: p.detach().clone() for name, p in mine.items()}
    ours = MasterAdamW([Group("x", mine, 0.1, 0.1)])
    mine["a"].grad, mine["b"].grad = torch.ones(7, 5), torch.tensor([1.0, math.inf, 0.0])
    assert not math.isfinite(ours.step(clip_norm=1.0))
    assert all(torch.equal(mine[name], before[name]) for name in mine) and not ours.state()
    assert MasterAdamW([Group("x", mine, 0.1, 0.1)]).step() == 0.0  # no gradient at all


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_goes_on_bit_identical(dtype: torch.dtype) -> None:
    def steps(ours: MasterAdamW, mine: dict[str, nn.Parameter], numbers: range) -> None:
        for number in numbers:
            torch.manual_seed(number)
            for p in mine.values():
                p.grad = torch.randn(p.shape).to(dtype)
            ours.step(0.9**number)

    whole, half = parameters(dtype), parameters(dtype)
    one = MasterAdamW([Group("x", whole, 0.01, 0.1)])
    steps(one, whole, range(10))
    first = MasterAdamW([Group("x", half, 0.01, 0.1)])
    steps(first, half, range(5))
    later = {name: nn.Parameter(p.detach().clone()) for name, p in half.items()}
    second = MasterAdamW([Group("x", later, 0.01, 0.1)])
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    steps(second, later, range(5, 10))
    assert all(torch.equal(whole[name], later[name]) for name in whole)
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in one.state().items())


def test_foreign_state_is_refused() -> None:
    ours = MasterAdamW([Group("x", parameters(), 0.1, 0.0)])
    with pytest.raises(RunError, match=r"holds c\.exp_avg, which does not train here; add --fresh"):
        ours.load_state({"c.exp_avg": torch.zeros(3)})
    with pytest.raises(RunError, match="another shape"):
        ours.load_state({"b.exp_avg": torch.zeros(4)})


def test_groups() -> None:
    model = nn.ModuleDict(
        {"gpt": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "head": nn.Linear(4, 2), "header": nn.Linear(2, 2)}
    )
    model["gpt"][0].bias.requires_grad_(False)
    recipe = TrainingRecipe(learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.1)
    groups = {group.name: group for group in parameter_groups(model, recipe, ["head"])}
    assert {name: sorted(group.parameters) for name, group in groups.items()} == {
        "pretrained": ["gpt.0.weight", "header.weight"],
        "pretrained, no decay": ["gpt.1.bias", "gpt.1.weight", "header.bias"],
        "new": ["head.weight"],
        "new, no decay": ["head.bias"],
    }
    assert (groups["new"].learning_rate, groups["pretrained"].learning_rate) == (1e-2, 1e-3)
    assert (groups["new"].weight_decay, groups["new, no decay"].weight_decay) == (0.1, 0.0)
    with pytest.raises(RecipeError, match="nothing trains"):
        parameter_groups(model.requires_grad_(False), recipe)


@given(total=st.integers(1, 300), warmup=st.floats(0, 0.9), kind=st.sampled_from(["cosine", "linear", "constant"]))
def test_schedule_is_its_closed_form(total: int, warmup: float, kind: str) -> None:
    rising = round(warmup * total)
    factors = [schedule(step, total, warmup, kind) for step in range(total)]
    for step, factor in enumerate(factors):
        if step < rising:
            assert factor == pytest.approx((step + 1) / rising)
        else:
            x = (step - rising) / max(1, total - rising)
            assert factor == pytest.approx(
                {"cosine": (1 + math.cos(math.pi * x)) / 2, "linear": 1 - x, "constant": 1}[kind]
            )
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[rising - 1 if rising else 0] == pytest.approx(1.0)
    assert all(a <= b for a, b in itertools.pairwise(factors[:rising]))
    assert all(a >= b for a, b in itertools.pairwise(factors[rising:]))


def test_schedule_agrees_with_transformers() -> None:
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, 10, 100)
    for step in range(1, 100):  # theirs spends step 0 at a rate of 0, ours does not
        optimizer.step()
        theirs.step()
        if step >= 10:
            assert schedule(step, 100, 0.1) == pytest.approx(theirs.get_last_lr()[0])


# -- tables that learn by rows ---------------------------------------------------------------------


def table_and_layer() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"table": nn.Embedding(6, 3, sparse=True), "layer": nn.Linear(3, 2)})


def one_step(model: nn.ModuleDict, rows: list[int]) -> None:
    model["layer"](model["table"](torch.tensor(rows))).square().sum().backward()


def by_rows(model: nn.ModuleDict, decay: float = 0.0) -> MasterAdamW:
    recipe = TrainingRecipe(learning_rate=0.05, weight_decay=decay)
    return MasterAdamW(parameter_groups(model, recipe))


def test_a_sparse_table_learns_as_torchs_sparse_adam_does() -> None:
    mine, theirs = table_and_layer(), table_and_layer()
    ours = by_rows(mine)
    tables = torch.optim.SparseAdam(theirs["table"].parameters(), lr=0.05)
    layers = torch.optim.AdamW(theirs["layer"].parameters(), lr=0.05, weight_decay=0.0)
    for rows in ([0, 2, 2], [2, 5], [0, 1], [5, 5, 5]):
        one_step(mine, rows)
        one_step(theirs, rows)
        gradients = [theirs["table"].weight.grad.to_dense(), *(p.grad for p in theirs["layer"].parameters())]
        norm = float(torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients])))
        assert ours.step() == pytest.approx(norm, rel=1e-5)
        tables.step()
        layers.step()
        tables.zero_grad()
        layers.zero_grad()
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_rows_that_were_not_read_stay_as_they_are_and_the_others_decay() -> None:
    decayed, plain = table_and_layer(), table_and_layer()
    before = plain["table"].weight.detach().clone()
    for model, decay in ((decayed, 0.5), (plain, 0.0)):
        optimizer = by_rows(model, decay)
        one_step(model, [1, 4])
        optimizer.step(0.5, 0.25, 0.1)
    moved = plain["table"].weight.detach() - before
    unread, read = [0, 2, 3, 5], [1, 4]
    assert torch.equal(decayed["table"].weight[unread], before[unread]) and not moved[unread].any()
    assert moved[read].all()
    # AdamW: the weight shrinks by rate × decay, and then the step of Adam is taken
    torch.testing.assert_close(decayed["table"].weight[read], before[read] * (1 - 0.05 * 0.5 * 0.5) + moved[read])


def test_a_table_by_rows_goes_on_where_its_state_stopped() -> None:
    whole, half, later = table_and_layer(), table_and_layer(), table_and_layer()
    one, first = by_rows(whole), by_rows(half)
    for optimizer, model in ((one, whole), (first, half)):
        one_step(model, [0, 3])
        optimizer.step()
    later.load_state_dict(half.state_dict())
    second = by_rows(later)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    for optimizer, model in ((one, whole), (second, later)):
        one_step(model, [3, 4])
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), later.parameters(), strict=True))
