"""``/v1/translate``: what is answered, and one line in OpenAI's form for what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from sensorium.serving.api import make_app
from sensorium.serving.service import Parts
from sensorium.serving.settings import Settings
from sensorium.serving.translating import translating_engine
from tests.serving.fake import FakeTranslate, app_of, data_url, png


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(app_of(), raise_server_exceptions=False)


def test_texts_in_their_order(client: TestClient) -> None:
    body = {"model": "tiny", "input": ["red", "", "走る人"], "from": "EN", "to": "fr"}
    assert client.post("/v1/translate", json=body).json() == {
        "object": "list",
        "data": [{"index": i, "text": text} for i, text in enumerate(["fr: der", "", "fr: 人る走"])],
        "from": "en",
        "to": "fr",
        "model": "tiny",
    }
    one = client.post("/v1/translate", json={"model": "tiny", "input": "rot", "from": "de"}).json()
    assert one["data"] == [{"index": 0, "text": "en: tor"}] and one["to"] == "en"


def test_a_picture(client: TestClient) -> None:
    body = {"model": "tiny", "input": "red", "to": "de", "image": data_url(png(8, 8))}
    assert client.post("/v1/translate", json=body).json()["data"][0]["text"] == "de: der (8 px)"


@pytest.mark.parametrize(
    ("changed", "param", "told"),
    [
        ({"to": "xx"}, "to", "does not translate into xx; known: de, fr, en"),
        ({"from": "fr", "to": None}, "from", "does not translate from fr; known: en, de"),
        ({"to": None}, "from", "the direction is not clear"),
        ({"input": ["a", "b " * 51]}, "input.1", "takes 51 tokens, and the model reads 50"),
        ({"input": []}, "input", "input"),
        ({"input": 3}, "input", "input"),
        ({"image": "/etc/passwd"}, "image", "this is no data: address"),
        ({"image": "data:image/png;base64,AAAA"}, "image", ""),
        ({"beams": 3}, "beams", "not supported"),
    ],
)
def test_refusals(client: TestClient, changed: dict[str, Any], param: str, told: str) -> None:
    body = {"model": "tiny", "input": "red", "to": "de"} | changed
    reply = client.post("/v1/translate", json=body)
    error = reply.json()["error"]
    assert reply.status_code == 400 and told in error["message"], error
    assert error["param"] == param and "/etc" not in error["message"]


def test_a_run_that_does_not_translate_or_sees_nothing() -> None:
    hosts = ("testserver",)
    plain = TestClient(make_app(Parts(), Settings(name="tiny", hosts=hosts)))
    reply = plain.post("/v1/translate", json={"model": "tiny", "input": "a", "to": "de"})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "unsupported_model"
    blind = FakeTranslate()
    blind.sees_pictures = False
    client = TestClient(make_app(Parts(translate=blind), Settings(name="tiny", hosts=hosts)))
    body = {"model": "tiny", "input": "a", "to": "de", "image": data_url(png())}
    assert client.post("/v1/translate", json=body).json()["error"]["param"] == "image"
    assert client.post("/v1/translate", json={**body, "model": "other"}).status_code == 404


# -- chat ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chat() -> Any:
    translator = FakeTranslate()
    parts = Parts(engine=translating_engine(translator), translate=translator)
    client = TestClient(make_app(parts, Settings(name="tiny", hosts=("testserver",))), raise_server_exceptions=False)

    def ask(content: Any, system: str | None = "en-de", **more: Any) -> Any:
        told = [] if system is None else [{"role": "system", "content": system}]
        messages = [*told, {"role": "user", "content": content}]
        return client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, **more})

    return ask


def test_chat_translates_the_last_turn(chat: Any) -> None:
    found = chat("red dog").json()
    assert found["choices"][0]["message"]["content"] == "de: god der" and found["usage"]["prompt_tokens"] == 2
    assert chat("red", system="FR").json()["choices"][0]["message"]["content"] == "fr: der"
    parts = [{"type": "text", "text": "red"}, {"type": "image_url", "image_url": {"url": data_url(png(8, 8))}}]
    assert chat(parts).json()["choices"][0]["message"]["content"] == "de: der (8 px)"
    streamed = chat("red", stream=True).text
    assert "de: der" in streamed and streamed.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize(
    ("content", "more", "told"),
    [
        ("red", {"system": "xx"}, "does not translate into xx; known: de, fr, en"),
        ("red", {"system": None}, "the direction is not clear"),
        (" ", {}, "nothing to translate"),
        ("b " * 51, {}, "51 tokens"),
        ("red", {"logprobs": True}, "no log-probabilities"),
        ("red", {"response_format": {"type": "json_object"}}, "no other form"),
    ],
)
def test_chat_refuses(chat: Any, content: str, more: dict[str, Any], told: str) -> None:
    reply = chat(content, **more)
    assert reply.status_code == 400 and told in reply.json()["error"]["message"], reply.json()
