"""A Transformer made from nothing: ``transformers``' own classes from a small config, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from sensorium.errors import RecipeError
from sensorium.recipe import ScratchRecipe


def build(recipe: ScratchRecipe, tokenizer: Any) -> PreTrainedModel:
    """A model with random weights, drawn from torch's default generator.

    gpt2 (Radford et al. 2019) and llama (Touvron et al. 2023) read from left to right; bert (Devlin et al. 2019) reads
    both ways and has a head for masked words. Input and output embeddings are tied. Llama has no dropout but that of its
    attention.

    Args:
        tokenizer: its size is the vocabulary's; its special tokens are the model's.

    Raises:
        RecipeError: an architecture that is made elsewhere.
    """
    if recipe.architecture not in ARCHITECTURES:
        raise RecipeError(
            f"{recipe.architecture} is made for translation",
            where="model.scratch.architecture",
            mend=f"set {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[recipe.architecture](recipe, _shared(tokenizer))


def _shared(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def _gpt2(recipe: ScratchRecipe, shared: dict[str, Any]) -> PreTrainedModel:
    config = GPT2Config(
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        n_inner=recipe.feed_forward or 4 * recipe.width,
        n_positions=recipe.window,
        activation_function="gelu_pytorch_tanh",  # gelu_new's function in one kernel instead of eight
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        attn_pdrop=recipe.dropout,
        **shared,
    )
    return GPT2LMHeadModel(config)


def _llama(recipe: ScratchRecipe, shared: dict[str, Any]) -> PreTrainedModel:
    config = LlamaConfig(
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        intermediate_size=recipe.feed_forward or 4 * recipe.width,
        max_position_embeddings=recipe.window,
        attention_dropout=recipe.dropout,
        **shared,
    )
    return LlamaForCausalLM(config)


def _bert(recipe: ScratchRecipe, shared: dict[str, Any]) -> PreTrainedModel:
    config = BertConfig(
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.feed_forward or 4 * recipe.width,
        max_position_embeddings=recipe.window,
        hidden_dropout_prob=recipe.dropout,
        attention_probs_dropout_prob=recipe.dropout,
        **shared,
    )
    return BertForMaskedLM(config)


ARCHITECTURES: dict[str, Callable[[ScratchRecipe, dict[str, Any]], PreTrainedModel]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "bert": _bert,
}
