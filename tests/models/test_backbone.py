"""Which token sees which, against the definition; loading and adapting GPTs; adapters left out of a saved GPT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from sensorium.data.collate import Sequence, collate
from sensorium.errors import RecipeError
from sensorium.models.backbone import (
    adapt_backbone,
    additive,
    entry_layer,
    load_backbone,
    open_stack,
    plain_state,
    tuned_from,
    visibility,
)
from sensorium.recipe import AdaptRecipe, FusionRecipe
from tests.models.small import DEPTH, tiny_gpt
from tests.tiny_models import part


@st.composite
def forests(draw: st.DrawFn) -> Sequence:
    """A forest of branches, each branch's tokens anywhere behind its parent's first ones."""
    parents = [draw(st.integers(-1, i - 1)) for i in range(draw(st.integers(1, 6)))]
    branches = draw(st.lists(st.integers(0, len(parents) - 1), min_size=0, max_size=10))
    return Sequence([0] * len(branches), list(range(len(branches))), branches, parents, [], [])


@settings(max_examples=80)
@given(st.lists(forests(), min_size=1, max_size=3))
def test_a_token_sees_what_stands_before_it_in_its_branch_and_those_above(forest: list[Sequence]) -> None:
    batch = collate(forest)
    found = visibility(batch.branches, batch.ancestors)
    tokens = batch.branches.shape[1]
    assert found.shape == (len(forest), tokens, tokens)
    for b, sequence in enumerate(forest):
        line = {}
        for branch in range(len(sequence.parents)):
            up, line[branch] = branch, set()
            while up >= 0:
                line[branch].add(up)
                up = sequence.parents[up]
            assert set(batch.ancestors[b, branch].nonzero()[:, 0].tolist()) == line[branch]
        for query in range(tokens):
            for key in range(tokens):
                if query >= len(sequence.ids) or key >= len(sequence.ids):
                    expected = query == key
                else:
                    above = sequence.branches[key] in line[sequence.branches[query]]
                    expected = key <= query and above
                assert found[b, query, key].item() == expected, (query, key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_additive_mask_is_zero_where_seen_and_the_least_number_elsewhere(dtype: torch.dtype) -> None:
    visible = torch.rand(2, 3, 4) < 0.5
    mask = additive(visible, dtype)
    assert mask.shape == (2, 1, 3, 4) and mask.dtype == dtype
    assert torch.equal(mask[:, 0] == 0, visible) and torch.equal(mask[:, 0] == torch.finfo(dtype).min, ~visible)


@pytest.mark.parametrize(
    ("method", "layers", "depth", "first"),
    [
        ("frozen", "all", 30, 30),
        ("lora", "all", 30, 0),
        ("lora", "last_half", 30, 15),
        ("lora", "last_third", 30, 20),
        ("lora", "last_third", 2, 1),  # a third of two layers is still one
        ("full", 4, 30, 26),
        ("prefix", "last_third", 30, 0),
    ],
)
def test_tuned_from_is_the_first_layer_that_trains(method: str, layers: str, depth: int, first: int) -> None:
    assert tuned_from(AdaptRecipe(method=method, layers=layers), depth) == first


def test_more_layers_than_the_gpt_has_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"model\.adapt\.layers.*4 layers, not 9"):
        tuned_from(AdaptRecipe(method="lora", layers=9), 4)
    with pytest.raises(RecipeError, match="at most 3"):
        entry_layer(FusionRecipe(from_layer=4), AdaptRecipe(), 4)


@pytest.mark.parametrize("depth", [1, 2, 3, 30])
@pytest.mark.parametrize("method", ["lora", "frozen", "prefix"])
def test_modalities_enter_somewhere_in_the_gpt_whatever_its_depth(depth: int, method: str) -> None:
    entry = entry_layer(FusionRecipe(from_layer="auto"), AdaptRecipe(method=method, layers="last_third"), depth)
    assert 0 <= entry < depth


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_only_the_last_layers_train(kind: str, method: str) -> None:
    model = adapt_backbone(tiny_gpt(kind), AdaptRecipe(method=method, layers=1))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    stack = open_stack(model)
    assert stack is not None
    below = {id(p) for layer in stack.layers[: DEPTH - 1] for p in layer.parameters()} | {
        id(p) for p in stack.embed.parameters()
    }
    assert trained and not [name for name, p in model.named_parameters() if name in trained and id(p) in below]
    assert any(p.requires_grad for p in stack.layers[-1].parameters())


def test_a_folder_without_a_causal_lm_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.backbone: .*no causal language model there"):
        load_backbone(tmp_path, dtype=torch.float32, attention="sdpa")
    with pytest.raises(RecipeError, match="no causal language model there"):
        load_backbone(part("vit"), dtype=torch.float32, attention="sdpa")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "vera"])
def test_the_plain_state_is_the_gpt_before_adapters(kind: str, method: str) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_gpt(kind).state_dict().items()}
    model = adapt_backbone(tiny_gpt(kind), AdaptRecipe(method=method, rank=4, layers=2))
    found = plain_state(model.get_base_model())  # type: ignore[operator]
    assert sorted(found) == sorted(before)
    assert all(torch.equal(found[name], before[name]) for name in before)


def test_a_method_that_does_not_fit_the_gpt_is_refused_in_one_line() -> None:
    with pytest.raises(RecipeError, match=r"model\.adapt\.method: this GPT cannot be tuned by oft"):
        adapt_backbone(tiny_gpt("gpt2"), AdaptRecipe(method="oft", rank=4, layers=2))


def test_weights_are_in_the_type_asked_for() -> None:
    model = load_backbone(part("llama"), dtype=torch.bfloat16, attention="eager")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert isinstance(model, type(AutoModelForCausalLM.from_pretrained(part("llama"))))
