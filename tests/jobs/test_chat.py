"""Conversations with tiny models: what is asked, shown, kept, left out and refused."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sensorium.data.collate import collate
from sensorium.data.messages import MediaPart, from_openai
from sensorium.data.rows import Example
from sensorium.errors import DataError, MediaError, RunError
from sensorium.jobs.chat import Chat, open_chat, told
from sensorium.jobs.opened import Model, load
from sensorium.models.backbone import causal_lm
from sensorium.models.decoding import DecodingSettings, generate
from sensorium.models.sequences import end_of_turn
from tests.end_to_end.commands import call
from tests.end_to_end.conftest import Trained, answerer, classifier
from tests.small_data import picture, tone
from tests.tiny_models import model_of, processor_of

__all__ = ["answerer", "classifier"]

RNG = np.random.default_rng(0)
PICTURE, SOUND = picture("red", RNG), tone("blue", RNG)
HOW = DecodingSettings(max_new_tokens=12)


def opened(inputs: dict[str, str] | None = None, context: int = 2048, gpt: str = "llama") -> Any:
    """A tiny model that answers in words, as ``load`` opens one."""
    processor = processor_of(inputs or {"look": "image", "hear": "audio", "question": "text"}, gpt=gpt)
    model = model_of(processor, gpt=gpt)
    causal_lm(model.backbone).config.max_position_embeddings = context
    return SimpleNamespace(model=model, processor=processor)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a red.png").write_bytes(PICTURE)
    (tmp_path / "hum.wav").write_bytes(SOUND)
    (tmp_path / "cut.png").write_bytes(PICTURE[:100])
    (tmp_path / "notes.txt").write_text("hello")
    return tmp_path


def say(chat: Chat, text: str) -> str:
    return "".join(chat.ask(text))


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
def test_the_pieces_are_the_answer_that_decoding_gives(gpt: str) -> None:
    model = opened(gpt=gpt)
    messages = [{"role": "user", "content": "what is it?"}]
    example = Example(0, {"messages": from_openai(messages, answered=False)}, None)
    batch = collate([model.processor.sequence([example], answering=True)])
    tokenizer = model.processor.tokenizer
    stops = {tokenizer.eos_token_id, end_of_turn(tokenizer)}
    [ids] = generate(model.model, batch, stops, HOW)
    pieces = list(Chat(model, decoding=HOW).ask("what is it?"))
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert len(pieces) > 1 or gpt == "gpt2"  # of whose random tokens none is a whole character


def test_a_follow_up_hears_the_conversation() -> None:
    chat = Chat(opened(), decoding=HOW)
    first = say(chat, "what is it?")
    assert chat.messages == [
        {"role": "user", "content": "what is it?"},
        {"role": "assistant", "content": first},
    ]
    say(chat, "and its group?")
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 2
    chat.reset()
    assert say(chat, "what is it?") == first  # as if nothing had been said


def test_what_is_shown_goes_with_the_next_question_alone(files: Path) -> None:
    chat = Chat(opened(), decoding=HOW)
    blind = say(chat, "what is it?")
    chat.reset()
    chat.show("image", files / "a red.png")
    chat.show("audio", files / "hum.wav")
    assert say(chat, "what is it?") != blind
    parts = chat.messages[0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "input_audio", "text"]
    assert base64.b64decode(parts[1]["input_audio"]["data"]) == SOUND
    assert chat.shown == []


def test_the_system_is_told_first_and_stays(files: Path) -> None:
    chat = Chat(opened(), system="be brief", decoding=HOW)
    say(chat, "one")
    chat.reset()
    say(chat, "two")
    assert [message["content"] for message in chat.messages[:2]] == ["be brief", "two"]


def test_a_stopped_answer_is_kept_as_far_as_it_came(files: Path) -> None:
    chat = Chat(opened(), decoding=HOW)
    pieces = chat.ask("what is it?")
    begun = next(pieces)
    pieces.close()
    assert chat.messages[-1] == {"role": "assistant", "content": begun}
    chat.show("image", files / "a red.png")
    chat.ask("unheard").close()  # stopped before a word: the question is taken back, with what was shown
    assert len(chat.messages) == 2 and len(chat.shown) == 1


def test_sampling_follows_its_seed() -> None:
    model = opened()

    def free(seed: int) -> str:
        return say(Chat(model, decoding=DecodingSettings(max_new_tokens=12, temperature=2.0, seed=seed)), "what is it?")

    assert free(1) == free(1) != free(2)


# -- the context -----------------------------------------------------------------------------------


def test_the_oldest_turns_are_left_out_whole(files: Path) -> None:
    chat = Chat(opened(context=96), system="be brief", decoding=DecodingSettings(max_new_tokens=8))
    left = []
    for number in range(6):
        chat.show("image", files / "a red.png")
        say(chat, f"what is it now, number {number}?")
        left.append(chat.left_out)
    assert left[0] == 0 and left[-1] > 0 and left == sorted(left)
    assert all(count % 2 == 0 for count in left)
    assert len(chat.messages) == 13  # what was said is kept, to be saved


def test_a_question_that_is_too_long_alone_is_refused_and_forgotten() -> None:
    chat = Chat(opened(context=64), decoding=DecodingSettings(max_new_tokens=8))
    with pytest.raises(DataError, match=r"the newest message takes \d+ tokens of 56; shorten it"):
        chat.ask("what is it? " * 40)
    assert chat.messages == []
    assert say(chat, "yes") is not None


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sense", "name", "line"),
    [
        ("image", "nowhere.png", "nowhere.png: there is no such file; give the path of a picture on this machine"),
        ("image", ".", r"there is no such file"),
        ("image", "notes.txt", r"notes.txt: this is no picture in a format that can be read; convert it"),
        ("image", "cut.png", r"cut.png: the picture is truncated"),
        ("audio", "notes.txt", r"notes.txt: this is no sound in a format that can be read; convert it"),
        ("audio", "a red.png", r"a red.png: this is no sound"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(files: Path, sense: Any, name: str, line: str) -> None:
    chat = Chat(opened())
    with pytest.raises(MediaError, match=line):
        chat.show(sense, files / name)
    assert chat.shown == []


def test_a_sense_that_the_model_lacks_is_refused(files: Path) -> None:
    chat = Chat(opened({"look": "image", "question": "text"}))
    chat.show("image", files / "a red.png")
    with pytest.raises(DataError, match=r"this model takes no sound; leave it out, or train with model\.audio"):
        chat.show("audio", files / "hum.wav")


@pytest.mark.parametrize(
    ("messages", "line"),
    [
        ([], "messages"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "the last message is not the user's"),
        ([{"role": "user", "content": [{"type": "video"}]}], "unknown part type 'video'"),
    ],
)  # fmt: skip
def test_messages_that_cannot_be_answered_are_refused(messages: Any, line: str) -> None:
    with pytest.raises(DataError, match=line):
        told(messages, opened())


# -- saving ----------------------------------------------------------------------------------------


def test_a_saved_conversation_can_be_learnt_from(files: Path) -> None:
    chat = Chat(opened(), decoding=HOW)
    with pytest.raises(DataError, match="nothing was said yet"):
        chat.save(files / "talk.jsonl")
    chat.show("image", files / "a red.png")
    answer = say(chat, "what is it?")
    chat.save(files / "talk.jsonl")
    [line] = (files / "talk.jsonl").read_text(encoding="utf-8").splitlines()
    turns = from_openai(json.loads(line)["messages"], answered=bool(answer))
    assert [turn.text for turn in turns] == ["what is it?", answer]
    assert isinstance(turns[0].parts[0], MediaPart) and turns[0].parts[0].reference.startswith("data:image/png;base64,")
    say(chat, "more")
    chat.save(files / "talk.jsonl")  # its own file may be written anew
    with pytest.raises(DataError, match="there is a file of this name already; give another name"):
        chat.save(files / "notes.txt")
    with pytest.raises(DataError, match="there is no such folder"):
        chat.save(files / "nowhere" / "talk.jsonl")
    assert (files / "notes.txt").read_text() == "hello"


# -- runs ------------------------------------------------------------------------------------------


@pytest.fixture
def model(answerer: Trained) -> Model:
    return load(answerer.folder)


def test_a_run_answers_openai_messages(model: Model, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()

    def asked(address: str) -> str:
        parts = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": "say it twice"}]
        return model.chat([{"role": "user", "content": parts}], max_new_tokens=6)

    assert asked("a red.png") == asked(url)  # a path is resolved in the working folder
    with pytest.raises(MediaError, match="not under the data's folder"):
        asked("/etc/hostname")
    pieces = model.stream([{"role": "user", "content": "say it twice"}], max_new_tokens=6)
    assert "".join(pieces) == model.chat([{"role": "user", "content": "say it twice"}], max_new_tokens=6)


def test_a_run_opens_for_a_conversation(answerer: Trained, files: Path) -> None:
    chat = open_chat(answerer.folder, decoding=HOW)
    chat.show("image", files / "a red.png")
    say(chat, "which colour?")
    assert len(chat.messages) == 2


def test_the_command_answers_a_pipe(answerer: Trained, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    lines = "/image a red.png\nwhich colour?\n/image cut.png\nand now?\n/save talk.jsonl\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    said = call("chat", answerer.folder, "--max-tokens", "6")
    assert said.code == 2  # one line of it was wrong
    assert [line for line in said.err.splitlines() if line.startswith("error: ")] == [
        "error: cut.png: the picture is truncated; export it again"
    ]
    [saved] = (files / "talk.jsonl").read_text(encoding="utf-8").splitlines()
    turns = json.loads(saved)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2
    assert said.out == f"{turns[1]['content']}\n{turns[3]['content']}\n"


def test_a_run_that_classifies_names_the_command_for_it(
    classifier: Trained, monkeypatch: pytest.MonkeyPatch, refuse: Callable[..., None]
) -> None:
    monkeypatch.setattr("sensorium.jobs.opened.Model.__init__", refuse)  # known before any weight is read
    with pytest.raises(RunError, match="this run classifies and does not talk; answer rows with: sensorium predict"):
        open_chat(classifier.folder)


@pytest.fixture
def refuse() -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise AssertionError("the model was opened")

    return refuse
