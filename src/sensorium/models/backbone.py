"""The GPT: loading it, running any stretch of its layers, and adapting it with PEFT.

Two ways through a causal language model. ``Stack`` runs layers one stretch after another with a mask of our own,
so that modalities can enter at any layer and what lies below can be cached; it serves every model that is built as
embedding, layers, norm with rotary positions (Llama, SmolLM2, Qwen, Mistral, …) or as GPT-2. Any other causal LM
runs whole, with modalities at its input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import RecipeError, first_line
from sensorium.recipe import AdaptRecipe, FusionRecipe

PROMPT_METHODS = ("prefix", "prompt", "p_tuning")


def load_backbone(folder: str | Path, *, dtype: torch.dtype, attention: str) -> Any:
    """A ``transformers`` causal LM from a local folder or hub id, weights in ``dtype``.

    Raises:
        RecipeError: the folder holds no causal LM.
    """
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, attn_implementation=attention, trust_remote_code=False
        )
    except Exception as error:  # a damaged or foreign folder: libraries raise whatever they like
        raise RecipeError(
            f"no causal language model there ({first_line(error)})",
            where=f"model.backbone: {folder}",
            mend="give an asset's name, a folder with config.json and safetensors, or a hub id that can be reached",
        ) from error
    return model


# -- running stretches of layers -------------------------------------------------------------------


@dataclass
class Stack:
    """The parts of a causal LM that runs layer by layer.

    Attributes:
        embed: token embedding, ids (batch, tokens) -> (batch, tokens, width).
        layers: the decoder layers.
        norm: the last norm.
        lm_head: (…, width) -> (…, vocabulary).
        rotary: rotary position module, or None.
        positions: learned position embedding added to the input (GPT-2), or None.
    """

    embed: nn.Module
    layers: nn.ModuleList
    norm: nn.Module
    lm_head: nn.Module
    rotary: nn.Module | None
    positions: nn.Module | None

    def enter(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """ids, positions (batch, tokens) -> the hidden states that layer 0 reads (batch, tokens, width)."""
        hidden = self.embed(input_ids)
        return hidden if self.positions is None else hidden + self.positions(position_ids)

    def run(
        self, hidden: Tensor, mask: Tensor, position_ids: Tensor, start: int, stop: int, cache: Any = None
    ) -> Tensor:
        """Layers ``start`` to ``stop`` - 1.

        Args:
            hidden: (batch, tokens, width).
            mask: additive, (batch, 1, tokens, keys): 0 where a query sees a key, the type's minimum elsewhere.
            position_ids: (batch, tokens).
            cache: a transformers cache that the layers extend, or None.
        """
        extra: dict[str, Any] = {"use_cache": cache is not None, "cache": cache}
        if self.rotary is not None:
            extra["position_embeddings"] = self.rotary(hidden, position_ids=position_ids)
        for layer in self.layers[start:stop]:
            hidden = layer(hidden, attention_mask=mask, position_ids=position_ids, **extra)
        return hidden


def causal_lm(backbone: Any) -> Any:
    """The causal LM inside a PEFT wrapper, or the model itself."""
    return backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone


def open_stack(backbone: nn.Module) -> Stack | None:
    """The model's parts when it can run layer by layer, else None (it then runs whole)."""
    lm: Any = causal_lm(backbone)
    head = lm.get_output_embeddings()
    base: Any = getattr(lm, "model", None)
    kinds = set(getattr(lm.config, "layer_types", None) or ["full_attention"])
    if all(hasattr(base, name) for name in ("embed_tokens", "layers", "norm", "rotary_emb")) and kinds == {
        "full_attention"
    }:
        return Stack(base.embed_tokens, base.layers, base.norm, head, base.rotary_emb, None)
    base = getattr(lm, "transformer", None)
    if all(hasattr(base, name) for name in ("wte", "wpe", "h", "ln_f")):
        return Stack(base.wte, base.h, base.ln_f, head, None, base.wpe)
    return None


def visibility(branches: Tensor, ancestors: Tensor) -> Tensor:
    """Which token sees which, in a forest of branches.

    A branch is a run of tokens that follows its parent: a picture's shared start, a question about it, one of
    many possible answers. A token sees itself, what stands before it in its own branch, and all of the branches
    above it; so several questions share one picture, options share one prompt, and packed documents share nothing.

    Args:
        branches: (batch, tokens), the branch of each token, -1 for padding.
        ancestors: (batch, branches, branches), [b, i, j]: branch j is i itself or above i.

    Returns:
        (batch, tokens, tokens) bool: [b, query, key]. Padding sees itself alone.
    """
    tokens = branches.shape[1]
    inside = branches.clamp(min=0)
    related = ancestors.gather(1, inside[:, :, None].expand(-1, -1, ancestors.shape[2]))
    related = related.gather(2, inside[:, None, :].expand(-1, tokens, -1))
    real = branches >= 0
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=branches.device).tril()
    itself = torch.eye(tokens, dtype=torch.bool, device=branches.device)
    return (related & causal & real[:, None, :] & real[:, :, None]) | itself


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Bool (batch, queries, keys) -> additive mask (batch, 1, queries, keys)."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


def entry_layer(fusion: FusionRecipe, adapt: AdaptRecipe, depth: int) -> int:
    """Where modalities enter: as asked, or at the first layer that is tuned (a frozen GPT's last third).

    Raises:
        RecipeError: behind the last layer.
    """
    if fusion.from_layer == "auto":
        return depth - max(depth // 3, 1) if adapt.method == "frozen" else tuned_from(adapt, depth)
    if fusion.from_layer >= depth:
        where = f"model.fusion.from_layer: {fusion.from_layer}"
        raise RecipeError(f"the GPT has {depth} layers", where=where, mend=f"at most {depth - 1}")
    return fusion.from_layer


# -- adapting --------------------------------------------------------------------------------------


def tuned_from(adapt: AdaptRecipe, depth: int) -> int:
    """The first layer that ``adapt`` tunes, of ``depth``; ``depth`` itself where the GPT is frozen."""
    if adapt.method == "frozen":
        return depth
    if adapt.layers == "all" or adapt.method in PROMPT_METHODS:
        return 0
    count = {"last_half": depth // 2, "last_third": depth // 3}.get(str(adapt.layers), adapt.layers)
    if not isinstance(count, int) or count > depth:
        raise RecipeError(
            f"the GPT has {depth} layers, not {count}", where="model.adapt.layers", mend=f"at most {depth}"
        )
    return depth - max(count, 1)


def adapt_backbone(backbone: Any, adapt: AdaptRecipe) -> nn.Module:
    """Freeze the GPT but for what ``adapt`` tunes; wrap it with PEFT where the method is PEFT's.

    Adapters take the weights' own type: in fp32 beside bf16 weights they cost a third of the speed, and the
    optimiser keeps fp32 masters anyway.
    """
    backbone.requires_grad_(False)
    depth = backbone.config.num_hidden_layers
    start = tuned_from(adapt, depth)
    if adapt.method == "frozen":
        return backbone
    if adapt.method == "full":
        stack = open_stack(backbone)
        if stack is None or adapt.layers == "all":
            return backbone.requires_grad_(True)
        for part in (*stack.layers[start:], stack.norm):
            part.requires_grad_(True)
        return backbone
    from peft import get_peft_model

    config = peft_config(adapt, _linear_names(backbone, start))
    try:
        return get_peft_model(backbone, config, autocast_adapter_dtype=False)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"this GPT cannot be tuned by {adapt.method} ({str(error)[:160]})",
            where="model.adapt.method",
            mend="set lora",
        ) from None


def _linear_names(backbone: nn.Module, start: int) -> list[str] | str:
    """Full names of the linear maps in layers from ``start`` on; PEFT's ``all-linear`` where layers are unknown."""
    stack = open_stack(backbone)
    if stack is None:
        if start > 0:
            raise RecipeError(
                "this GPT can only be tuned on all layers", where="model.adapt.layers", mend="set layers: all"
            )
        return "all-linear"
    maps = {
        id(m) for layer in stack.layers[start:] for m in layer.modules() if type(m).__name__ in ("Linear", "Conv1D")
    }
    return [name for name, module in backbone.named_modules() if id(module) in maps]


def peft_config(adapt: AdaptRecipe, targets: list[str] | str) -> Any:
    """The PEFT config of ``adapt`` on the linear maps ``targets``; PEFT's names throughout."""
    import peft

    if adapt.method in PROMPT_METHODS:
        prompt = {
            "prefix": peft.PrefixTuningConfig,
            "prompt": peft.PromptTuningConfig,
            "p_tuning": peft.PromptEncoderConfig,
        }
        return prompt[adapt.method](task_type="CAUSAL_LM", num_virtual_tokens=adapt.virtual_tokens)
    common: dict[str, Any] = {"task_type": "CAUSAL_LM", "target_modules": targets}
    if adapt.method == "ia3":
        return peft.IA3Config(**common, feedforward_modules=[])
    if adapt.method == "vera":
        return peft.VeraConfig(**common, r=adapt.rank, vera_dropout=adapt.dropout)
    if adapt.method == "oft":
        return peft.OFTConfig(**common, r=0, oft_block_size=adapt.rank, module_dropout=adapt.dropout)
    variants: dict[str, dict[str, Any]] = {
        "lora": {},
        "dora": {"use_dora": True},
        "rslora": {"use_rslora": True},
        "pissa": {"init_lora_weights": "pissa"},
    }
    alpha = adapt.alpha or 2 * adapt.rank
    return peft.LoraConfig(
        **common, r=adapt.rank, lora_alpha=alpha, lora_dropout=adapt.dropout, **variants[adapt.method]
    )


def plain_state(lm: nn.Module) -> dict[str, Tensor]:
    """The state of a causal LM that PEFT has put adapters into, under its own names and without the adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    tuned = tuple(f"{name}." for name, module in lm.named_modules() if isinstance(module, BaseTunerLayer))
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in lm.state_dict().items()
        if ".base_layer." in name or not name.startswith(tuned)
    }


def trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Named parameters that train."""
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)
