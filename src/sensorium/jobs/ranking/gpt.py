"""A pretrained GPT for ranking: opened, checked, read by, and adapted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoConfig

from sensorium.errors import RecipeError
from sensorium.jobs.loading import check_tokenizer, open_tokenizer, opening
from sensorium.jobs.parts import choose_speed, resolve
from sensorium.models.backbone import adapt_backbone, load_backbone
from sensorium.models.ranking.sequence_reader import PretrainedReader, entry_of, freeze_unused, stack_of, text_states
from sensorium.recipe import Recipe
from sensorium.training.precision import Choice

SMALL = "small"
SAMPLE = 64  # texts by which the size of the GPT's stream is taken
KEY = "recommender.backbone"


@dataclass
class RankingGPT:
    """A causal LM, not yet adapted.

    Attributes:
        folder: of its weights, or a hub id; entry: the layer that items enter at.
    """

    model: Any
    tokenizer: Any
    folder: Path
    entry: int
    choice: Choice
    tokens: int

    def read(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """``text_states`` of texts that are not empty."""
        found = self.tokenizer(texts, add_special_tokens=False, truncation=True, max_length=self.tokens)["input_ids"]
        return text_states(self.model, [ids or [0] for ids in found], self.entry)

    def reader(self, recipe: Recipe, texts: list[str]) -> PretrainedReader:
        """What reads histories, adapted as the recipe says; what enters has the size that ``texts`` have there."""
        asked = recipe.recommender
        assert asked is not None
        size = self.read(texts)[1].median() if texts else None
        gpt = adapt_backbone(self.model, recipe.model.adapt)
        freeze_unused(gpt, self.entry)
        reader = PretrainedReader(gpt, asked.width, self.entry, asked.dropout)
        if size is not None:
            reader.gain.copy_(size)
        return reader


def check_gpt(recipe: Recipe) -> None:
    """RecipeError where the recipe's pretrained GPT cannot be found, or cannot read as many items as are asked for."""
    asked = recipe.recommender
    assert asked is not None
    with _named(asked.backbone):
        folder = resolve(asked.backbone, "backbone")
        with opening("backbone", asked.backbone):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    entry_of(recipe.model.fusion, recipe.model.adapt, config.num_hidden_layers)
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and asked.history + 1 > most:
        what = f"{asked.backbone} reads {most:,} positions, and a history takes {asked.history + 1:,}"
        raise RecipeError(what, where="recommender.history", mend=f"at most {most - 1:,}")


def open_gpt(recipe: Recipe) -> RankingGPT:
    """The recipe's pretrained GPT, precision and attention by what is fastest here unless the recipe says."""
    asked = recipe.recommender
    assert asked is not None
    with _named(asked.backbone):
        folder = resolve(asked.backbone, "backbone")
        with opening("backbone", asked.backbone):
            choice = choose_speed(recipe, folder)
        model = load_backbone(folder, dtype=choice.dtype, attention=choice.attention).eval()
        tokenizer = open_tokenizer(folder, "backbone")
        check_tokenizer(tokenizer, model, asked.backbone)
    stack_of(model)
    entry = entry_of(recipe.model.fusion, recipe.model.adapt, model.config.num_hidden_layers)
    return RankingGPT(model, tokenizer, Path(folder), entry, choice, recipe.model.max_text_tokens)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What is wrong with a GPT is said of the key that names this one."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(error.what, where=f"{KEY}: {name}", mend=error.mend) from error
