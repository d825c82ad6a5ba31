"""Transformers made from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from sensorium.errors import RecipeError
from sensorium.models.language.scratch import build
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import ScratchRecipe

TOKENIZER = train_tokenizer(["a few words"], 270, ["<pad>", "<s>", "</s>", "<mask>"])


def recipe(architecture: str, **sizes: object) -> ScratchRecipe:
    return ScratchRecipe(architecture=architecture, width=16, layers=2, heads=2, window=20, vocabulary=270, **sizes)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert"])
def test_sizes_and_special_tokens_are_the_recipes(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(recipe(architecture, feed_forward=24), TOKENIZER)
    config = model.config
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == (architecture, 16, 2)
    assert config.vocab_size == len(TOKENIZER) and config.pad_token_id == TOKENIZER.pad_token_id
    assert (config.n_inner if architecture == "gpt2" else config.intermediate_size) == 24
    assert config.max_position_embeddings == 20
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path)
    opened = (AutoModel if architecture == "bert" else AutoModelForCausalLM).from_pretrained(tmp_path)
    ids = torch.tensor([[1, 5, 6, 2]])
    theirs = opened(input_ids=ids)[0]
    ours = model.eval()(input_ids=ids, output_hidden_states=True)
    assert torch.allclose(theirs, ours.hidden_states[-1] if architecture == "bert" else ours.logits, atol=1e-6)


def test_weights_follow_from_the_seed() -> None:
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        made.append(build(recipe("gpt2"), TOKENIZER).get_input_embeddings().weight)
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_what_is_made_elsewhere_is_refused() -> None:
    with pytest.raises(RecipeError, match="encoder_decoder is made for translation; set gpt2, llama, bert"):
        build(recipe("encoder_decoder"), TOKENIZER)
