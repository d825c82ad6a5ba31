"""``sensorium serve`` as a process: answers of a trained run, and its end under load."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from tests.end_to_end.commands import command, environment
from tests.end_to_end.conftest import Trained
from tests.serving.fake import b64, data_url
from tests.small_data import picture, tone

KEY = "sk-0123456789abcdef"
DRAIN = 60.0  # s


@contextlib.contextmanager
def serving(run: Path, cache: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address. Where a test fails, it is killed."""
    words = command("serve", run, "--port", "0", *flags)
    process = subprocess.Popen(words, env=environment(cache, SENSORIUM_API_KEYS=KEY), stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address, lines = "", []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                address = found[0]
                break
        assert address, "".join(lines)
        threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True).start()
        yield process, address
    finally:
        process.kill()
        process.wait(10)


def client_of(address: str) -> openai.OpenAI:
    return openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0, timeout=60)


def test_a_run_that_answers(answerer: Trained, cache: Path) -> None:
    shown = {"type": "image_url", "image_url": {"url": data_url(picture("red", np.random.default_rng(0)))}}
    messages: Any = [{"role": "user", "content": [shown, {"type": "text", "text": "which colour?"}]}]
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"],
              "additionalProperties": False}  # fmt: skip
    with serving(answerer.folder, cache) as (process, address), client_of(address) as client:
        ask = client.chat.completions.create
        whole = ask(model="answerer", messages=messages, max_tokens=8)
        chunks = ask(model="answerer", messages=messages, max_tokens=8, stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
        chosen = ask(model="answerer", messages=messages, extra_body={"guided_choice": ["red", "green"]})
        assert chosen.choices[0].message.content in ("red", "green")
        form: Any = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}}
        written = ask(model="answerer", messages=messages, response_format=form, max_tokens=60)
        assert re.fullmatch(r'\{"colour": "(red|blue)"\}', written.choices[0].message.content or "")
        scored = ask(model="answerer", messages=messages, max_tokens=4, logprobs=True, top_logprobs=3)
        content = scored.choices[0].logprobs.content  # type: ignore[union-attr]
        assert content and all(t.top_logprobs[0].logprob == t.logprob <= 0 for t in content), (
            "greedy takes the likeliest"
        )
        assert len(client.embeddings.create(model="answerer", input=["a fox", "a hen"]).data) == 2
        assert client.responses.create(model="answerer", input="hello", max_output_tokens=4).status == "incomplete"
        with pytest.raises(openai.BadRequestError, match="takes no sound"):
            sound = {
                "type": "input_audio",
                "input_audio": {"data": b64(tone("red", np.random.default_rng(0))), "format": "wav"},
            }
            ask(model="answerer", messages=[{"role": "user", "content": [sound]}])  # type: ignore[list-item, misc]
        with pytest.raises(openai.BadRequestError, match="does not classify"):
            client.post("/classify", cast_to=object, body={"model": "answerer", "input": {"question": "x"}})
        assert httpx2.get(f"{address}/").status_code == 200
        assert httpx2.get(f"{address}/metrics").status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(DRAIN) == 0


def test_a_run_that_classifies(classifier: Trained, cache: Path) -> None:
    rng = np.random.default_rng(0)
    row = {"picture": data_url(picture("green", rng)), "sound": {"data": b64(tone("green", rng)), "format": "wav"},
           "words": "a thing that looks green from here", "size": 1.0, "shop": None}  # fmt: skip
    with serving(classifier.folder, cache, "--name", "colours") as (process, address), client_of(address) as client:
        found: Any = client.post(
            "/classify", cast_to=object, body={"model": "colours", "input": [row, {"words": "red"}]}
        )
        assert [each["index"] for each in found["data"]] == [0, 1]
        first = found["data"][0]
        assert first["label"] == max(first["probabilities"], key=first["probabilities"].get)
        assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        vector = client.embeddings.create(model="colours", input="a red thing").data[0].embedding
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
        with pytest.raises(openai.BadRequestError, match="does not converse"):
            client.chat.completions.create(model="colours", messages=[{"role": "user", "content": "x"}])
        process.send_signal(signal.SIGINT)
        assert process.wait(DRAIN) == 0


def test_sigterm_under_load(answerer: Trained, cache: Path) -> None:
    """Running answers finish word for word, new requests get 503, and the process ends with 0 within the limit."""
    long = "x" * 200  # what every answer must say, whatever the model would like
    told: dict[int, str] = {}
    begun = threading.Barrier(7, timeout=60)

    def ask(place: int, address: str) -> None:
        with client_of(address) as client:
            chunks = client.chat.completions.create(
                model="answerer", messages=[{"role": "user", "content": f"say it, {place}"}], stream=True,
                extra_body={"guided_choice": [long]},
            )  # fmt: skip
            words = [next(chunks).choices[0].delta.content or ""]
            begun.wait()
            told[place] = "".join([*words, *(c.choices[0].delta.content or "" for c in chunks)])

    with serving(answerer.folder, cache, "--drain-seconds", str(DRAIN)) as (process, address):
        threads = [threading.Thread(target=ask, args=(place, address)) for place in range(6)]
        for thread in threads:
            thread.start()
        begun.wait()
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        time.sleep(0.15)
        headers = {"authorization": f"Bearer {KEY}"}
        late = httpx2.post(f"{address}/v1/chat/completions", json={}, headers=headers)
        assert (late.status_code, late.headers["x-should-retry"]) == (503, "true")
        assert httpx2.get(f"{address}/ready").status_code == 503
        running = len(told)
        for thread in threads:
            thread.join(60)
        assert process.wait(60) == 0
        assert time.monotonic() - began < DRAIN
    assert running < 6, "the answers were still on their way when the late request came"
    assert told == dict.fromkeys(range(6), long)
