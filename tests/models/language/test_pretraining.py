"""Heads over a language model: what sees what, and what each gives."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sensorium.data.collate import MediaItem, Sequence, collate
from sensorium.models.language.pretraining import MEDIA, Alignment, PretrainingModel
from sensorium.models.language.scratch import build
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import ScratchRecipe

TOKENIZER = train_tokenizer(["a few words"], 270, ["<pad>", "<s>", "</s>", "<mask>"])
DOCUMENTS = [[1, 20, 21, 22, 2], [1, 30, 2], [1, 40, 41, 42, 43, 2]]
ARCHITECTURES = ["gpt2", "llama", "bert"]


def model_of(
    architecture: str, *objectives: str, width: int | None = None, attention: str = "sdpa"
) -> PretrainingModel:
    torch.manual_seed(0)
    recipe = ScratchRecipe(architecture=architecture, width=16, layers=2, heads=2, window=20, vocabulary=270)
    backbone = build(recipe, TOKENIZER)
    backbone.set_attn_implementation(attention)
    alignment = None if width is None else Alignment("picture", width, 1.0)
    return PretrainingModel(backbone, objectives, alignment).eval()


def document(ids: list[int], **more: object) -> Sequence:
    return Sequence(ids, list(range(len(ids))), [0] * len(ids), [-1], [], [0], **more)  # type: ignore[arg-type]


def window(documents: list[list[int]]) -> Sequence:
    ids = [token for one in documents for token in one]
    positions = [place for one in documents for place in range(len(one))]
    branches = [number for number, one in enumerate(documents) for _ in one]
    return Sequence(ids, positions, branches, [-1] * len(documents), [], [0])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_packed_document_is_read_as_if_alone(architecture: str, attention: str) -> None:
    model = model_of(architecture, "masked_lm", attention=attention)
    together = model.hidden_states(collate([window(DOCUMENTS), document(DOCUMENTS[0])]))[0]
    at = 0
    for ids in DOCUMENTS:
        alone = model.backbone.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        assert torch.allclose(together[at : at + len(ids)], alone, atol=1e-5)
        at += len(ids)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_changes_nothing(architecture: str) -> None:
    model = model_of(architecture, "masked_lm")
    short, long = document(DOCUMENTS[1]), document(DOCUMENTS[2])
    both = model.hidden_states(collate([short, long]))
    assert torch.allclose(both[0, :3], model.hidden_states(collate([short]))[0], atol=1e-5)
    assert torch.allclose(
        model.reading(collate([short, long]))[0], model.hidden_states(collate([short]))[0].mean(0), atol=1e-5
    )


def test_logits_are_those_of_the_language_model_at_the_places_asked_for() -> None:
    for architecture in ARCHITECTURES:
        model = model_of(architecture, "masked_lm")
        asked = document(DOCUMENTS[0], sources=[1, 3], answers=[5, 6])
        found = model({"masked_lm": collate([asked])})["masked_lm"]
        whole = model.backbone(input_ids=torch.tensor([DOCUMENTS[0]])).logits[0]
        assert torch.allclose(found, whole[[1, 3]], atol=1e-5)


def test_both_sentences_of_a_pair_see_each_other_where_the_model_reads_both_ways() -> None:
    model = model_of("bert", "next_sentence")
    first, second = DOCUMENTS[0], DOCUMENTS[1][1:]
    ids = first + second
    pair = Sequence(ids, list(range(len(ids))), [0] * len(first) + [1] * len(second), [-1, 0], [], [0], targets=[1.0])
    found = model({"next_sentence": collate([pair])})["next_sentence"]
    segments = torch.tensor([[0] * len(first) + [1] * len(second)])
    state = model.backbone.base_model(input_ids=torch.tensor([ids]), token_type_ids=segments).last_hidden_state
    assert torch.allclose(found, model.follows(state[:, 0])[:, 0], atol=1e-5)


@dataclass
class Shown:
    left: Tensor
    right: Tensor
    matches: Tensor


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pair_is_read_with_the_medium_before_the_text(architecture: str) -> None:
    model = model_of(architecture, "contrastive", "matching", width=6)
    features = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(1))
    rows = [
        Sequence(ids, list(range(len(ids))), [0] * len(ids), [-1], [MediaItem("picture", f, 1, cached=True)], [i])
        for i, (ids, f) in enumerate(zip(DOCUMENTS[:2], features, strict=True))
    ]
    for i, row in enumerate(rows):
        row.targets = [float(i)]
    batch = collate(rows)
    shown = Shown(torch.tensor([1, 0]), torch.tensor([0, 1]), torch.tensor([0.0, 0.0]))
    found = model({MEDIA: batch}, lambda vectors, groups: shown)
    assert found["contrastive"].texts.shape == found["contrastive"].media.shape == (2, 16)
    first = model.media_token(model.media(features[:1], torch.tensor([True]))[:, 0])
    embedded = model.backbone.get_input_embeddings()(torch.tensor([DOCUMENTS[1]]))
    state = model.backbone.base_model(inputs_embeds=torch.cat([first[:, None], embedded], 1)).last_hidden_state
    assert torch.allclose(found["matching"].log_odds[0], model.matches(state.mean(1))[0, 0], atol=1e-5)
