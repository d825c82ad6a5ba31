"""``/v1/recommend``: what is asked reaches the run, and what is answered."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from sensorium.serving.api import make_app
from sensorium.serving.service import Parts
from sensorium.serving.settings import Settings
from tests.serving.fake import FakeRecommend, app_of


def client_of(parts: Parts | None = None) -> TestClient:
    gate = app_of() if parts is None else make_app(parts, Settings(name="tiny", hosts=("testserver",)))
    return TestClient(gate, raise_server_exceptions=False)


def ask(client: TestClient, **told: Any) -> Any:
    return client.post("/v1/recommend", json={"model": "tiny", **told})


def test_a_user_and_a_visitor_get_lists() -> None:
    found = ask(client_of(), user="u1", top=2).json()
    assert found == {
        "object": "list",
        "data": [
            {"index": 0, "item": "t0", "title": "Thing 0", "score": 1.0},
            {"index": 1, "item": "t1", "title": "Thing 1", "score": 0.5},
        ],
        "model": "tiny",
        "known": True,
        "notes": [],
    }
    reasons = ask(client_of(), history=["t1", "t2"], because=True).json()["data"][0]["because"]
    assert reasons == [{"kind": "history", "name": "Thing 1", "fall": 0.5}]


def test_null_is_as_good_as_nothing() -> None:
    found = ask(client_of(), user="u1", history=None, top=None, because=None, diversity=None, freshness=None, seen=None)
    assert found.status_code == 200 and len(found.json()["data"]) == 10


def test_ids_may_be_numbers() -> None:
    assert ask(client_of(), user=1).json()["known"] is True


def test_a_stranger_is_answered_and_told() -> None:
    found = ask(client_of(), user="who?")
    assert found.status_code == 200
    assert found.json()["known"] is False and found.json()["notes"]


def test_an_unknown_item_is_named_by_its_place_alone() -> None:
    found = ask(client_of(), history=["t1", "secret", "t2", "hidden"])
    error = found.json()["error"]
    assert (found.status_code, error["param"], error["code"]) == (400, "history.1", "unknown_item")
    assert "1 others" in error["message"] and "secret" not in found.text


def test_freshness_needs_dates() -> None:
    undated = FakeRecommend()
    undated.dated = False
    found = ask(client_of(Parts(recommend=undated)), user="u1", freshness=0.5)
    assert (found.status_code, found.json()["error"]["param"]) == (400, "freshness")


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/responses", {"input": "x"}),
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/classify", {"input": {"x": 1}}),
    ],
)
def test_a_run_that_recommends_refuses_other_routes_by_name(route: str, body: dict[str, Any]) -> None:
    found = client_of(Parts(recommend=FakeRecommend())).post(route, json={"model": "tiny", **body})
    error = found.json()["error"]
    assert (found.status_code, error["code"]) == (400, "unsupported_model")
    assert error["message"].endswith("; ask /v1/recommend")


def test_other_runs_do_not_recommend() -> None:
    found = ask(client_of(Parts()), user="u1")
    assert (found.status_code, found.json()["error"]["code"]) == (400, "unsupported_model")
    assert "does not recommend" in found.json()["error"]["message"]


def test_it_is_listed() -> None:
    client = client_of(Parts(recommend=FakeRecommend()))
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["tiny"]
