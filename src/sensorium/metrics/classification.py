"""Accuracy, balanced accuracy, precision, recall, F1 and calibration of named classes.

Macro means run over the classes that occur among targets or predictions, and a class that is never predicted has
precision 0, as in scikit-learn's ``average="macro", zero_division=0``. Balanced accuracy runs over the classes that
occur among targets. In a bootstrap resample, the classes that occur are those of the resample.

A target of -1 is a class that the model does not know: such a row is always wrong and counts as one more class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sensorium.metrics.statistic import Statistic, divide, mean, same_length, values

BINS = 15
UNKNOWN = "(unknown)"


def summary(targets: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Every metric of this file; targets (n,) int, -1 for an unknown class; probabilities (n, classes)."""
    return values(statistics(targets, probabilities=probabilities))


def scores(targets: ArrayLike, probabilities: ArrayLike) -> dict[str, np.ndarray]:
    """Per row (n,): ``correct`` 0 or 1, ``confidence`` in the answer, ``log_likelihood`` of the right class in nats.

    The likelihood of an unknown class is floored at that of probability 1e-12, and so is an underflowing one.
    """
    targets, table = np.asarray(targets, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    same_length(targets=targets, probabilities=table)
    right = np.where(targets >= 0, table[np.arange(len(table)), np.maximum(targets, 0)], 0.0)
    return {
        "correct": (table.argmax(1) == targets).astype(np.float64),
        "confidence": table.max(1),
        "log_likelihood": np.log(np.maximum(right, 1e-12)),
    }


def statistics(
    targets: ArrayLike, predicted: ArrayLike | None = None, *, probabilities: ArrayLike | None = None
) -> dict[str, Statistic]:
    """Every metric as a statistic over rows.

    Args:
        targets: (n,) int; -1 for an unknown class.
        predicted: (n,) int; the likeliest class by default.
        probabilities: (n, classes); without them there is no calibration error.

    Raises:
        ValueError: no rows, neither predictions nor probabilities, or lengths that differ.
    """
    targets = np.asarray(targets, dtype=np.int64)
    table = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    if predicted is None:
        if table is None:
            raise ValueError("give predictions or probabilities")
        predicted = table.argmax(1)
    predicted = np.asarray(predicted, dtype=np.int64)
    same_length(targets=targets, predicted=predicted, probabilities=table)
    # Only classes that occur have columns: what never occurs adds nothing to any sum.
    occurring = np.union1d(targets, predicted)
    actual = (targets[:, None] == occurring).astype(np.float64)
    guessed = (predicted[:, None] == occurring).astype(np.float64)
    counts = np.concatenate([actual * guessed, actual, guessed], axis=1)  # (n, 3 · classes): hits, actual, guessed
    correct = (targets == predicted).astype(np.float64)
    found = {
        "accuracy": mean(correct),
        "balanced_accuracy": Statistic(counts, _balanced_accuracy),
        "precision_macro": Statistic(counts, _precision),
        "recall_macro": Statistic(counts, _recall),
        "f1_macro": Statistic(counts, _f1),
    }
    if table is not None:
        found["calibration_error"] = _calibration_error(correct, table[np.arange(len(table)), np.maximum(predicted, 0)])
    return found


def confusion(targets: ArrayLike, predicted: ArrayLike, classes: int) -> np.ndarray:
    """(rows, classes) int64 counts, a row a right class; one more row, the last, where targets of -1 occur."""
    targets, predicted = np.asarray(targets, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    rows = np.where(targets < 0, classes, targets)
    height = classes + int((targets < 0).any())
    known = (predicted >= 0) & (predicted < classes)
    return np.bincount(rows[known] * classes + predicted[known], minlength=height * classes).reshape(height, classes)


def per_class(targets: ArrayLike, predicted: ArrayLike, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each class that occurs; 0 where a share has nothing to divide by."""
    from sklearn.metrics import precision_recall_fscore_support

    targets, predicted = np.asarray(targets, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    occurring = np.union1d(targets, predicted)
    table = precision_recall_fscore_support(targets, predicted, labels=occurring, average=None, zero_division=0)
    return {
        UNKNOWN if label < 0 else classes[label]: {
            "precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)
        }
        for label, precision, recall, f1, support in zip(occurring, *table)
        if label >= -1
    }  # fmt: skip


def _thirds(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hits, actual, guessed = np.split(sums, 3, axis=-1)
    return hits, actual, guessed


def _over_classes(per_class: np.ndarray, occurs: np.ndarray) -> np.ndarray:
    return divide((per_class * occurs).sum(-1), occurs.sum(-1))


def _balanced_accuracy(sums: np.ndarray) -> np.ndarray:
    hits, actual, _ = _thirds(sums)
    return _over_classes(divide(hits, actual), actual > 0)


def _precision(sums: np.ndarray) -> np.ndarray:
    hits, actual, guessed = _thirds(sums)
    return _over_classes(divide(hits, guessed), actual + guessed > 0)


def _recall(sums: np.ndarray) -> np.ndarray:
    hits, actual, guessed = _thirds(sums)
    return _over_classes(divide(hits, actual), actual + guessed > 0)


def _f1(sums: np.ndarray) -> np.ndarray:
    hits, actual, guessed = _thirds(sums)
    return _over_classes(divide(2 * hits, actual + guessed), actual + guessed > 0)


def _calibration_error(correct: np.ndarray, confidence: np.ndarray) -> Statistic:
    """ECE = Σ_b n_b / n · |accuracy_b − confidence_b| over 15 equal bins ((b − 1) / 15, b / 15] (Guo et al. 2017).

    Both arguments (n,). As n_b cancels, a bin's part is |Σ confidence − Σ correct| over its rows, by n.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    rows = np.zeros((len(correct), BINS + 1))
    rows[np.arange(len(correct)), bins] = confidence - correct
    rows[:, BINS] = 1.0
    return Statistic(rows, lambda sums: divide(np.abs(sums[..., :BINS]).sum(-1), sums[..., BINS]))
