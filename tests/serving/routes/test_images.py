"""``/v1/images``: what is drawn, changed and varied, in OpenAI's form; one line for what is refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import openai
import pytest
from PIL import Image
from starlette.testclient import TestClient

from sensorium.errors import DataError, MediaError
from sensorium.run import sha256_text
from sensorium.serving.api import make_app
from sensorium.serving.captioning import captioning_engine
from sensorium.serving.service import Parts
from sensorium.serving.settings import MediaLimits, Settings
from tests.serving.fake import KEY, FakeDraw, app_of, data_url, png, served, wav


@pytest.fixture
def drawer() -> FakeDraw:
    return FakeDraw()


@pytest.fixture
def client(drawer: FakeDraw) -> TestClient:
    return TestClient(app_of(draw=drawer), raise_server_exceptions=False)


def generate(client: TestClient, **told: Any) -> Any:
    return client.post("/v1/images/generations", json={"prompt": "a red fox", **told})


def edit(client: TestClient, files: Any = None, path: str = "edits", **told: Any) -> Any:
    told = told if path == "variations" else {"prompt": "make it night", **told}
    return client.post(f"/v1/images/{path}", data=told, files={"image": png(20, 10)} if files is None else files)


def error_of(reply: Any, status: int = 400) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and "\n" not in error["message"]
    return dict(error)


def colour(b64: str) -> tuple[int, ...]:
    return tuple(np.asarray(Image.open(io.BytesIO(base64.b64decode(b64))))[0, 0].tolist())


# -- drawing ---------------------------------------------------------------------------------------


def test_pictures_of_a_prompt(client: TestClient, drawer: FakeDraw) -> None:
    found = generate(client, n=6, seed=7, size="16x16", response_format="b64_json", user="me").json()
    assert [one["seed"] for one in found["data"]] == [7, 8, 9, 10, 11, 12]
    assert [colour(one["b64_json"])[0] for one in found["data"]] == [7, 8, 9, 10, 11, 12]
    assert abs(found["created"] - time.time()) < 60
    told = {name: found[name] for name in ("background", "output_format", "size")}
    assert told == {"background": "opaque", "output_format": "png", "size": "16x16"}
    assert found["usage"] == {
        "input_tokens": 3, "input_tokens_details": {"image_tokens": 0, "text_tokens": 3},
        "output_tokens": 24, "output_tokens_details": {"image_tokens": 24, "text_tokens": 0}, "total_tokens": 27,
    }  # fmt: skip
    assert drawer.asked == [("draw", "a red fox", 4, 7), ("draw", "a red fox", 2, 11)], "a few at a time"


def test_without_a_seed_each_time_another_picture(client: TestClient, drawer: FakeDraw) -> None:
    seeds = {generate(client).json()["data"][0]["seed"] for _ in range(3)}
    assert len(seeds) == 3 and max(seeds) < 2**31
    again = generate(client, seed=max(seeds)).json()["data"][0]
    assert again == generate(client, seed=max(seeds)).json()["data"][0]


def test_fields_that_ask_for_nothing_are_passed_over(client: TestClient) -> None:
    idle = {"stream": False, "partial_images": 0, "quality": "auto", "background": "opaque", "output_format": "png"}
    assert generate(client, **idle, moderation="auto", style=None, model=None, n=None, size="auto").status_code == 200
    form = {"stream": "false", "partial_images": "0", "quality": "standard", "background": "auto"}
    assert edit(client, **form).status_code == 200


@pytest.mark.parametrize(
    ("told", "param", "code", "said"),
    [
        ({"prompt": ""}, "prompt", "invalid_value", "at least 1"),
        ({"prompt": " \n"}, "prompt", "invalid_value", "the prompt is empty"),
        ({"prompt": None}, "prompt", "missing_required_parameter", "prompt is missing"),
        ({"prompt": ["a"]}, "prompt", "invalid_value", "string"),
        ({"prompt": "fox " * 51}, "prompt", "context_length_exceeded", "takes 51 tokens, and the model reads 50"),
        ({"prompt": "x" * 32_001}, "prompt", "invalid_value", "at most 32000"),
        ({"n": 0}, "n", "invalid_value", "greater than or equal to 1"),
        ({"n": 11}, "n", "invalid_value", "less than or equal to 10"),
        ({"n": "2"}, "n", "invalid_value", "integer"),
        ({"seed": -1}, "seed", "invalid_value", "greater"),
        ({"seed": 2**53}, "seed", "invalid_value", "less than"),
        ({"size": "1024x1024"}, "size", "invalid_value", "this run draws 16x16"),
        ({"size": "big"}, "size", "invalid_value", "size"),
        ({"response_format": "url"}, "response_format", "invalid_value", "'b64_json'"),
        ({"stream": True}, "stream", "unsupported_parameter", "stream is not supported"),
        ({"quality": "hd"}, "quality", "unsupported_parameter", "quality is not supported"),
        ({"style": "vivid"}, "style", "unsupported_parameter", "style is not supported"),
        ({"background": "transparent"}, "background", "unsupported_parameter", "background is not supported"),
        ({"output_format": "webp"}, "output_format", "unsupported_parameter", "output_format is not supported"),
        ({"partial_images": 2}, "partial_images", "unsupported_parameter", "partial_images is not supported"),
        ({"strength": 1}, "strength", "unsupported_parameter", "strength is not supported"),
    ],
)
def test_refusals(client: TestClient, drawer: FakeDraw, told: dict[str, Any], param: str, code: str, said: str) -> None:
    error = error_of(generate(client, **told))
    assert (error["param"], error["code"]) == (param, code) and said in error["message"]
    assert drawer.asked == []


def test_another_model_and_a_run_that_does_not_draw(client: TestClient) -> None:
    assert error_of(generate(client, model="gpt-image-2"), 404)["code"] == "model_not_found"
    assert generate(client, model="tiny").status_code == 200
    plain = TestClient(app_of())
    for reply in (generate(plain), edit(plain), edit(plain, path="variations")):
        error = error_of(reply)
        assert error["code"] == "unsupported_model" and "ask /v1/chat/completions or" in error["message"]


def test_what_the_drawer_refuses_is_told_with_the_field_that_it_names(client: TestClient, drawer: FakeDraw) -> None:
    drawer.error = DataError("these letters are not known", where="prompt", mend="write English")
    error = error_of(generate(client))
    assert (error["message"], error["param"]) == ("these letters are not known; write English", "prompt")
    drawer.error = MediaError("the picture is truncated", mend="export it again")
    assert error_of(edit(client))["param"] == "image"
    drawer.error = RuntimeError("secret")
    assert "secret" not in error_of(generate(client), 500)["message"]


# -- changing and varying --------------------------------------------------------------------------


def test_an_edit_with_a_mask(client: TestClient, drawer: FakeDraw) -> None:
    picture, mask = png(20, 10), png(20, 10, colour=(255, 255, 255))
    found = edit(client, {"image": picture, "mask": mask}, n="2", seed="5", model="tiny").json()
    assert drawer.asked == [("edit", picture, "make it night", mask, 2, 5)]
    assert found["size"] == "20x10" and [one["seed"] for one in found["data"]] == [5, 6]
    assert found["usage"]["input_tokens_details"] == {"image_tokens": 4, "text_tokens": 3}


def test_a_picture_under_the_name_of_a_list_and_variations(client: TestClient, drawer: FakeDraw) -> None:
    assert edit(client, {"image[]": png(20, 10)}).status_code == 200
    assert drawer.asked[-1][1:4] == (png(20, 10), "make it night", None)
    found = edit(client, path="variations", n="3", seed="1").json()
    assert drawer.asked[-1] == ("variations", png(20, 10), 3, 1) and len(found["data"]) == 3
    assert found["usage"]["input_tokens_details"] == {"image_tokens": 4, "text_tokens": 0}


@pytest.mark.parametrize(
    ("files", "told", "param", "said"),
    [
        ({}, {}, "image", "image is missing"),
        ({"mask": png()}, {}, "image", "image is missing"),
        ([("image[]", png()), ("image[]", png())], {}, "image", "one picture at a time"),
        ([("image", png()), ("image", png())], {}, "image", "one picture at a time"),
        ([("image[]", png())] * 18, {}, None, "the form cannot be read"),
        ({"image": b""}, {}, "image", "empty"),
        ({"image": b"hello"}, {}, "image", "no picture"),
        ({"image": png()[:50]}, {}, "image", "truncated"),
        ({"image": wav()}, {}, "image", "no picture"),
        ({"image": png(500, 500)}, {}, "image", "more than 200,000 pixels"),
        ({"image": png() + bytes(100_000)}, {}, "image", "bytes, more than 100,000"),
        ({"image": png(20, 10), "mask": png(10, 20)}, {}, "mask", "the mask is 10 × 20, the picture 20 × 10"),
        ({"image": png(), "mask": b"hello"}, {}, "mask", "no picture"),
        ({"image": png(), "mask": png(500, 500)}, {}, "mask", "more than 200,000 pixels"),
        ({"image": png(), "mask": png(), "more": png()}, {}, "more", "more is not supported"),
        ({"image": png()}, {"prompt": ""}, "prompt", "prompt"),
        ({"image": png()}, {"prompt": "fox " * 51}, "prompt", "takes 51 tokens"),
        ({"image": png()}, {"prompt": "x" * 70_000}, None, "the form cannot be read"),
        ({"image": png()}, {"n": "0"}, "n", "greater than or equal to 1"),
        ({"image": png()}, {"n": "many"}, "n", "integer"),
        ({"image": png()}, {"size": "512x512"}, "size", "this run draws 16x16"),
        ({"image": png()}, {"stream": "true"}, "stream", "stream is not supported"),
        ({"image": png()}, {"image": "data:image/png;base64,AAAA"}, "image", ""),
    ],
)
def test_refusals_of_forms(drawer: FakeDraw, files: Any, told: dict[str, str], param: str | None, said: str) -> None:
    gate = app_of(draw=drawer, media=MediaLimits(pixels=200_000, bytes=100_000))
    files = files or {"user": (None, "me")}  # a form without a file
    error = error_of(edit(TestClient(gate, raise_server_exceptions=False), files, **told))
    assert said in error["message"], error
    assert param is None or error["param"].startswith(param), error
    assert drawer.asked == []


def test_json_where_a_form_is_wanted(client: TestClient) -> None:
    reply = client.post("/v1/images/edits", json={"prompt": "x"})
    assert error_of(reply, 415)["code"] == "content_type"


# -- too much, too slow, gone ----------------------------------------------------------------------


def test_a_client_that_hangs_up_is_not_drawn_for(drawer: FakeDraw) -> None:
    drawer.together, drawer.pause = 1, 0.1
    body = json.dumps({"prompt": "a", "n": 10}).encode()
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with served(app_of(draw=drawer)) as address:
        with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0)) as connection:
            connection.sendall(head.encode() + body)
            while not drawer.asked:
                time.sleep(0.01)
        time.sleep(0.5)
        assert len(drawer.asked) <= 3
        assert "sensorium_clients_gone_total 1.0" in httpx2.get(f"{address}/metrics").text


def test_others_have_their_turn_between_pictures_and_too_many_are_told_to_wait(drawer: FakeDraw) -> None:
    drawer.together, drawer.pause = 1, 0.02

    async def crowd() -> tuple[list[int], list[int]]:
        transport = httpx2.ASGITransport(app_of(draw=drawer))
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            url = "/v1/images/generations"
            few = await asyncio.gather(*(client.post(url, json={"prompt": p, "n": 3}) for p in ("a", "b")))
            drawer.together, drawer.pause = 4, 0.005
            many = await asyncio.gather(*(client.post(url, json={"prompt": "c"}) for _ in range(40)))
            assert all(int(r.headers["retry-after"]) >= 1 for r in many if r.status_code == 429)
        return [r.status_code for r in few], sorted(r.status_code for r in many)

    few, many = asyncio.run(crowd())
    assert few == [200, 200] and many == [200] * 33 + [429] * 7
    assert sorted(asked[1] for asked in drawer.asked[:4]) == ["a", "a", "b", "b"], "neither waits for all of the other"


def test_the_deadline(drawer: FakeDraw) -> None:
    drawer.pause, drawer.together = 0.05, 1
    slow = TestClient(app_of(draw=drawer, answer_seconds=0.12))
    assert error_of(generate(slow, n=10), 408)["code"] == "deadline_exceeded"
    time.sleep(0.2)
    assert len(drawer.asked) < 6, "what nobody waits for is not drawn"


# -- captions --------------------------------------------------------------------------------------


@pytest.fixture
def chat(drawer: FakeDraw) -> Any:
    parts = Parts(engine=captioning_engine(drawer), draw=drawer)
    client = TestClient(make_app(parts, Settings(name="tiny", hosts=("testserver",))), raise_server_exceptions=False)

    def ask(*content: Any, **more: Any) -> Any:
        messages = [{"role": "user", "content": list(content)}]
        return client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, **more})

    return ask


def shown(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(data)}}


WORDS = {"type": "text", "text": "What is it?"}


def test_chat_says_what_a_picture_shows(chat: Any) -> None:
    found = chat(shown(png(20, 10)), WORDS).json()
    assert found["choices"][0]["message"]["content"] == "a picture of 20 px"
    assert (found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]) == (4, 5)
    streamed = chat(shown(png(20, 10)), stream=True).text
    assert "a picture of 20 px" in streamed and streamed.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        ([WORDS], {}, "there is none; send one, or ask /v1/images/generations to have one drawn"),
        ([shown(png()), shown(png())], {}, "one picture at a time"),
        ([{"type": "input_audio", "input_audio": {"data": base64.b64encode(wav()).decode()}}], {}, "one picture"),
        ([shown(png())], {"logprobs": True}, "a caption has no other form and no log-probabilities"),
        ([shown(png()[:50])], {}, "picture is"),
    ],
)
def test_chat_refuses(chat: Any, content: Any, more: dict[str, Any], said: str) -> None:
    assert said in error_of(chat(*content, **more))["message"]


def test_models_say_what_may_be_asked() -> None:
    client = TestClient(app_of(draw=FakeDraw()))
    model, whisper = client.get("/v1/models").json()["data"]
    assert "/v1/images/edits" in model["routes"] and whisper["routes"] == ["/v1/audio/transcriptions"]
    assert "/v1/images/edits" not in TestClient(app_of()).get("/v1/models/tiny").json()["routes"]


# -- the official client ---------------------------------------------------------------------------


@pytest.fixture
def official(drawer: FakeDraw) -> Iterator[openai.OpenAI]:
    with (
        served(app_of(draw=drawer, key_hashes={"me": sha256_text(KEY)})) as address,
        openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0, timeout=20) as client,
    ):
        yield client


def test_the_official_client(official: openai.OpenAI, drawer: FakeDraw) -> None:
    found = official.images.generate(prompt="a red fox", n=2, size="auto", extra_body={"seed": 3})
    assert found.usage and found.usage.output_tokens == 8 and found.size == "16x16"
    assert [colour(one.b64_json or "")[0] for one in found.data or []] == [3, 4]
    mask = ("mask.png", png(20, 10))
    one = official.images.edit(image=("a.png", png(20, 10)), mask=mask, prompt="night", n=2, background="auto")
    assert len(one.data or []) == 2 and drawer.asked[-1][1:4] == (png(20, 10), "night", mask[1])
    official.images.edit(image=[io.BytesIO(png(20, 10))], prompt="night")
    assert drawer.asked[-1][1:4] == (png(20, 10), "night", None)
    with pytest.deprecated_call():
        varied = official.images.create_variation(image=png(20, 10), n=3, response_format="b64_json")
    assert len(varied.data or []) == 3
    with pytest.raises(openai.BadRequestError) as caught:
        official.images.edit(image=png(20, 10), mask=png(9, 9), prompt="night")
    assert (caught.value.param, caught.value.code) == ("mask", "invalid_media")
    with pytest.raises(openai.AuthenticationError):
        official.with_options(api_key="sk-another-key").images.generate(prompt="x")
