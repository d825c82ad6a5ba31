"""Tiny random-weight parts for tests of the models."""

from __future__ import annotations

from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from sensorium.data.collate import MediaItem, Sequence
from sensorium.models.backbone import adapt_backbone
from sensorium.models.multimodal_gpt import MultimodalGPT, MultimodalGPTConfig
from sensorium.recipe import AdaptRecipe, FusionRecipe
from tests.tiny_models import stir

WIDTH, DEPTH, VOCABULARY, FEATURES = 32, 4, 50, 8


def tiny_gpt(kind: str = "llama", attention: str = "sdpa") -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "llama":
        config: Any = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=64,
            num_hidden_layers=DEPTH,
            num_attention_heads=4,
            num_key_value_heads=2,
            attn_implementation=attention,
        )
        return LlamaForCausalLM(config).eval()
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=DEPTH,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation=attention,
    )
    return GPT2LMHeadModel(config).eval()


class NoEncoder(torch.nn.Module):
    """Stands in where features are cached."""

    width = FEATURES


def tiny_model(
    gpt: str = "llama", classes: int = 0, inputs: tuple[str, ...] = ("picture",), adapt: Any = None, **fusion: Any
) -> MultimodalGPT:
    """A model whose gates are open and whose adapters differ from zero, so that every part shows."""
    method = adapt or AdaptRecipe(method="lora", layers=2)
    backbone = adapt_backbone(tiny_gpt(gpt), method)
    config = MultimodalGPTConfig(
        inputs=dict.fromkeys(inputs, "image"),
        widths={"image": FEATURES},
        fusion=FusionRecipe(**{"width": 16, "heads": 4, **fusion}).model_dump(),
        adapt=method.model_dump(),
        classes=classes,
        backbone_width=WIDTH,
        backbone_layers=DEPTH,
    )
    model = MultimodalGPT(config, backbone, {"image": NoEncoder()}).eval()
    stir(model, 0.5)
    return model


def sequence(
    model: MultimodalGPT, ids: list[int], features: torch.Tensor | None, slots: list[int], taught: int = 1, row: int = 0
) -> Sequence:
    """One branch; its last ``taught`` tokens are supervised; ``slots`` hold the picture's placeholders."""
    count = 1 if features is None else len(features)
    kind = model.fusion_recipe.kind
    item = MediaItem("picture", features, count, slots if kind == "tokens" else [], 0, True)
    length = len(ids)
    made = Sequence(ids, list(range(length)), [0] * length, [-1], [item], [row])
    made.sources, made.answers = list(range(length - taught - 1, length - 1)), ids[length - taught :]
    made.owners, made.answers_count = [0] * taught, 1
    if kind == "cross_attention":
        item.slots, made.memory = list(range(count)), [0] * count
    return made
