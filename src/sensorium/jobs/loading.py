"""Pretrained parts that cannot be used are said in one line, before anything is computed with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sensorium.errors import RecipeError, SensoriumError, first_line


@contextmanager
def opening(key: str, name: str) -> Iterator[None]:
    """Whatever a library raises while it opens ``model.KEY`` becomes a RecipeError that names it."""
    try:
        yield
    except SensoriumError:
        raise
    except Exception as error:  # a damaged or foreign folder: libraries raise whatever they like
        cause = first_line(error)
        if "trust_remote_code" in str(error):
            cause = "it brings code of its own, which is never run"
        mend = "give an asset's name, a folder with a whole model, or a hub id that can be reached"
        raise RecipeError(f"cannot be opened ({cause})", where=f"model.{key}: {name}", mend=mend) from error


def open_tokenizer(folder: str, key: str) -> Any:
    """The tokenizer of a model's folder or hub id. RecipeError where it has none."""
    from transformers import AutoConfig, AutoTokenizer

    with opening(key, folder):
        AutoConfig.from_pretrained(folder, trust_remote_code=False)  # says more than a tokenizer that is not found
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a damaged or foreign folder: libraries raise whatever they like
        mend = "copy the tokenizer's files beside the model's"
        raise RecipeError("holds no tokenizer that can be read", where=f"model.{key}: {folder}", mend=mend) from error


def check_tokenizer(tokenizer: Any, backbone: nn.Module, name: str) -> None:
    """RecipeError where the tokenizer knows tokens that the GPT does not."""
    known = backbone.get_input_embeddings().num_embeddings  # type: ignore[operator, union-attr]
    if len(tokenizer) > known:
        raise RecipeError(
            f"the tokenizer has {len(tokenizer):,} tokens, the GPT {known:,}",
            where=f"model.backbone: {name}",
            mend="give a folder whose tokenizer is the model's own",
        )


@torch.no_grad()
def check_encoder(kind: str, encoder: nn.Module, name: str, image_size: int) -> None:
    """Encode one blank item, so that a model of another kind, or of another picture size, is refused at once."""
    blank = {
        "image": torch.zeros(1, 3, image_size, image_size),
        "audio": torch.zeros(1, 80, 100) if getattr(encoder, "whisper", False) else torch.zeros(1, 16_000),
        "text": torch.ones(1, 4, dtype=torch.long),
    }[kind]
    try:
        encoder(blank, torch.tensor([blank.shape[-1]]), torch.tensor([1]))
    except Exception as error:  # a damaged or foreign folder: libraries raise whatever they like
        mend = "name a model of that kind"
        if kind == "image":
            mend += ", or set model.image_size to the size it was made for"
        raise RecipeError(
            f"does not encode {'an' if kind[0] in 'ai' else 'a'} {kind} ({first_line(error)})",
            where=f"model.{kind}: {name}",
            mend=mend,
        ) from error
