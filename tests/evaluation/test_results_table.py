"""The table for terminals: its width, and that cells of the data are text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sensorium.evaluation.comparison import compare
from sensorium.evaluation.predictions import Predictions
from sensorium.evaluation.table import everything, results, text


@pytest.mark.parametrize("kind", ["category", "number", "text"])
def test_at_most_eighty_columns_with_all_that_matters(kind: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    columns = {"category": truth.astype(str), "number": truth * 12345.678, "text": truth.astype(str)}
    groups = {
        "question": ["[red]x[/red]\x1b[31m" if i % 2 else "a very long question that goes on and on" for i in range(90)]
    }
    likelihoods = -rng.random(90)
    after = Predictions(
        np.arange(90), columns[kind].tolist(), columns[kind].tolist(), kind, rng.dirichlet(np.ones(3), 90) if kind == "category" else None,  # type: ignore[arg-type]
        ["0", "1", "2"] if kind == "category" else None, likelihoods, np.ones(90), groups,
    )  # fmt: skip
    before = replace(after, predictions=rng.permutation(columns[kind]).tolist())
    simple = dict.fromkeys(("majority", "linear_probe", "nearest_neighbour", "fourth"), before)
    page = text(everything(compare(before, after, simple, task="any", n_resamples=100)))
    assert max(map(len, page.splitlines())) <= 80
    for word in ("before", "after", "change", "p", "majority", "probe", "nearest", "[red]x[/red]"):
        assert word in page
    assert "\x1b" not in page and "…" not in page.split("•")[0]


def test_one_model_alone() -> None:
    after = Predictions(np.arange(3), ["a", "b", "c"], ["a", "b", "x"], "text")
    page = text(results(compare(None, after, task="generate")))
    assert "before" not in page and "66.7" in page
