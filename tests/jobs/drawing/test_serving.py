"""A tiny run that draws, over HTTP: what the routes hand to it, and how its refusals come out."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from sensorium.jobs.drawing.opened import OpenedDrawer
from sensorium.jobs.drawing.serving import make_drawing_parts
from sensorium.jobs.serve import _open
from sensorium.serving.api import make_app
from sensorium.serving.engine.batching import EngineSettings
from sensorium.serving.settings import Settings
from tests.jobs.drawing.tiny_run import CODES, SIZE, encoded, noise, tiny_drawing_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_drawing_run(tmp_path_factory.mktemp("runs") / "tiny-draw")


@pytest.fixture(scope="module")
def client(run: Path) -> TestClient:
    parts, _ = _open(run, EngineSettings())
    settings = Settings(name="tiny-draw", hosts=("testserver",))
    return TestClient(make_app(parts, settings), raise_server_exceptions=False)


def pictures(reply: Any) -> list[Image.Image]:
    assert reply.status_code == 200, reply.text
    return [Image.open(io.BytesIO(base64.b64decode(one["b64_json"]))) for one in reply.json()["data"]]


def test_pictures_from_words_are_those_of_the_command_line(client: TestClient, run: Path) -> None:
    body = {"prompt": "red apple", "n": 5, "seed": 3, "size": f"{SIZE}x{SIZE}"}
    reply = client.post("/v1/images/generations", json=body)
    found, same = pictures(reply), OpenedDrawer(run).draw("red apple", 5, 3)
    assert all(np.array_equal(np.asarray(a), np.asarray(b.image)) for a, b in zip(found, same, strict=True))
    assert found[4].text["Seed"] == "7" and found[0].text["Model"] == "tiny-draw"  # type: ignore[attr-defined]
    assert reply.json()["usage"]["output_tokens"] == 5 * CODES


def test_an_edit_within_a_mask_and_variations(client: TestClient) -> None:
    source, mask = noise(40, 30), np.zeros((30, 40), dtype=np.uint8)
    mask[2:12, 5:30] = 255
    files = {"image": encoded(source), "mask": encoded(Image.fromarray(mask))}
    [found] = pictures(client.post("/v1/images/edits", data={"prompt": "make it a man", "seed": "1"}, files=files))
    before, after = np.asarray(source), np.asarray(found)
    assert np.array_equal(before[mask == 0], after[mask == 0]) and not np.array_equal(before, after)
    varied = client.post("/v1/images/variations", data={"n": "2"}, files={"image": encoded(source)})
    assert [one.size for one in pictures(varied)] == [(16, 12)] * 2


def test_a_caption_in_chat(client: TestClient, run: Path) -> None:
    picture = encoded(noise(seed=3))
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "tiny-draw", "messages": [{"role": "user", "content": content}]}
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"] == OpenedDrawer(run).caption([picture])[0]


@pytest.mark.parametrize(
    ("files", "told", "param", "said"),
    [
        (None, {"prompt": "красное яблоко"}, "prompt", "the words are written in Cyrillic letters; this run learnt English"),
        (None, {"prompt": "red apple " * 1000}, "prompt", "the model reads 54"),
        (None, {"prompt": "red\x07apple"}, "prompt", "the words hold a control character"),
        ({"image": encoded(noise())}, {"prompt": "red apple " * 15}, "prompt", "the model reads 37"),
        ({"image": encoded(noise(64, 64))[:-3000]}, {"prompt": "make it a man"}, "image", "the picture is truncated"),
        ({"image": encoded(noise()), "mask": encoded(noise(8, 8))}, {"prompt": "make it a man"}, "mask", "the mask is 8 × 8"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(client: TestClient, files: Any, told: dict[str, str], param: str, said: str) -> None:
    if files is None:
        reply = client.post("/v1/images/generations", json=told)
    else:
        reply = client.post("/v1/images/edits", data=told, files=files)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["param"] == param and said in error["message"]


def test_a_run_that_only_draws_does_not_chat(tmp_path: Path) -> None:
    parts = make_drawing_parts(OpenedDrawer(tiny_drawing_run(tmp_path / "draws", forms={"draw": 1.0})))
    client = TestClient(make_app(parts, Settings(name="draws", hosts=("testserver",))), raise_server_exceptions=False)
    reply = client.post(
        "/v1/chat/completions", json={"model": "draws", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert "does not converse; ask /v1/images/generations" in reply.json()["error"]["message"]
    form = {"data": {"prompt": "make it a man"}, "files": {"image": encoded(noise())}}
    reply = client.post("/v1/images/edits", **form)  # type: ignore[arg-type]
    assert reply.status_code == 400 and "not learnt to edit" in reply.json()["error"]["message"]
