"""The official client, unmodified, against the application over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from sensorium.run import sha256_text
from tests.serving.fake import KEY, FakeEngine, app_of, b64, data_url, png, served, wav


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[openai.OpenAI]:
    with (
        served(app_of(engine, key_hashes={"me": sha256_text(KEY)})) as address,
        openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0, timeout=20) as client,
    ):
        yield client


def ask(text: str = "What is it?") -> list:
    return [{"role": "user", "content": text}]


def test_plain(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="tiny", messages=ask())
    assert found.choices[0].message.content == "A red fox."
    assert (found.choices[0].finish_reason, found.object) == ("stop", "chat.completion")
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (7, 3, 10)
    assert found.usage.prompt_tokens_details.cached_tokens == 2
    assert found._request_id


def test_streamed_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=ask(), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "A red fox."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 3
    assert all(c.usage is None for c in chunks[:-1])
    assert len({c.id for c in chunks}) == 1


def test_picture_as_object_and_sound(client: openai.OpenAI, engine: FakeEngine) -> None:
    picture, sound = png(), wav()
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": data_url(picture), "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": b64(sound), "format": "wav"}},
    ]
    client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": content}])
    parts = engine.asked[0][0][0].parts
    assert [getattr(part, "type", "text") for part in parts] == ["text", "image", "audio"]
    assert (parts[1].reference, parts[2].reference) == (picture, sound)


def test_options_reach_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    client.chat.completions.create(
        model="tiny", messages=ask(), temperature=0.7, top_p=0.9, stop=["\n", "END"], seed=5, max_completion_tokens=2,
        frequency_penalty=0, user="me", n=2,
    )  # fmt: skip
    sampling = [sampling for _, sampling in engine.asked]
    assert [(s.temperature, s.top_p, s.stop, s.max_tokens) for s in sampling] == [(0.7, 0.9, ("\n", "END"), 2)] * 2
    assert [s.seed for s in sampling] == [5, 6], "alternatives differ"


def test_alternatives_and_length(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="tiny", messages=ask(), n=3, max_tokens=2)
    assert [(c.index, c.message.content, c.finish_reason) for c in found.choices] == [
        (i, "A red ", "length") for i in range(3)
    ]
    assert found.usage.completion_tokens == 6


def test_logprobs(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="tiny", messages=ask(), logprobs=True, top_logprobs=2)
    content = found.choices[0].logprobs.content
    assert [token.token for token in content] == ["A ", "red ", "fox."]
    assert content[0].logprob == -0.5 and bytes(content[0].bytes) == b"A "
    assert [other.logprob for other in content[0].top_logprobs] == [-2.0, -3.0]
    plain = client.chat.completions.create(model="tiny", messages=ask())
    assert plain.choices[0].logprobs is None


def test_streamed_logprobs(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(model="tiny", messages=ask(), logprobs=True, stream=True)
    tokens = [t.token for c in chunks if c.choices and c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert tokens == ["A ", "red ", "fox."]


def test_json_schema_becomes_a_grammar(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.words = ['{"colour":"red"}']
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    found = client.chat.completions.create(
        model="tiny", messages=ask(),
        response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}},
    )  # fmt: skip
    assert json.loads(found.choices[0].message.content) == {"colour": "red"}
    assert "colour" in engine.asked[0][1].grammar
    client.chat.completions.create(model="tiny", messages=ask(), extra_body={"guided_choice": ["red", "blue"]})
    assert "blue" in engine.asked[1][1].grammar


def test_wrong_key(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk-another-key").chat.completions.create(model="tiny", messages=ask())
    assert caught.value.code == "invalid_api_key"


def test_full_queue(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.full = True
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="tiny", messages=ask())
    assert caught.value.response.headers["retry-after"] == "3"
    assert caught.value.response.headers["x-should-retry"] == "true"


def test_bad_request(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(openai.BadRequestError, match="tools") as caught:
        client.chat.completions.create(model="tiny", messages=ask(), tools=[tool])
    assert (caught.value.param, caught.value.code) == ("tools", "unsupported_parameter")


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=ask())


def test_failure_in_mid_stream(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.error = RuntimeError("secret of the house")
    stream = client.chat.completions.create(model="tiny", messages=ask(), stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert "secret" not in str(caught.value)
    assert caught.value.code == "internal_error"


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "whisper-1"]
    assert client.models.retrieve("tiny").id == "tiny"


def test_embeddings(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model="tiny", input=["one", "three"])  # the client asks for base64
    assert [e.embedding for e in found.data] == [[3.0, 0.5, -1.0], [5.0, 0.5, -1.0]]
    parts = [{"type": "text", "text": "fox"}, {"type": "image_url", "image_url": {"url": data_url(png())}}]
    found = client.embeddings.create(model="tiny", input=[parts], encoding_format="float")  # type: ignore[list-item]
    assert found.data[0].embedding == [3.0, 0.5, -1.0]


def test_transcriptions(client: openai.OpenAI) -> None:
    found = client.audio.transcriptions.create(model="whisper-1", file=("q.wav", wav()))
    assert found.text == "what is it"
    told = client.audio.transcriptions.create(model="whisper-1", file=("q.wav", wav()), response_format="text")
    assert told == "what is it\n"
    long = client.audio.transcriptions.create(model="whisper-1", file=("q.wav", wav()), response_format="verbose_json")
    assert long.duration == pytest.approx(0.2) and long.segments[0].text == "what is it"


def test_responses(client: openai.OpenAI, engine: FakeEngine) -> None:
    found = client.responses.create(model="tiny", input="What is it?", instructions="Be brief.")
    assert (found.output_text, found.status) == ("A red fox.", "completed")
    assert [message.role for message in engine.asked[0][0]] == ["system", "user"]
    content = [
        {"type": "input_text", "text": "And this?"},
        {"type": "input_image", "image_url": data_url(png()), "detail": "auto"},
        {"type": "input_audio", "input_audio": {"data": b64(wav()), "format": "wav"}},
    ]
    turns = [{"role": "user", "content": "What is it?"}, *found.output, {"role": "user", "content": content}]
    cut = client.responses.create(model="tiny", input=turns, max_output_tokens=1)  # type: ignore[arg-type]
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert [message.role for message in engine.asked[1][0]] == ["user", "assistant", "user"]
    assert [type(part).__name__ for part in engine.asked[1][0][2].parts] == ["TextPart", "MediaPart", "MediaPart"]


def test_responses_streamed(client: openai.OpenAI) -> None:
    with client.responses.stream(model="tiny", input="What is it?") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "A red fox."
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == sorted(
        {event.sequence_number for event in events if hasattr(event, "sequence_number")}
    )


def test_responses_broken_off(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.error = RuntimeError("secret of the house")
    with pytest.raises(openai.APIError) as caught:
        list(client.responses.create(model="tiny", input="What is it?", stream=True))
    assert "secret" not in str(caught.value)
