"""A pretrained GPT as the reader of histories: what its layers are given and say is what transformers says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.interactions.arrays import Histories
from sensorium.errors import RecipeError
from sensorium.models.backbone import adapt_backbone, load_backbone, trainable
from sensorium.models.ranking.config import RecommenderConfig
from sensorium.models.ranking.inputs import Sequences
from sensorium.models.ranking.recommender import Recommender
from sensorium.models.ranking.sequence_reader import PretrainedReader, entry_of, freeze_unused, text_states
from sensorium.recipe import AdaptRecipe, FusionRecipe
from tests.tiny_models import part, stir

TEXTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [5, 6]]


def gpt(name: str = "llama", kind: torch.dtype = torch.float32) -> Any:
    return load_backbone(part(name), dtype=kind, attention="sdpa").eval()


def bare(model: Any, entry: int) -> PretrainedReader:
    """A reader whose projections change nothing, so that its layers alone are seen."""
    reader = PretrainedReader(model, 32, entry, dropout=0.0).eval()
    reader.widen, reader.narrow, reader.norm = (torch.nn.Identity() for _ in range(3))  # type: ignore[assignment]
    return reader


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("entry", [0, 2])
def test_layers_say_what_transformers_says(name: str, entry: int) -> None:
    model = gpt(name)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        whole = model(ids, output_hidden_states=True).hidden_states
        entering = model.get_input_embeddings()(ids) if entry == 0 else whole[entry]
        real, positions = torch.ones(1, 5, dtype=torch.bool), torch.arange(5)[None]
        said = bare(model, entry)(entering, real, positions)
        torch.testing.assert_close(said, whole[-1], atol=1e-5, rtol=0)
        padded = torch.cat([torch.randn(1, 2, 32), entering], 1)
        real = torch.tensor([[False] * 2 + [True] * 5])
        again = bare(model, entry)(padded, real, torch.tensor([[0, 0, 0, 1, 2, 3, 4]]))
    torch.testing.assert_close(again[:, 2:], said, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("entry", [0, 1, 3])
def test_texts_are_the_means_of_what_transformers_says_below_the_entry(name: str, entry: int) -> None:
    model = gpt(name)
    means, sizes = text_states(model, TEXTS, entry)
    for i, ids in enumerate(TEXTS):
        with torch.no_grad():
            states = model.get_input_embeddings()(torch.tensor([ids]))[0]
            if entry:
                states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[entry][0]
                if entry == model.config.num_hidden_layers:  # transformers gives the last one normed
                    continue
        torch.testing.assert_close(means[i], states.mean(0), atol=1e-5, rtol=0)
        torch.testing.assert_close(sizes[i], states.pow(2).mean(1).sqrt().median(), atol=1e-5, rtol=0)


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=9), min_size=1, max_size=6), st.integers(0, 2))
def test_a_text_among_others_reads_as_it_does_alone(texts: list[list[int]], entry: int) -> None:
    model = gpt()
    together, _ = text_states(model, texts, entry)
    for i, ids in enumerate(texts):
        torch.testing.assert_close(together[i], text_states(model, [ids], entry)[0][0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("adapt", "from_layer", "entry"),
    [
        ({"method": "lora", "layers": "last_half"}, "auto", 2),
        ({"method": "lora", "layers": "all"}, "auto", 0),
        ({"method": "full", "layers": 1}, "auto", 3),
        ({"method": "frozen"}, "auto", 3),
        ({"method": "frozen"}, 1, 1),
        ({"method": "lora", "layers": 2}, 0, 0),
    ],
)
def test_where_items_enter(adapt: dict[str, Any], from_layer: Any, entry: int) -> None:
    assert entry_of(FusionRecipe(from_layer=from_layer), AdaptRecipe(**adapt), 4) == entry


@pytest.mark.parametrize(
    ("adapt", "from_layer", "line"),
    [
        ({"method": "prefix"}, "auto", "set lora"),
        ({"method": "lora", "layers": 2}, 3, "above layer 2"),
        ({"method": "frozen"}, 4, "above layer 3"),
    ],
)
def test_where_items_cannot_enter(adapt: dict[str, Any], from_layer: Any, line: str) -> None:
    with pytest.raises(RecipeError, match=line):
        entry_of(FusionRecipe(from_layer=from_layer), AdaptRecipe(**adapt), 4)


def test_a_gpt_whose_layers_do_not_run_one_by_one_is_refused() -> None:
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
    model = OPTForCausalLM(OPTConfig(**sizes, word_embed_proj_dim=16))
    with pytest.raises(RecipeError, match=r"recommender\.backbone: items cannot enter this GPT"):
        text_states(model, TEXTS, 0)


# -- in the whole model ----------------------------------------------------------------------------


def recommender(method: str, entry: int = 2, precision: str = "fp32") -> Recommender:
    torch.manual_seed(0)
    adapt = AdaptRecipe(method=method, layers=2, rank=2)  # type: ignore[arg-type]
    tuned = adapt_backbone(gpt(kind=torch.bfloat16 if precision == "bf16" else torch.float32), adapt)
    freeze_unused(tuned, entry)
    config = RecommenderConfig(
        items=9, users=3, width=8, history=5, gpt={"entry": entry, "precision": precision}, adapt=adapt.model_dump()
    )
    built = Recommender(config, PretrainedReader(tuned, 8, entry, 0.0)).eval()
    stir(built, 0.3)
    return built


def history() -> Histories:
    items = np.array([[-1, -1, 3, 4], [1, 2, 8, 0], [-1, -1, -1, -1]])
    return Histories(items, np.zeros((3, 4), np.float32), np.full((3, 4), np.nan, np.float32), np.arange(3))


@pytest.mark.parametrize("method", ["lora", "dora", "pissa", "full", "frozen"])
def test_saved_and_opened_it_says_the_same(method: str, tmp_path: Path) -> None:
    built = recommender(method)
    before = built.user_vectors(history())
    built.save_pretrained(tmp_path / "model")
    opened = Recommender.open(tmp_path / "model")
    torch.testing.assert_close(opened.user_vectors(history()), before, atol=1e-5, rtol=0)
    assert torch.equal(opened.item_vectors(), built.item_vectors())


@pytest.mark.parametrize("method", ["lora", "full", "frozen"])
def test_all_that_trains_has_a_gradient_and_nothing_below_the_entry_trains(method: str) -> None:
    built = recommender(method).train()
    sequences = Sequences.of(history())
    read = built(sequences, torch.ones(3, 5, dtype=torch.bool), torch.arange(9))
    (read.users @ read.items.T).sum().backward()
    inner = [name for name, _ in trainable(built.backbone.gpt)]  # type: ignore[arg-type]
    assert all("layers.2." in name or "layers.3." in name or name.endswith("model.norm.weight") for name in inner)
    assert bool(inner) is (method != "frozen")
    silent = [name for name, parameter in trainable(built) if parameter.grad is None]
    assert silent == []


def test_weights_of_half_the_bits_say_about_the_same(tmp_path: Path) -> None:
    exact = recommender("frozen").user_vectors(history())
    built = recommender("frozen", precision="bf16")
    rough = built.user_vectors(history())
    assert rough.dtype == torch.float32 and 0 < (rough - exact).abs().max() < 0.1
    built.save_pretrained(tmp_path / "model")
    torch.testing.assert_close(Recommender.open(tmp_path / "model").user_vectors(history()), rough, atol=1e-5, rtol=0)


def test_the_gpt_is_handed_in(tmp_path: Path) -> None:
    built = recommender("lora")
    with pytest.raises(ValueError, match=r"Recommender\.open"):
        Recommender(built.config)


def test_a_damaged_adapter_is_said_in_one_line(tmp_path: Path) -> None:
    from sensorium.errors import RunError

    recommender("lora").save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "adapter" / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="adapter cannot be read"):
        Recommender.open(tmp_path / "model")
