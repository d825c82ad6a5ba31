"""A run that recommends, from Python."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

import sensorium
from sensorium.errors import DataError
from sensorium.jobs.recommend import OpenedRecommender
from sensorium.jobs.serving_parts import make_parts
from sensorium.serving.api import make_app
from sensorium.serving.engine.batching import EngineSettings
from sensorium.serving.settings import Settings
from tests.ring import fit_ring


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenedRecommender:
    model = sensorium.load(fit_ring(tmp_path_factory.mktemp("ring")))
    assert isinstance(model, OpenedRecommender)
    return model


def test_scores_are_the_products_of_all_vectors(opened: OpenedRecommender) -> None:
    """Against NumPy, over the whole catalogue, what was seen and what the rule forbids left out."""
    user = opened.place_of_user["u7"]
    history = opened.history_of([user])
    scores = (opened.model.user_vectors(history) @ opened.model.item_vectors().T)[0].numpy()
    scores[history.items[history.items >= 0]] = -np.inf
    best = np.argsort(-scores)[:5]
    found = opened.recommend(user="u7", top=5)
    assert [one.item for one in found.items] == [opened.names[place] for place in best]
    np.testing.assert_allclose([one.score for one in found.items], scores[best], rtol=1e-5)
    assert found.known and not found.notes


def test_reasons_are_what_is_lost_without_them(opened: OpenedRecommender) -> None:
    history = ["Thing 4", "Thing 5", "Thing 6"]
    first = opened.recommend(history, top=1, because=True).items[0]
    reason = next(one for one in first.reasons if one.kind == "history")

    def margin(titles: list[str]) -> float:
        vectors = opened.model.user_vectors(opened.history_from(titles)) @ opened.model.item_vectors().T
        return float(vectors[0, opened.item(first.item)] - vectors[0].mean())

    without = [title for title in history if title != reason.name]
    assert reason.fall == pytest.approx(margin(history) - margin(without), rel=1e-3)


@pytest.mark.parametrize("form", [list, pd.DataFrame, pa.Table.from_pylist])
def test_rows_of_any_form_get_the_lists_of_their_users(opened: OpenedRecommender, form: type) -> None:
    rows = form([{"who": "u7"}, {"who": "u0"}, {"who": "nobody"}, {"who": None}])
    found = opened.predict(rows, top=4)
    assert found[0].items == opened.recommend(user="u7", top=4).items
    assert [one.known for one in found] == [True, True, False, False]
    assert dataclasses.replace(found[2], notes=[]) == dataclasses.replace(found[3], notes=[])
    assert not any(int(one.item[1:]) % 4 == 3 for one in found[1].items)  # u0 is young: the rule holds


def test_what_was_met_may_come_again_when_asked_for(opened: OpenedRecommender) -> None:
    history = opened.history_of([opened.place_of_user["u7"]]).items[0]
    met = {opened.names[place] for place in history if place >= 0}
    every = opened.recommend(user="u7", top=31, exclude_seen=False).items
    assert len(every) == 31 and met <= {one.item for one in every}
    assert not met & {one.item for one in opened.recommend(user="u7", top=31).items}


def test_bad_calls_are_said(opened: OpenedRecommender) -> None:
    with pytest.raises(DataError, match="say for whom"):
        opened.recommend()
    with pytest.raises(DataError, match="say for whom"):
        opened.recommend(["t1"], user="u1")
    with pytest.raises(DataError, match="one text"):
        opened.recommend("t1; t2")
    with pytest.raises(DataError, match="no column is called who or user"):
        opened.predict([{"customer": "u1"}])
    with pytest.raises(DataError, match="out of range"):
        opened.recommend(user="u1", freshness=float("nan"))


def test_over_http_it_answers_as_from_python(opened: OpenedRecommender) -> None:
    parts = make_parts(opened, EngineSettings())
    client = TestClient(make_app(parts, Settings(name="ring", hosts=("testserver",))), raise_server_exceptions=False)

    def ask(**told: Any) -> Any:
        return client.post("/v1/recommend", json={"model": "ring", **told}).json()

    found = ask(user="u7", top=3, because=True, diversity=0.5)
    expected = opened.recommend(user="u7", top=3, because=True, diversity=0.5).items
    assert [(one["item"], one["title"]) for one in found["data"]] == [(one.item, one.title) for one in expected]
    assert [one["because"] for one in found["data"]] == [
        [dataclasses.asdict(r) for r in one.reasons] for one in expected
    ]
    assert ask(user="nobody")["known"] is False and "no user of this run" in ask(user="nobody")["notes"][0]
    assert ask(history=["thing 4", "t5"])["known"] is True and ask(history=[])["known"] is False
    fresh = [opened.age[opened.item(one["item"])] for one in ask(user="u7", freshness=1, seen=True)["data"]]
    assert fresh == sorted(fresh)
    assert ask(history=["no such thing"])["error"]["code"] == "unknown_item"
