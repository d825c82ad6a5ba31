"""Classification metrics against scikit-learn and torchmetrics, and where nothing occurs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference
from torchmetrics.functional.classification import multiclass_calibration_error

from sensorium.metrics import classification as here
from sensorium.metrics.names import METRICS


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n,) and probabilities (n, classes), often with classes that do not occur."""
    classes, rows = draw(st.integers(2, 7)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, classes, rows), rng.dirichlet(np.full(classes, 0.5), rows)


@given(cases())
def test_equal_to_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    targets, probabilities = case
    predicted = probabilities.argmax(1)
    found = here.summary(targets, probabilities)
    macro = reference.precision_recall_fscore_support(targets, predicted, average="macro", zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that occur in predictions alone
        balanced = reference.balanced_accuracy_score(targets, predicted)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert [found[n] for n in ("precision_macro", "recall_macro", "f1_macro")] == pytest.approx(list(macro[:3]))
    assert set(found) <= set(METRICS)


@given(cases())
def test_calibration_error_equal_to_torchmetrics(case: tuple[np.ndarray, np.ndarray]) -> None:
    targets, probabilities = case
    expected = multiclass_calibration_error(
        torch.tensor(probabilities), torch.tensor(targets), num_classes=probabilities.shape[1], n_bins=here.BINS
    )
    assert here.summary(targets, probabilities)["calibration_error"] == pytest.approx(float(expected), abs=1e-5)


@given(cases(), st.randoms())
def test_order_of_rows_does_not_matter(case: tuple[np.ndarray, np.ndarray], random) -> None:  # type: ignore[no-untyped-def]
    targets, probabilities = case
    order = list(range(len(targets)))
    random.shuffle(order)
    assert here.summary(targets[order], probabilities[order]) == pytest.approx(here.summary(targets, probabilities))


def test_confidence_of_zero_and_one_has_a_bin() -> None:
    found = here.summary([0, 1], [[1.0, 0.0], [1.0, 0.0]])
    assert found["calibration_error"] == pytest.approx(0.5)


def test_an_unknown_class_is_wrong_and_counts_as_a_class() -> None:
    found = here.summary([0, 1, -1, -1], [[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)


def test_one_class_alone_gives_finite_figures() -> None:
    found = here.summary([1, 1], [[0.1, 0.9], [0.3, 0.7]])
    assert found["accuracy"] == found["f1_macro"] == found["balanced_accuracy"] == 1.0
    assert all(np.isfinite(v) for v in found.values())


def test_confusion_and_per_class() -> None:
    targets, predicted = [0, 0, 1, 2, -1], [0, 1, 1, 0, 2]
    assert here.confusion(targets, predicted, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    table = here.per_class(targets, predicted, ["a", "b", "c"])
    assert table["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert table["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert table[here.UNKNOWN]["support"] == 1


def test_scores_by_row() -> None:
    found = here.scores([0, 1, -1], [[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
    assert found["correct"].tolist() == [1, 0, 0]
    assert found["confidence"].tolist() == [0.75, 0.5, 1.0]
    assert found["log_likelihood"] == pytest.approx(np.log([0.75, 0.5, 1e-12]))


@pytest.mark.parametrize(
    ("targets", "probabilities", "said"),
    [([], np.zeros((0, 2)), "no rows"), ([0, 1], [[0.5, 0.5]], "differ in length")],
)
def test_refuses(targets: list[int], probabilities: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        here.summary(targets, probabilities)  # type: ignore[arg-type]
