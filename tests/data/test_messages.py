"""OpenAI's messages, read strictly, and rows of a table told as messages."""

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.messages import MediaPart, Message, TextPart, answer_of, from_example, from_openai
from sensorium.data.rows import Example
from sensorium.data.schema import Schema
from sensorium.errors import DataError, SensoriumError

ASSISTANT = {"role": "assistant", "content": "a cat"}


def test_every_form_that_clients_send():
    told = from_openai(
        json.dumps(
            [
                {"role": "developer", "content": "be brief"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what is"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                        {"type": "image_url", "image_url": "pics/1.png"},
                        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                        {"type": "input_audio", "input_audio": {"data": "clips/1.wav", "format": "wav"}},
                        {"type": "input_audio", "input_audio": "clips/2.wav"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
            ]
        )
    )
    assert told == [
        Message("system", (TextPart("be brief"),)),
        Message(
            "user",
            (
                TextPart("what is"),
                MediaPart("image", "image_url", "data:image/png;base64,AAAA"),
                MediaPart("image", "image_url", "pics/1.png"),
                MediaPart("audio", "input_audio", "data:audio/mp3;base64,AAAA"),
                MediaPart("audio", "input_audio", "clips/1.wav"),
                MediaPart("audio", "input_audio", "clips/2.wav"),
            ),
        ),
        Message("assistant", (TextPart("a cat"),)),
    ]
    assert answer_of(told) == "a cat" and told[1].text == "what is"
    assert from_openai({"messages": [{"role": "user", "content": "x"}, ASSISTANT]})[1].text == "a cat"
    assert from_openai([{"role": "user", "content": "x"}], answered=False)[0].role == "user"


def user(*parts):
    return [{"role": "user", "content": list(parts)}, ASSISTANT]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "messages are no list"),
        ([], "messages are no list"),
        ("not json", "messages are not valid JSON"),
        ('"text"', "messages are no list"),
        ([ASSISTANT], "no message is the user's"),
        ([{"role": "user", "content": "x"}], "the last message is no answer of the assistant"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}], "the last message is no answer"),
        (
            [{"role": "robot", "content": "x"}, ASSISTANT],
            "row 3, message 1: unknown role 'robot'; write system, user or assistant",
        ),
        ([{"content": "x"}, ASSISTANT], "unknown role None"),
        ([{"role": ["user"], "content": "x"}, ASSISTANT], "unknown role"),
        (["x", ASSISTANT], "message 1: is no object with role and content"),
        ([{"role": "user"}, ASSISTANT], "content is neither a text nor a list of parts"),
        ([{"role": "user", "content": []}, ASSISTANT], "content is neither"),
        (
            [{"role": "user", "content": "x"}, {**ASSISTANT, "tool_calls": [1]}],
            "message 2: tool calls cannot be learnt",
        ),
        (user({"type": "video"}), "message 1, part 1: unknown part type 'video'; write text, image_url, input_audio"),
        (user(3), "part 1: is no object with a type"),
        (user({"type": "text"}), "text is no string"),
        (user({"type": "image_url"}), "image_url has no url"),
        (user({"type": "image_url", "image_url": {"url": 3}}), "image_url has no url"),
        (user({"type": "input_audio", "input_audio": {}}), "input_audio has no data"),
        (
            user({"type": "input_audio", "input_audio": {"data": "AA", "format": "a/b"}}),
            "input_audio has the format 'a/b'",
        ),
        (user(*[{"type": "text", "text": "x"}] * 300), "300 parts are more than 256"),
        ([{"role": "user", "content": "x"}] * 1001, "1001 messages are more than 1000"),
        (
            [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": [{"type": "image_url", "image_url": "a.png"}]},
            ],
            "a picture or sound in a assistant message; only the user shows media",
        ),
    ],
)
def test_wrong_messages_are_one_clear_line(messages, message):
    with pytest.raises(DataError, match=message) as caught:
        from_openai(messages, where="row 3")
    assert str(caught.value).startswith("row 3") and caught.value.mend


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image_url", "input_audio", "data"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_anything_else_is_refused_and_never_a_defect(value):
    try:
        told = from_openai(value)
    except SensoriumError:
        return
    assert told[-1].role == "assistant"


# -- rows ------------------------------------------------------------------------------------------

SCHEMA = Schema(
    {
        "n": "number",
        "b": "image",
        "title": "text",
        "a": "audio",
        "body": "text",
        "w": "time",
        "g": "place",
        "c": "category",
    },
    "y",
    "text",
    "generate",
)
EXAMPLE = Example(
    0,
    {
        "n": 3.0,
        "b": "b.png",
        "title": "A house",
        "a": "a.wav",
        "body": "two rooms",
        "w": datetime.datetime(2024, 5, 1),
        "g": (52.1, 4.0),
        "c": "red",
    },
    "sold",
)


def test_media_in_column_order_then_texts_then_the_answer():
    told = from_example(EXAMPLE, SCHEMA)
    media = (MediaPart("image", "b", "b.png"), MediaPart("audio", "a", "a.wav"))
    assert told == [
        Message("user", (*media, TextPart("title: A house\nbody: two rooms"))),
        Message("assistant", (TextPart("sold"),)),
    ]
    words = from_example(EXAMPLE, SCHEMA, cells=True)[0].text
    assert words == "n: 3\ntitle: A house\nbody: two rooms\nw: 2024-05-01\ng: 52.1, 4\nc: red"
    assert from_example(EXAMPLE, SCHEMA, answer=False) == told[:1]


def test_one_text_is_the_users_words_and_missing_cells_are_left_out():
    schema = Schema({"b": "image", "question": "text", "n": "number"}, "y", "text", "generate")
    asked = Example(0, {"b": None, "question": "what is it?", "n": 2.5}, None)
    assert from_example(asked, schema) == [Message("user", (TextPart("what is it?"),))]
    assert from_example(asked, schema, cells=True)[0].text == "question: what is it?\nn: 2.5"
    empty = Example(0, {"b": None, "question": None, "n": None}, 3.0)
    assert from_example(empty, schema) == [Message("user", ()), Message("assistant", (TextPart("3"),))]


def test_a_chat_is_told_as_it_is():
    schema = Schema({}, None, "text", "generate", messages="messages")
    turns = from_openai([{"role": "user", "content": "x"}, ASSISTANT])
    example = Example(0, {"messages": turns}, "a cat")
    assert from_example(example, schema) == turns and from_example(example, schema, answer=False) == turns[:1]
