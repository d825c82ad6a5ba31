"""The GPT that reads a user's history: a small one from nothing, or the upper layers of a pretrained one with adapters.

Either takes states (batch, steps, width), which steps are real, and their positions, and answers (batch, steps, width).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

from sensorium.data.collate import Sequence, collate
from sensorium.errors import RecipeError
from sensorium.models.backbone import PROMPT_METHODS, Stack, additive, open_stack, tuned_from, visibility
from sensorium.models.fusion import rms
from sensorium.models.ranking.config import RecommenderConfig
from sensorium.recipe import AdaptRecipe, FusionRecipe

TOGETHER = 64  # texts that are read at once


def small_gpt(config: RecommenderConfig) -> GPT2Model:
    """A GPT of ``config``'s sizes, with first weights."""
    return GPT2Model(
        GPT2Config(
            vocab_size=1,
            n_positions=config.history + 1,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            embd_pdrop=config.dropout,
            resid_pdrop=config.dropout,
            attn_pdrop=0.0,  # with it, attention on CPU falls back to its slow form
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
        )
    )


class PretrainedReader(nn.Module):
    """The layers of a causal LM from ``entry`` on, between two projections.

    What enters is brought to the size of the GPT's own stream there, or the first layer's output would drown it.

    Args:
        gpt: a causal LM, wrapped by PEFT or not, that runs layer by layer.
        width: of the states that are read and answered; dropout: on what enters.
    """

    gain: Tensor

    def __init__(self, gpt: nn.Module, width: int, entry: int, dropout: float) -> None:
        super().__init__()
        self.gpt, self.entry = gpt, entry
        inner = int(gpt.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.widen = nn.Linear(width, inner)
        self.narrow = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("gain", torch.ones(()))
        nn.init.normal_(self.widen.weight, std=width**-0.5)
        nn.init.zeros_(self.widen.bias)

    @property
    def stack(self) -> Stack:
        return stack_of(self.gpt)

    def forward(self, hidden: Tensor, real: Tensor, positions: Tensor) -> Tensor:
        """States (batch, steps, width), real (batch, steps) bool, positions (batch, steps) -> (batch, steps, width)."""
        stack = self.stack
        kind = stack.norm.weight.dtype
        inner = (self.dropout(self.widen(hidden)) * self.gain).to(kind)
        if self.entry == 0 and stack.positions is not None:
            inner = inner + stack.positions(positions)
        whole = torch.ones(len(hidden), 1, 1, dtype=torch.bool, device=hidden.device)
        mask = additive(visibility(real.long() - 1, whole), kind)  # type: ignore[arg-type]
        inner = stack.norm(stack.run(inner, mask, positions, self.entry, len(stack.layers)))
        return self.norm(self.narrow(inner.to(hidden.dtype)))


def stack_of(gpt: nn.Module) -> Stack:
    """The GPT's layers. RecipeError where they cannot be run one by one."""
    stack = open_stack(gpt)
    if stack is None:
        what = "items cannot enter this GPT: its layers do not run one by one"
        raise RecipeError(what, where="recommender.backbone", mend="name a GPT built as Llama or GPT-2 is, or small")
    return stack


def entry_of(fusion: FusionRecipe, adapt: AdaptRecipe, depth: int) -> int:
    """The layer of a pretrained GPT that items enter at: as asked, or the lowest that is tuned.

    Raises:
        RecipeError: it is behind the last layer or above a tuned one, or the method has no place in a sequence of items.
    """
    if adapt.method in PROMPT_METHODS:
        what = f"{adapt.method} puts tokens before a text, and items are no text"
        raise RecipeError(what, where="model.adapt.method", mend="set lora")
    tuned = tuned_from(adapt, depth)
    if fusion.from_layer == "auto":
        return depth - max(depth // 3, 1) if adapt.method == "frozen" else tuned
    if fusion.from_layer > min(tuned, depth - 1):
        what = f"items would enter above layer {min(tuned, depth - 1)}, the lowest that is tuned or can be read"
        raise RecipeError(what, where=f"model.fusion.from_layer: {fusion.from_layer}", mend="lower it, or set auto")
    return fusion.from_layer


@torch.inference_mode()
def text_states(gpt: nn.Module, texts: list[list[int]], entry: int) -> tuple[Tensor, Tensor]:
    """What a GPT makes of texts in its layers below ``entry``; at 0, their token embeddings.

    Args:
        texts: token ids of each, at least one.

    Returns:
        means over tokens (texts, width), and each text's root mean square a token (texts,): the size of the stream.
    """
    stack, found, sizes = stack_of(gpt), [], []
    for start in range(0, len(texts), TOGETHER):
        some = texts[start : start + TOGETHER]
        batch = collate([Sequence(ids, list(range(len(ids))), [0] * len(ids), [-1], [], []) for ids in some])
        device = next(gpt.parameters()).device
        batch = batch.to(device)
        hidden = stack.embed(batch.input_ids)
        if entry > 0:
            hidden = stack.enter(batch.input_ids, batch.position_ids)
            mask = additive(visibility(batch.branches, batch.ancestors), hidden.dtype)
            hidden = stack.run(hidden, mask, batch.position_ids, 0, entry)
        real = (batch.branches >= 0).float()
        count = real.sum(1)
        found.append((hidden.float() * real[..., None]).sum(1) / count[:, None])
        sizes.append(torch.stack([rms(row[kept]).median() for row, kept in zip(hidden, real > 0, strict=True)]))
    return torch.cat(found), torch.cat(sizes)


def freeze_unused(gpt: nn.Module, entry: int) -> None:
    """Nothing trains that no item passes: embeddings, layers below ``entry``, the head."""
    stack: Any = stack_of(gpt)
    used = {id(p) for part in (*stack.layers[entry:], stack.norm) for p in part.parameters()}
    for parameter in gpt.parameters():
        if id(parameter) not in used:
            parameter.requires_grad_(False)
