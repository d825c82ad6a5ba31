"""What simpler methods reach on the same rows: majority, a linear probe and the nearest neighbour.

All learn from training rows alone and choose on validation. They see the same frozen features as the model, one vector
a row (NaN where a modality is missing: it takes the training mean). A method that cannot answer a row says None.

Training rows beyond ``MAX_ROWS`` are drawn from, by seed, for the linear probe and the nearest neighbour.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sensorium.evaluation.predictions import Predictions

MAX_ROWS = 20_000
MAX_ANSWERS = 100  # distinct answers to one question that a linear probe still takes as classes
STRENGTHS = (
    1e-4,
    3e-4,
    1e-3,
    3e-3,
    1e-2,
    3e-2,
    0.1,
    1.0,
    10.0,
)  # C of the probe, weakest fit first: each starts from the last


@dataclass(frozen=True)
class Known:
    """Rows with their answers.

    Attributes:
        targets: n class names, numbers or texts.
        features: (n, width) frozen features, or None where there are none.
        questions: n kinds of question; rows of other kinds teach nothing about this one. None: all of one kind.
    """

    targets: Sequence[Any]
    features: np.ndarray | None = None
    questions: Sequence[Any] | None = None

    def kinds(self) -> np.ndarray:
        """(n,) the question of each row as text."""
        cells = [""] * len(self.targets) if self.questions is None else [str(q) for q in self.questions]
        return np.array(cells, dtype=object)


@dataclass
class Baselines:
    """``predictions``: baseline -> its answers to the test rows; ``notes``: what was chosen and what was left out."""

    predictions: dict[str, Predictions] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def measure_baselines(train: Known, validation: Known, test: Known, like: Predictions, *, seed: int = 0) -> Baselines:
    """Every baseline's answers to the test rows.

    Args:
        train, validation: to learn from and to choose on.
        test: features and questions of the rows of ``like``, in its order; its targets are not looked at.
        like: a system's answers to the same rows, from which rows, targets, classes, groups and clusters are taken.
        seed: of the draw when there are more than ``MAX_ROWS`` training rows.
    """
    found = Baselines()
    if not len(train.targets):
        found.notes.append("No training rows: no baselines.")
        return found
    train, validation = (_drop_unlabelled(known) for known in (train, validation))
    answers: dict[str, list[Any]] = {
        name: [None] * len(like) for name in ("majority", "linear_probe", "nearest_neighbour")
    }
    classes = list(like.classes or [])
    shape = (len(like), len(classes))
    tables = {"majority": np.zeros(shape), "linear_probe": np.zeros(shape)} if like.kind == "category" else {}
    chosen = []
    for question in sorted(set(test.kinds())):
        mine = np.flatnonzero(test.kinds() == question)
        taught, checked = _of_kind(train, question), _of_kind(validation, question)
        if not len(taught.targets):
            found.notes.append(f"No training row asks “{question}”: no baselines for it.")
            continue
        _fill(answers["majority"], mine, [commonest(taught.targets, like.kind)] * len(mine))
        if tables:
            tables["majority"][mine] = shares(taught.targets, classes)
        if taught.features is None or test.features is None:
            continue
        taught = _drawn(taught, seed)
        features = np.asarray(test.features)[mine]
        nearest = nearest_neighbour(taught.features, features)  # type: ignore[arg-type]
        _fill(answers["nearest_neighbour"], mine, [taught.targets[i] for i in nearest.tolist()])
        if like.kind == "number":
            numbers, note = ridge(taught, checked, features)
            _fill(answers["linear_probe"], mine, numbers.tolist())
        else:
            names, table, note = linear_probe(taught, checked, features, limit=None if tables else MAX_ANSWERS)
            if names:
                _fill(answers["linear_probe"], mine, [names[i] for i in table.argmax(1).tolist()])
                if tables:
                    place = {name: i for i, name in enumerate(classes)}
                    for column, name in enumerate(names):
                        if name in place:
                            tables["linear_probe"][mine, place[name]] = table[:, column]
        if note:
            chosen.append(f"{note} for “{question}”" if question else note)
    if train.features is not None and len(train.targets) > MAX_ROWS:
        found.notes.append(
            f"Linear probe and nearest neighbour learn from {MAX_ROWS:,} training rows drawn by seed {seed}."
        )
    if chosen:
        found.notes.append(f"Linear probe (train rows, chosen on validation): {'; '.join(chosen)}.")
    for name, given in answers.items():
        if any(answer is not None for answer in given):
            found.predictions[name] = replace(
                like, predictions=given, probabilities=tables.get(name), likelihoods=None, tokens=None
            )
    return found


def commonest(targets: Sequence[Any], kind: str) -> Any:
    """The most frequent value, ties to the one that sorts first; of numbers the median, which MAE is least for."""
    if kind == "number":
        return float(np.median(np.asarray(targets, dtype=np.float64)))
    return min(Counter(map(str, targets)).items(), key=lambda item: (-item[1], item[0]))[0]


def shares(targets: Sequence[Any], classes: Sequence[str]) -> np.ndarray:
    """(classes,) share of training rows of each class: the majority baseline's probabilities."""
    counts = Counter(map(str, targets))
    found = np.array([counts.get(str(name), 0) for name in classes], dtype=np.float64)
    return found / max(found.sum(), 1.0)


def nearest_neighbour(features_train: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(m,) the training row with the largest cosine to each of ``features`` (m, width), the first among equals.

    Features are standardised on the training rows (n, width) first, so that no loud dimension decides alone.
    """
    known, asked = _standardised(np.asarray(features_train), np.asarray(features))
    known, asked = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (known, asked))
    blocks = [(block @ known.T).argmax(1) for block in np.array_split(asked, max(1, len(asked) // 2048 + 1))]
    return np.concatenate(blocks).astype(np.int64)


def linear_probe(
    train: Known, validation: Known, features: np.ndarray, *, limit: int | None = None
) -> tuple[list[str], np.ndarray, str]:
    """Multinomial logistic regression on standardised features, its C chosen by accuracy on validation.

    Equal accuracies: the smaller log loss. Without validation rows C is 0.01, and the note says so.

    Args:
        train, validation: with features (n, width).
        features: (m, width) rows to answer.
        limit: most distinct training answers to take as classes; None: any number.

    Returns:
        Class names, probabilities (m, classes), and a note; no names where it cannot be fitted.
    """
    from sklearn.linear_model import LogisticRegression

    targets = np.array([str(t) for t in train.targets], dtype=object)
    names = sorted(set(targets.tolist()))
    if limit is not None and len(names) > limit:
        return [], np.zeros((len(features), 0)), ""
    if len(names) == 1:
        return names, np.ones((len(features), 1)), "a single answer"
    number = {name: i for i, name in enumerate(names)}
    x, check, asked = _standardised(train.features, validation.features, features)
    y = np.array([number[t] for t in targets.tolist()])
    y_check = np.array([number.get(str(t), -1) for t in validation.targets], dtype=np.int64)
    strengths = STRENGTHS if len(y_check) and len(check) else (1e-2,)
    best: tuple[tuple[float, float], float, np.ndarray] | None = None
    model = LogisticRegression(max_iter=300, tol=1e-5, warm_start=True)
    for strength in strengths:
        with warnings.catch_warnings():
            # 300 steps from the last C's weights are plenty, and rare classes are no regression.
            warnings.simplefilter("ignore", UserWarning)
            model.set_params(C=strength).fit(x, y)
        merit = (0.0, 0.0)
        if len(strengths) > 1:
            table = model.predict_proba(check)
            right = np.where(y_check >= 0, table[np.arange(len(table)), np.maximum(y_check, 0)], 0.0)
            merit = (float((table.argmax(1) == y_check).mean()), float(np.log(np.maximum(right, 1e-12)).mean()))
        if best is None or merit > best[0]:
            best = (merit, strength, model.predict_proba(asked))
    assert best is not None
    note = f"C = {best[1]:g}" if len(strengths) > 1 else "C = 0.01, not chosen, as there is no validation row"
    return names, best[2].astype(np.float64), note


def ridge(train: Known, validation: Known, features: np.ndarray) -> tuple[np.ndarray, str]:
    """Ridge regression on standardised features, its penalty chosen by squared error on validation.

    Returns:
        Numbers (m,) in the target's unit, and a note.
    """
    from sklearn.linear_model import Ridge

    x, check, asked = _standardised(train.features, validation.features, features)
    y, y_check = (np.asarray(known.targets, dtype=np.float64) for known in (train, validation))
    penalties = [float(p) for p in 10.0 ** np.arange(-2, 7)] if len(y_check) and len(check) else [float(len(y))]
    best: tuple[float, float, np.ndarray] | None = None
    for penalty in penalties:
        model = Ridge(alpha=penalty, solver="cholesky").fit(x.astype(np.float64), y)
        error = float(((model.predict(check) - y_check) ** 2).mean()) if len(penalties) > 1 else 0.0
        if best is None or error < best[0]:
            best = (error, penalty, model.predict(asked))
    assert best is not None
    return best[2], f"ridge penalty {best[1]:g}"


def _standardised(train: Any, *others: Any) -> list[np.ndarray]:
    """All in float32, minus the training mean, by the training deviation; NaN becomes the mean, which is 0."""
    train = np.asarray(train, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value has no mean
        mean, deviation = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    deviation = np.where(deviation > 1e-8, deviation, 1.0)
    empty = np.zeros((0, train.shape[1]), dtype=np.float32)
    tables = [train, *(empty if other is None else np.asarray(other, dtype=np.float32) for other in others)]
    return [np.nan_to_num((table - mean) / deviation, nan=0.0).astype(np.float32) for table in tables]


def _take(known: Known, positions: np.ndarray) -> Known:
    places = positions.tolist()
    return Known(
        [known.targets[i] for i in places],
        None if known.features is None else np.asarray(known.features)[positions],
        None if known.questions is None else [known.questions[i] for i in places],
    )


def _of_kind(known: Known, question: str) -> Known:
    return _take(known, np.flatnonzero(known.kinds() == question))


def _drop_unlabelled(known: Known) -> Known:
    return _take(known, np.array([i for i, t in enumerate(known.targets) if t is not None and t == t], dtype=np.int64))


def _drawn(known: Known, seed: int) -> Known:
    if len(known.targets) <= MAX_ROWS:
        return known
    return _take(known, np.sort(np.random.default_rng(seed).choice(len(known.targets), MAX_ROWS, replace=False)))


def _fill(column: list[Any], positions: np.ndarray, answers: list[Any]) -> None:
    for position, answer in zip(positions.tolist(), answers, strict=True):
        column[position] = answer
