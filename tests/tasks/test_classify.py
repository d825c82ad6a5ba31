"""Classes and numbers: answers in order, probabilities that are some, numbers in the target's own units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.data.collate import collate
from sensorium.data.rows import Example
from sensorium.tasks.classify import Classify, balanced_weights
from tests.tiny_models import COLOURS, MIXED, ListFeed, mixed_rows, model_of, processor_of

FUSIONS = [
    {"kind": "tokens", "from_layer": 0},
    {"kind": "cross_attention", "from_layer": 1},
    {"kind": "concat"},
    {"kind": "weighted"},
    {"kind": "attention"},
]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_answers_are_the_likeliest_classes_row_by_row(fusion: dict) -> None:
    rows = mixed_rows(7, missing=True)
    processor = processor_of(MIXED, rows=mixed_rows(6), task="classify", classes=list(COLOURS), fusion=fusion)
    model, task = model_of(processor), Classify(processor.settings)
    order = [4, 0, 6, 2, 5, 1, 3]
    finished: list[int] = []
    answers = task.predict(model, ListFeed(processor, rows), order, finished.append)
    assert answers.rows.tolist() == order and sum(finished) == 7 and answers.tokens.tolist() == [1] * 7
    assert answers.targets == [rows[i].target for i in order]
    assert answers.probabilities is not None
    np.testing.assert_allclose(answers.probabilities.sum(1), 1, atol=1e-5)
    for i, row in enumerate(order):
        with torch.no_grad():
            alone = model(collate([processor.sequence([rows[row]])])).softmax(1)[0].numpy()
        np.testing.assert_allclose(answers.probabilities[i], alone, atol=1e-5)
        assert answers.predictions[i] == COLOURS[int(alone.argmax())]
        assert answers.confidence[i] == pytest.approx(alone.max(), abs=1e-5)
        right = alone[COLOURS.index(rows[row].target)]
        assert answers.likelihoods[i] == pytest.approx(np.log(right), abs=1e-4)


def test_unknown_targets_have_no_likelihood_and_are_answered() -> None:
    rows = [Example(i, mixed_rows(1)[0].inputs, target) for i, target in enumerate(["purple", None, "red"])]
    processor = processor_of(MIXED, rows=mixed_rows(6), task="classify", classes=list(COLOURS))
    answers = Classify(processor.settings).predict(model_of(processor), ListFeed(processor, rows), [0, 1, 2])
    assert np.isnan(answers.likelihoods).tolist() == [True, True, False]
    assert len(answers.predictions) == 3 and set(answers.predictions) <= set(COLOURS)


def test_no_rows_have_no_answers() -> None:
    for classes in (list(COLOURS), None):
        processor = processor_of(MIXED, rows=mixed_rows(6), task="classify", classes=classes)
        answers = Classify(processor.settings).predict(model_of(processor), ListFeed(processor, []), [])
        assert answers.predictions == [] and len(answers.rows) == len(answers.confidence) == 0


def test_numbers_are_answered_in_the_target_s_units() -> None:
    rows = mixed_rows(4, target="number")
    processor = processor_of(MIXED, rows=rows, task="classify", target_mean=1500.0, target_scale=250.0)
    model, task = model_of(processor), Classify(processor.settings)
    answers = task.predict(model, ListFeed(processor, rows), [3, 1])
    with torch.no_grad():
        standard = [model(collate([processor.sequence([rows[i]])])).item() for i in (3, 1)]
    assert answers.predictions == pytest.approx([1500 + 250 * z for z in standard], abs=1e-2)
    assert answers.targets == [3.0, 1.0] and answers.probabilities is None and np.isnan(answers.confidence).all()
    assert task.measure == ("mae", False)
    loss = task.loss(model, collate([processor.sequence([rows[3]])]))
    assert loss.count == 1 and loss.total.item() == pytest.approx(0.5 * (standard[0] - (3 - 1500) / 250) ** 2, rel=1e-4)


def test_balanced_weights_weigh_the_loss() -> None:
    rows, counts = mixed_rows(4), np.array([10, 20, 5])
    processor = processor_of(MIXED, rows=rows, task="classify", classes=list(COLOURS))
    model = model_of(processor)
    weights = balanced_weights(counts)
    for row in rows:
        batch = collate([processor.sequence([row])])
        plain = Classify(processor.settings).loss(model, batch)
        weighed = Classify(processor.settings, counts=counts).loss(model, batch)
        weight = weights[COLOURS.index(row.target)]
        assert weighed.total.item() == pytest.approx(plain.total.item() * float(weight), rel=1e-4)
        assert weighed.count == plain.count == 1
