"""Baselines against scikit-learn, and that they say None where they know nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sensorium.evaluation import baselines
from sensorium.evaluation.baselines import Known, linear_probe, measure_baselines, nearest_neighbour, ridge
from sensorium.evaluation.predictions import Predictions

CENTRES = np.random.default_rng(7).normal(size=(3, 20))
CLASSES = ["a", "b", "c"]


def drawn(seed: int, n: int, spread: float = 2.0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    features = CENTRES[truth] * np.linspace(1, 50, 20) + rng.normal(0, spread, (n, 20)) * np.linspace(1, 50, 20)
    return features.astype(np.float32), [CLASSES[i] for i in truth]


def like(targets: list, kind: str = "category", **columns: object) -> Predictions:
    classes = CLASSES if kind == "category" else None
    return Predictions(np.arange(len(targets)), targets, targets, kind, classes=classes, **columns)  # type: ignore[arg-type]


def test_every_baseline_of_a_category() -> None:
    (x, y), (v, w), (t, u) = drawn(0, 300), drawn(1, 60), drawn(2, 80)
    found = measure_baselines(Known(y, x), Known(w, v), Known(u, t), like(u))
    assert set(found.predictions) == {"majority", "linear_probe", "nearest_neighbour"}
    majority, probe = found.predictions["majority"], found.predictions["linear_probe"]
    assert set(majority.predictions) == {max(CLASSES, key=y.count)}
    assert majority.probabilities is not None and majority.probabilities[0] == pytest.approx(
        [y.count(c) / 300 for c in CLASSES]
    )
    assert probe.probabilities is not None and probe.probabilities.sum(1) == pytest.approx(np.ones(80))
    assert list(np.array(CLASSES)[probe.probabilities.argmax(1)]) == list(probe.predictions)
    assert found.predictions["nearest_neighbour"].probabilities is None
    assert probe.right().mean() > majority.right().mean() + 0.2
    assert "C = " in found.notes[-1]


def test_linear_probe_is_scikit_learns_at_the_chosen_strength() -> None:
    (x, y), (v, w), (t, _) = drawn(0, 200), drawn(1, 60), drawn(2, 50)
    names, table, note = linear_probe(Known(y, x), Known(w, v), t)
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=float(note.removeprefix("C = ")), max_iter=1000).fit(scaler.transform(x), y)
    assert names == list(model.classes_)
    assert table == pytest.approx(model.predict_proba(scaler.transform(t)), abs=0.02)


def test_the_strength_is_chosen_on_validation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    (x, y), (v, w), (t, _) = drawn(0, 60, 4.0), drawn(1, 200, 4.0), drawn(2, 10)
    merits = {}
    scaler = StandardScaler().fit(x)
    for strength in baselines.STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000).fit(scaler.transform(x), y)
        merits[strength] = model.score(scaler.transform(v), w)
    chosen = float(linear_probe(Known(y, x), Known(w, v), t)[2].removeprefix("C = "))
    assert merits[chosen] >= max(merits.values()) - 0.02


def test_nearest_neighbour_as_scikit_learn_finds_it() -> None:
    (x, _), (t, _) = drawn(0, 100), drawn(2, 40)
    scaler = StandardScaler().fit(x)
    expected = (
        NearestNeighbors(n_neighbors=1, metric="cosine")
        .fit(scaler.transform(x))
        .kneighbors(scaler.transform(t))[1][:, 0]
    )
    assert nearest_neighbour(x, t).tolist() == expected.tolist()
    assert nearest_neighbour(x, x).tolist() == list(range(100))


def test_ridge_of_a_line() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=5)
    x, v, t = (rng.normal(size=(n, 5)).astype(np.float32) for n in (200, 50, 20))
    numbers, note = ridge(Known(list(x @ weights + 3), x), Known(list(v @ weights + 3), v), t)
    assert numbers == pytest.approx(t @ weights + 3, abs=0.01)
    assert note.startswith("ridge penalty")


def test_every_baseline_of_a_number() -> None:
    rng = np.random.default_rng(0)
    x, v, t = (rng.normal(size=(n, 4)) for n in (50, 20, 10))
    found = measure_baselines(
        Known(list(x[:, 0]), x), Known(list(v[:, 0]), v), Known([0.0] * 10, t), like(list(t[:, 0]), "number")
    )
    assert found.predictions["majority"].predictions == [pytest.approx(np.median(x[:, 0]))] * 10
    assert found.predictions["linear_probe"].predictions == pytest.approx(list(t[:, 0]), abs=0.05)


def test_texts_are_answered_question_by_question() -> None:
    x, y = drawn(0, 120)
    t, u = drawn(2, 30)
    questions = ["which?" if i % 2 else "what is it?" for i in range(120)]
    answers = [name if q == "which?" else f"thing {i}" for i, (name, q) in enumerate(zip(y, questions))]
    asked = ["which?"] * 28 + ["what is it?", "never asked"]
    found = measure_baselines(
        Known(answers, x, questions), Known(answers[:20], x[:20], questions[:20]), Known(u, t, asked), like(u, "text"),
    )  # fmt: skip
    probe, nearest, majority = (found.predictions[n] for n in ("linear_probe", "nearest_neighbour", "majority"))
    assert set(probe.predictions[:28]) <= set(CLASSES)
    assert str(nearest.predictions[28]).startswith("thing")
    assert set(majority.predictions[:28]) < set(CLASSES)
    for system in (probe, nearest, majority):
        assert system.predictions[29] is None and not system.answers_all()
        assert system.likelihoods is None
    assert any("never asked" in note for note in found.notes)


def test_too_many_answers_for_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_ANSWERS", 2)
    x, y = drawn(0, 60)
    found = measure_baselines(Known(y, x), Known(y[:10], x[:10]), Known(y[:5], x[:5]), like(y[:5], "text"))
    assert set(found.predictions) == {"majority", "nearest_neighbour"}


def test_without_features_only_the_majority_is_left() -> None:
    found = measure_baselines(Known(["a", "b", "b"]), Known([]), Known(["a"]), like(["a"]))
    assert set(found.predictions) == {"majority"} and found.predictions["majority"].predictions == ["b"]


def test_edge_cases_of_the_tables() -> None:
    x, y = drawn(0, 30)
    x[3, 2] = x[5, :] = np.nan  # a missing modality
    x[:, 4] = 1.0  # a constant
    found = measure_baselines(Known(y, x), Known([], np.zeros((0, 20))), Known(["a"], x[5:6]), like(["a"]))
    assert all(system.answers_all() for system in found.predictions.values())
    assert any("no validation row" in note for note in found.notes)
    single = measure_baselines(Known(["a", "a"], x[:2]), Known(["a"], x[:1]), Known(["b"], x[:1]), like(["b"]))
    assert single.predictions["linear_probe"].predictions == ["a"]
    assert measure_baselines(Known([]), Known([]), Known(["a"]), like(["a"])).predictions == {}


def test_rows_beyond_the_limit_are_drawn_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_ROWS", 50)
    x, y = drawn(0, 120)
    once, again = (
        measure_baselines(Known(y, x), Known(y[:30], x[:30]), Known(y[:9], x[:9]), like(y[:9]), seed=4)
        for _ in range(2)
    )
    assert any("50 training rows drawn by seed 4" in note for note in once.notes)
    assert once.predictions["nearest_neighbour"].predictions == again.predictions["nearest_neighbour"].predictions
