"""Objectives put together: which go with which model, what a unit teaches, and what their sum is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sensorium.data.text.infilling import infill
from sensorium.data.text.masking import Vocabulary, hide, sentinel_names
from sensorium.data.text.packing import Window
from sensorium.errors import RecipeError
from sensorium.models.language.pretraining import MEDIA, Aligned, Alignment, PretrainingModel
from sensorium.models.language.scratch import build
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import MaskingRecipe, PretrainingRecipe, ScratchRecipe
from sensorium.tasks.pretrain import (
    Item,
    Pretrain,
    captioned,
    check_objectives,
    filling,
    following,
    foretelling,
    naming,
)

TOKENIZER = train_tokenizer(["a few words"], 300, ["<pad>", "<s>", "</s>", "<mask>", *sentinel_names(9)])
MASKING = MaskingRecipe(share=0.3)
VOCABULARY = Vocabulary.of(TOKENIZER, MASKING)
DOCUMENTS = [np.array([1, *range(40, 52), 2]), np.array([1, 60, 61, 2])]


def window() -> Window:
    return Window(
        np.concatenate(DOCUMENTS),
        np.concatenate([np.arange(len(one)) for one in DOCUMENTS]),
        np.repeat([0, 1], [len(one) for one in DOCUMENTS]),
        np.array([7, 3]),
    )


def model_of(architecture: str, *objectives: str) -> PretrainingModel:
    torch.manual_seed(0)
    recipe = ScratchRecipe(architecture=architecture, width=16, layers=1, heads=2, window=40, vocabulary=300, dropout=0)
    return PretrainingModel(build(recipe, TOKENIZER), objectives, Alignment("picture", 4, 1.0)).eval()


# -- what goes with what ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "architecture", "said"),
    [
        (
            "causal_lm",
            "bert",
            "bert cannot carry causal_lm: .*causal_lm goes with gpt2, llama; bert carries masked_lm, ",
        ),
        (
            "contrastive",
            "encoder_decoder",
            "encoder_decoder cannot carry contrastive: .*contrastive goes with gpt2, llama, bert$",
        ),
    ],
)
def test_a_pair_that_makes_no_sense_is_refused(objective: Any, architecture: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_objectives(PretrainingRecipe(objectives={objective: 1.0}), architecture)


def test_pretrained_models_of_other_names_are_taken_for_causal_ones() -> None:
    check_objectives(PretrainingRecipe(objectives={"causal_lm": 1.0, "masked_lm": 1.0, "matching": 1.0}), "qwen2")


# -- sequences -------------------------------------------------------------------------------------


def test_every_token_but_a_documents_first_is_foretold_once() -> None:
    made = foretelling(window(), 5)
    assert made.rows == [5] and made.answers_count == 2
    taught = [(made.branches[place], answer) for place, answer in zip(made.sources, made.answers, strict=True)]
    assert taught == [(0, int(token)) for token in DOCUMENTS[0][1:]] + [(1, int(token)) for token in DOCUMENTS[1][1:]]
    assert made.owners == [owner for owner, _ in taught]
    assert all(made.ids[place + 1] == answer for place, answer in zip(made.sources, made.answers, strict=True))


def test_hidden_tokens_are_named_in_their_places() -> None:
    packed = window()
    hidden = hide(packed.ids, VOCABULARY, MASKING, np.random.default_rng(0))
    made = naming(packed, hidden, 0)
    assert made.answers == packed.ids[made.sources].tolist() and len(made.answers) == len(hidden.places) > 0
    assert made.owners == packed.branches[hidden.places].tolist()


def test_documents_that_would_not_fit_are_left_out_of_infilling() -> None:
    rng = np.random.default_rng(0)
    parts = [infill(ids, VOCABULARY, MASKING, rng) for ids in (*DOCUMENTS, DOCUMENTS[0])]
    sizes = [len(part.ids) for part in parts]
    made = filling(parts, sum(sizes) - 1, 0)
    assert made.answers_count == 2 and len(made.ids) == sum(sizes[:2])
    assert made.positions == [*range(sizes[0]), *range(sizes[1])]
    answers = np.concatenate([part.answers for part in parts[:2]])
    assert made.answers == answers.tolist() and made.parents == [-1, -1]


def test_a_second_sentence_is_foretold_from_the_first_on_a_causal_model_alone() -> None:
    first, second = DOCUMENTS[1][:3], np.array([70, 71, 2])
    made = following(first, second, True, causal=True, row=4)
    assert made.answers == second.tolist() and made.sources == [2, 3, 4] and made.targets == [1.0]
    judged = following(first, second, False, causal=False, row=4)
    assert judged.sources == [] and judged.targets == [0.0] and judged.branches == [0, 0, 0, 1, 1, 1]


# -- losses ----------------------------------------------------------------------------------------


def items() -> list[Item]:
    rng = np.random.default_rng(1)
    features = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    made = [Item(i, {MEDIA: captioned(DOCUMENTS[i % 2], features[i : i + 1], "picture", i % 2, i)}) for i in range(3)]
    made[0].sequences["causal_lm"] = foretelling(window(), 0)
    made[1].sequences["masked_lm"] = filling([infill(DOCUMENTS[0], VOCABULARY, MASKING, rng)], 40, 1)
    return made


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_the_sum_of_weighted_means_equals_numpys() -> None:
    """Language model on one unit of three, infilling on another, contrast on all: each mean by its weight and share."""
    model = model_of("gpt2", "causal_lm", "masked_lm", "contrastive")
    weights = {"causal_lm": 1.0, "masked_lm": 0.5, "contrastive": 2.0}
    task = Pretrain(weights, 0, shares={"causal_lm": 1 / 3, "masked_lm": 2 / 3, MEDIA: 1.0})
    batch = task.collate(items())
    found = task.loss(model, batch)
    expected = 0.0
    for name, drawn in (("causal_lm", 1.0), ("masked_lm", 0.5)):
        logits = model({name: batch.parts[name]})[name].detach().numpy()
        answers = batch.parts[name].answers.numpy()
        expected += weights[name] * drawn * -log_softmax(logits)[np.arange(len(answers)), answers].mean()
    vectors: Aligned = model({MEDIA: batch.parts[MEDIA]})["contrastive"]
    left, right = (v.detach().numpy() for v in (vectors.texts, vectors.media))
    left, right = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (left, right))
    scores = np.exp(1.0) * left @ right.T
    scores[0, 2] = scores[2, 0] = -np.inf  # rows 0 and 2 have one text: no negatives of each other
    nll = -(np.diagonal(log_softmax(scores)) + np.diagonal(log_softmax(scores.T))) / 2
    expected += 2.0 * nll.mean()
    assert found.count == 3 and float(found.total.detach()) / 3 == pytest.approx(expected, rel=1e-5)


def test_one_objective_is_summed_over_what_it_supervises() -> None:
    model, task = model_of("gpt2", "causal_lm"), Pretrain({"causal_lm": 2.0})
    batch = task.collate([Item(0, {"causal_lm": foretelling(window(), 0)})])
    logits = model(batch.parts)["causal_lm"]
    found = task.loss(model, batch)
    summed = torch.nn.functional.cross_entropy(logits, batch.parts["causal_lm"].answers, reduction="sum")
    assert found.count == 16 and torch.allclose(found.total, 2 * summed)


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_next_sentence_is_a_likelihood_or_a_judgement(architecture: str) -> None:
    model, causal = model_of(architecture, "next_sentence"), architecture == "gpt2"
    first, second = DOCUMENTS[1], np.array([70, 71, 2])
    task = Pretrain({"next_sentence": 1.0})
    pairs = [following(first, second, follows, causal, row) for row, follows in enumerate((True, causal))]
    batch = task.collate([Item(i, {"next_sentence": pair}) for i, pair in enumerate(pairs)])
    found = task.loss(model, batch)
    output = model(batch.parts)["next_sentence"].detach().numpy().astype(np.float64)
    if causal:
        answers = batch.parts["next_sentence"].answers.numpy()
        expected = -log_softmax(output)[np.arange(len(answers)), answers].sum()
    else:
        expected = np.log1p(np.exp(-output[0])) + np.log1p(np.exp(output[1]))
    assert found.count == 2 and float(found.total.detach()) == pytest.approx(expected, rel=1e-5)


def test_every_objective_trains_what_it_reads() -> None:
    model = model_of("gpt2", "causal_lm", "masked_lm", "contrastive", "matching")
    task = Pretrain({"causal_lm": 1.0, "masked_lm": 1.0, "contrastive": 1.0, "matching": 1.0})
    torch.manual_seed(0)
    task.loss(model, task.collate(items())).total.backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert idle == {"media.missing"}  # every row has its medium
