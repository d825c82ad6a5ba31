"""The application's manners: who may come in, what is told, and what happens when a client or the server leaves."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from sensorium.errors import MediaError
from sensorium.run import sha256_text
from sensorium.serving.door.gate import Gate
from sensorium.serving.errors import of_validation, translate
from sensorium.serving.protocols import Expired
from tests.serving.fake import KEY, FakeEngine, app_of, data_url, png, served

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "What is it?"}]}
WITH_KEY = {"authorization": f"Bearer {KEY}"}
LOCKED = {"key_hashes": {"me": sha256_text(KEY)}}


def client_of(gate: Gate) -> TestClient:
    return TestClient(gate, raise_server_exceptions=False)


@pytest.fixture
def client() -> TestClient:
    return client_of(app_of(**LOCKED))


def error_of(reply: Any) -> dict[str, Any]:
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


# -- keys, hosts, origins ------------------------------------------------------------------------------


def test_every_route_but_the_public_ones_needs_the_key(client: TestClient) -> None:
    """All routes that the application has, whoever added them."""
    gate: Any = client.app
    routes = {
        (route.path.replace("{model}", "tiny"), method) for route in gate.app.routes for method in route.methods or ()
    }
    assert len(routes) > 12
    for path, method in routes:
        reply = client.request(method, path)
        if path in gate.public:
            assert reply.status_code == 200, path
        else:
            assert (reply.status_code, error_of(reply)["code"] if method != "HEAD" else "") == (
                401, "invalid_api_key" if method != "HEAD" else "",
            ), path  # fmt: skip
    assert {path for path, _ in routes} & set(gate.public) >= {"/health", "/ready", "/", "/app.js", "/style.css"}
    assert not any(path.startswith(("/v1", "/metrics", "/openapi")) for path in gate.public)


def test_each_of_several_keys_opens() -> None:
    client = client_of(app_of(key_hashes={name: sha256_text(name * 10) for name in ("one", "two")}))
    for name in ("one", "two"):
        assert client.get("/v1/models", headers={"authorization": f"bearer {name * 10}"}).status_code == 200
    reply = client.get("/v1/models", headers={"authorization": "Bearer onetwo"})
    assert reply.headers["www-authenticate"].startswith("Bearer")


def test_without_keys_everybody_of_this_machine_may_come_in() -> None:
    assert client_of(app_of()).get("/v1/models").status_code == 200


def test_hosts_are_those_listed(client: TestClient) -> None:
    for host in ("localhost", "127.0.0.1:8000", "LOCALHOST:1", "testserver"):
        assert client.get("/health", headers={"host": host}).status_code == 200, host
    for host in (
        "evil.test",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "",
        "[::1",
        "localhost:80:80",
        "a@localhost",
    ):
        assert client.get("/health", headers={"host": host}).status_code == 421, host


def test_no_other_origin_by_default(client: TestClient) -> None:
    for origin in ("https://evil.test", "null", "http://testserver.evil.test", "http://testserver:81"):
        assert client.get("/health", headers={"origin": origin}).status_code == 403, origin
    same = client.get("/health", headers={"origin": "http://testserver"})
    assert same.status_code == 200 and "access-control-allow-origin" not in same.headers
    typed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=typed).status_code == 200, "a link from another page opens ours"


def test_an_allowed_origin_may_call_with_a_key() -> None:
    client = client_of(app_of(**LOCKED, origins=("https://app.test",)))
    asked = {"origin": "https://app.test", "access-control-request-method": "POST"}
    before = client.options("/v1/chat/completions", headers=asked)
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (204, "https://app.test")
    assert "authorization" in before.headers["access-control-allow-headers"]
    reply = client.post("/v1/chat/completions", json=CHAT, headers=WITH_KEY | asked)
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, "https://app.test")
    assert client.post("/v1/chat/completions", json=CHAT, headers=asked).status_code == 401
    assert client.options("/v1/models", headers={"origin": "https://evil.test"}).status_code == 403


# -- the page ------------------------------------------------------------------------------------------


def test_the_page_runs_nothing_but_its_own_files(client: TestClient) -> None:
    reply = client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'" and policy["style-src"] == "'self'"
    assert "unsafe" not in str(policy) and "http" not in str(policy)
    assert policy["frame-ancestors"] == "'none'"
    assert client.get("/app.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/index.html", headers=WITH_KEY).status_code == 404
    assert client.head("/").status_code == 200


# -- what is told --------------------------------------------------------------------------------------


def test_request_ids(client: TestClient) -> None:
    assert client.get("/health", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    made = {
        client.get("/health", headers={"x-request-id": bad}).headers["x-request-id"]
        for bad in ("a b", "", "x" * 65, "a%0d")
    }
    assert len(made) == 4 and all(each.startswith("req_") for each in made)
    assert client.get("/v1/models").headers["x-request-id"].startswith("req_"), "refusals have one too"


def test_logs_hold_no_content(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(error=RuntimeError("a secret in an error"))
    with caplog.at_level(logging.DEBUG):
        client.post(
            "/v1/chat/completions?q=secret", json=CHAT | {"secret": 1}, headers=WITH_KEY | {"x-request-id": "mine"}
        )
        client.get("/secret/path", headers=WITH_KEY)
        client_of(app_of(engine)).post("/v1/chat/completions", json=CHAT)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("sensorium", "uvicorn"))]
    assert any(line.startswith("mine POST /v1/chat/completions 400") and "key=me" in line for line in ours)
    assert any("RuntimeError at" in line for line in ours), "a defect can be found"
    assert not any("secret" in line or KEY in line or "What is it" in line for line in ours)


def test_a_defect_is_500_and_says_nothing() -> None:
    reply = client_of(app_of(FakeEngine(error=RuntimeError("/home/secret")))).post("/v1/chat/completions", json=CHAT)
    assert reply.status_code == 500 and "secret" not in reply.text
    assert error_of(reply)["type"] == "server_error"


def test_metrics(client: TestClient) -> None:
    client.post("/v1/chat/completions", json=CHAT, headers=WITH_KEY)
    client.get("/v1/models/unheard-of", headers=WITH_KEY)
    client.get("/nowhere", headers=WITH_KEY)
    text = client.get("/metrics", headers=WITH_KEY).text
    for line in (
        'sensorium_requests_total{route="/v1/chat/completions",status="200"} 1.0',
        'sensorium_requests_total{route="/v1/models/{model}",status="404"} 1.0',
        'sensorium_requests_total{route="-",status="404"} 1.0',
        "sensorium_answer_tokens_total 3.0",
        "sensorium_prompt_tokens_total 7.0",
        "sensorium_first_token_seconds_count 1.0",
        "sensorium_engine_running 0.0",
    ):
        assert line in text.splitlines()


def test_errors_of_the_deadline_are_not_tried_again() -> None:
    reply = client_of(app_of(FakeEngine(error=Expired()))).post("/v1/chat/completions", json=CHAT)
    assert (reply.status_code, reply.headers["x-should-retry"]) == (408, "false")


def test_a_library_s_words_stay_inside() -> None:
    found = translate(
        MediaError("the picture is damaged (<_io.BytesIO object at 0x7f>)", where="/tmp/x", mend="export it")
    )
    assert found is not None and found.detail.message == "the picture is damaged; export it"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{}]}, "functions"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"whatever": 1}, "whatever"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0.text.text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "nothing"}]}]}, "messages.0.content.0"),
        ({"n": 9}, "n"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}}, "response_format"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(client: TestClient, change: dict[str, Any], param: str) -> None:
    reply = client.post("/v1/chat/completions", json=CHAT | change, headers=WITH_KEY)
    assert (reply.status_code, error_of(reply)["param"]) == (400, param)
    assert reply.headers["x-should-retry"] == "false"


def test_fields_that_ask_for_nothing_are_passed_over(client: TestClient) -> None:
    nothing = {
        "tools": None, "tool_choice": "none", "functions": [], "logit_bias": {}, "presence_penalty": 0, "modalities": ["text"],
        "stop": None, "user": "me", "store": False, "metadata": {"a": "b"}, "parallel_tool_calls": True, "seed": None,
    }  # fmt: skip
    assert client.post("/v1/chat/completions", json=CHAT | nothing, headers=WITH_KEY).status_code == 200


def test_contents_as_clients_write_them(client: TestClient) -> None:
    answered = {"role": "assistant", "content": "A fox.", "refusal": None, "audio": None, "tool_calls": None}
    contents: list[Any] = ["text", [{"type": "image_url", "image_url": data_url(png())}],
                           [{"type": "image_url", "image_url": {"url": data_url(png())}}]]  # fmt: skip
    for content in contents:
        turns = [
            {"role": "developer", "content": "Be brief."},
            *CHAT["messages"],
            answered,
            {"role": "user", "content": content},
        ]
        reply = client.post("/v1/chat/completions", json={"model": "tiny", "messages": turns}, headers=WITH_KEY)
        assert reply.status_code == 200, reply.text


def test_the_branch_of_a_union_that_fitted_furthest_is_told() -> None:
    found = of_validation([
        {"type": "string_type", "loc": ("body", "input", "str"), "msg": "Input should be a valid string"},
        {"type": "missing", "loc": ("body", "input", "list[x]", 3, "role"), "msg": "Field required"},
    ])  # fmt: skip
    assert found.detail.message == "input.3.role is missing"


# -- too much, too slow, gone --------------------------------------------------------------------------


def test_more_requests_than_allowed_at_once_are_429() -> None:
    async def crowd() -> list[int]:
        transport = httpx2.ASGITransport(app_of(FakeEngine(pause=0.05), together=2))
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            replies = await asyncio.gather(*(client.post("/v1/chat/completions", json=CHAT) for _ in range(5)))
        assert all(int(r.headers["retry-after"]) >= 1 for r in replies if r.status_code == 429)
        return sorted(r.status_code for r in replies)

    assert asyncio.run(crowd()) == [200, 200, 429, 429, 429]


def test_bodies_share_a_budget() -> None:
    gate = app_of(bodies_bytes=1000)
    assert client_of(gate).post("/v1/chat/completions", json=CHAT).status_code == 200
    big = CHAT | {"messages": [{"role": "user", "content": "x" * 2000}]}
    assert client_of(gate).post("/v1/chat/completions", json=big).status_code == 429
    assert client_of(gate).post("/v1/chat/completions", json=CHAT).status_code == 200, "what was counted is given back"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_gives_its_place_back(stream: bool) -> None:
    engine = FakeEngine(words=["a "] * 500, pause=0.02)
    with served(app_of(engine)) as address:
        if stream:
            with httpx2.stream("POST", f"{address}/v1/chat/completions", json=CHAT | {"stream": True}) as reply:
                next(reply.iter_bytes())
        else:
            with pytest.raises(httpx2.TimeoutException):
                httpx2.post(f"{address}/v1/chat/completions", json=CHAT, timeout=0.5)
        end = time.monotonic() + 5
        while engine.cancelled == 0 and time.monotonic() < end:
            time.sleep(0.02)
    assert (engine.cancelled, engine.running) == (1, 0)


def test_a_client_that_does_not_read_is_let_go() -> None:
    gate = app_of(FakeEngine(words=["a" * 100_000] * 200), answer_seconds=0.5, body_seconds=0.5)
    with served(gate) as address, httpx2.stream("POST", f"{address}/v1/chat/completions", json=CHAT | {"stream": True}):
        end = time.monotonic() + 8
        while time.monotonic() < end and (gate.running or not gate.metrics.requests.collect()[0].samples):
            time.sleep(0.05)
        assert gate.running == 0


def test_one_failing_alternative_ends_all() -> None:
    engine = FakeEngine(error=RuntimeError("x"))
    reply = client_of(app_of(engine)).post("/v1/chat/completions", json=CHAT | {"n": 3})
    assert reply.status_code == 500 and engine.running == 0


# -- going down ----------------------------------------------------------------------------------------


def test_while_it_drains_new_requests_get_503_and_running_ones_finish() -> None:
    gate = app_of(FakeEngine(words=["a "] * 20, pause=0.05))

    async def story() -> tuple[Any, ...]:
        transport = httpx2.ASGITransport(gate)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            running = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
            await asyncio.sleep(0.2)
            gate.draining = True
            late = await client.post("/v1/chat/completions", json=CHAT)
            return late, await client.get("/ready"), await client.get("/health"), await running

    late, ready, health, first = asyncio.run(story())
    assert (late.status_code, late.headers["retry-after"], late.headers["x-should-retry"]) == (503, "5", "true")
    assert (ready.status_code, health.status_code, first.status_code) == (503, 200, 200)
    assert first.json()["choices"][0]["message"]["content"] == "a " * 20


# -- the description -----------------------------------------------------------------------------------


def test_the_description_names_every_refusal(client: TestClient) -> None:
    made = client.get("/openapi.json", headers=WITH_KEY).json()
    assert "422" not in json.dumps(made["paths"]) and "HTTPValidationError" not in made["components"]["schemas"]
    for path, methods in made["paths"].items():
        for operation in methods.values():
            assert {"400", "401", "404", "413", "429", "503"} <= set(operation["responses"]), path
            assert ("security" in operation) == (path not in ("/health", "/ready"))


@pytest.fixture(autouse=True)
def _quiet_uvicorn() -> Iterator[None]:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
