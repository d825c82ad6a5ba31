"""The names of all metrics, as they stand in ``metrics.json``, with their units and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["category", "number", "text"]


@dataclass(frozen=True)
class Metric:
    """What a metric's name means.

    ``unit``: "share" lies in 0 … 1 and is shown in %; "points" lies in 0 … 100; "target" is in the target's own
    unit; "nats" are natural-log units; "plain" has none.
    """

    label: str
    higher_is_better: bool
    unit: Literal["share", "points", "target", "nats", "plain"]
    meaning: str


METRICS: dict[str, Metric] = {
    # a category
    "accuracy": Metric("accuracy", True, "share", "rows whose likeliest class is the right one"),
    "balanced_accuracy": Metric("balanced accuracy", True, "share", "recall of each class that occurs, averaged"),
    "precision_macro": Metric(
        "precision (macro)", True, "share", "right among those named a class, averaged over classes"
    ),
    "recall_macro": Metric("recall (macro)", True, "share", "found among those of a class, averaged over classes"),
    "f1_macro": Metric("F1 (macro)", True, "share", "harmonic mean of precision and recall, averaged over classes"),
    "calibration_error": Metric("calibration error", False, "share", "gap between confidence and accuracy, 15 bins"),
    # a number
    "mae": Metric("mean abs. error", False, "target", "mean absolute error"),
    "rmse": Metric("RMSE", False, "target", "root of the mean squared error"),
    "r2": Metric("R²", True, "plain", "share of the variance explained; 0 for always saying the mean"),
    # text
    "exact_match": Metric("exact match", True, "share", "answers equal but for case, spaces and the final full stop"),
    "token_f1": Metric("token F1", True, "share", "words shared with the right answer (SQuAD), averaged over rows"),
    "chrf": Metric("chrF", True, "points", "character n-grams shared with the right answers, whole corpus"),
    "log_likelihood": Metric("log-likelihood", True, "nats", "mean log P of a token of the right answer"),
    "perplexity": Metric("perplexity", False, "plain", "exp of minus the log-likelihood"),
}

PRIMARY: dict[str, str] = {"category": "accuracy", "number": "mae", "text": "exact_match"}
"""The metric that a verdict speaks of first, by kind of target."""
