"""``chat``: a conversation with a run's model, its answers word by word."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sensorium.data.collate import collate
from sensorium.data.media import read_media
from sensorium.data.messages import Message, from_openai
from sensorium.errors import DataError, MediaError, RunError
from sensorium.modalities import audio, image
from sensorium.models.decoding import DecodingSettings, stream
from sensorium.models.detokenise import stripped, text_pieces
from sensorium.models.sequences import end_of_turn
from sensorium.models.turns import Prompt, addressed, context_length, fitted
from sensorium.run import write_atomic

if TYPE_CHECKING:
    from sensorium.jobs.opened import Model

MAX_TOKENS = 256
Sense = Literal["image", "audio"]


def open_chat(run: str | Path, *, system: str | None = None, decoding: DecodingSettings | None = None) -> Chat:
    """Open a run for a conversation.

    Raises:
        RunError: there is no such run, it is damaged, or it classifies instead of answering in words.
    """
    from sensorium.jobs.opened import load, read_schema, read_tuned

    if read_schema(read_tuned(run)).task != "generate":
        mend = f"answer rows with: sensorium predict {run} --data FILE --out FILE"
        raise RunError("this run classifies and does not talk", where=str(run), mend=mend)
    return Chat(load(run), system=system, decoding=decoding)


class Chat:
    """One conversation: what was said, what is shown next, and the next answer.

    Args:
        system: what the model is told before everything else; it is never left out.
        decoding: how answers are drawn.

    Attributes:
        messages: all turns so far in OpenAI's form, pictures and sounds within them as base64.
        shown: parts that go with the next question.
        left_out: how many of the oldest messages the context no longer held at the last answer.
    """

    def __init__(self, model: Model, *, system: str | None = None, decoding: DecodingSettings | None = None) -> None:
        self.model, self.decoding = model, decoding or DecodingSettings(max_new_tokens=MAX_TOKENS)
        self._start: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        self._saved: set[Path] = set()
        self.reset()

    def reset(self) -> None:
        """Forget what was said and shown."""
        self.messages, self.shown, self.left_out = list(self._start), list[dict[str, Any]](), 0

    def show(self, sense: Sense, path: str | Path) -> None:
        """Put a picture or sound before the next question.

        Raises:
            MediaError: there is no such file, or it is no picture or sound that can be read.
            DataError: the model takes none.
        """
        part = {"image": _picture, "audio": _sound}[sense](_checked(sense, path))
        addressed(from_openai([{"role": "user", "content": [part]}], answered=False), self.model.processor)
        self.shown.append(part)

    def ask(self, text: str) -> Iterator[str]:
        """The answer to what is shown and said, in pieces; ``left_out`` is known before the first of them.

        Question and answer join the conversation when the iteration ends, an answer that was stopped as far as it
        came. A question that was stopped before the first word of its answer is taken back.

        Raises:
            DataError: the question does not fit the context.
        """
        question = {"role": "user", "content": [*self.shown, {"type": "text", "text": text}] if self.shown else text}
        self.model.processor.read_media = partial(read_media, root=None)  # what is shown was read already
        messages = told([*self.messages, question], self.model)
        prompt = prompt_of(messages, self.model, self.decoding, self.left_out)
        self.left_out = prompt.left_out
        return self._answer(question, prompt)

    def _answer(self, question: dict[str, Any], prompt: Prompt) -> Iterator[str]:
        said, whole = "", False
        try:
            for piece in answer(prompt, self.model, self.decoding):
                said += piece
                yield piece
            whole = True
        finally:
            if said or whole:
                self.messages += [question, {"role": "assistant", "content": said}]
                self.shown.clear()

    def save(self, path: str | Path) -> None:
        """Write the conversation as a line of chat JSONL, from which a run can learn.

        Raises:
            DataError: nothing was said yet, or there is a file that this conversation did not write.
        """
        place = Path(path).expanduser().resolve()
        if self.messages == self._start:
            raise DataError("nothing was said yet", where=str(path), mend="ask something first")
        if place.exists() and place not in self._saved:
            raise DataError("there is a file of this name already", where=str(path), mend="give another name")
        if not place.parent.is_dir():
            raise DataError("there is no such folder", where=str(place.parent), mend="make it, or give another name")
        write_atomic(place, json.dumps({"messages": self.messages}, ensure_ascii=False) + "\n")
        self._saved.add(place)


# -- prompts and answers ---------------------------------------------------------------------------


def told(messages: Any, model: Model) -> list[Message]:
    """OpenAI messages as the model's own, the user's last.

    Raises:
        DataError: they are malformed, do not end with the user, or show what the model does not take.
    """
    if model.processor.settings.task != "generate":
        raise DataError("this run classifies and does not talk", mend="call predict with rows")
    found = from_openai(messages, answered=False)
    if found[-1].role != "user":
        raise DataError("the last message is not the user's", where="messages", mend="end with what is asked")
    return addressed(found, model.processor)


def prompt_of(messages: list[Message], model: Model, decoding: DecodingSettings, known: int = 0) -> Prompt:
    """What the context holds beside an answer, which may take half of it at most.

    Args:
        known: how many of the oldest messages, the system's aside, did not fit before.
    """
    system = [message for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    context = context_length(model.model)
    room = context - min(decoding.max_new_tokens, context // 2)
    prompt = fitted([*system, *turns[known:]], model.processor, room)
    return replace(prompt, left_out=prompt.left_out + known)


def answer(prompt: Prompt, model: Model, decoding: DecodingSettings) -> Iterator[str]:
    """The answer in pieces of text, as the model finds them; no white space around the whole."""
    tokenizer = model.processor.tokenizer
    room = context_length(model.model) - len(prompt.sequence.ids)
    decoding = replace(decoding, max_new_tokens=min(decoding.max_new_tokens, room))
    batch = collate([prompt.sequence], pad_id=tokenizer.eos_token_id or 0)
    stops = {tokenizer.eos_token_id, end_of_turn(tokenizer)}
    yield from stripped(text_pieces(stream(model.model, batch, stops, decoding), tokenizer))


def stream_chat(messages: Any, model: Model, decoding: DecodingSettings, root: Path) -> Iterator[str]:
    """The answer to OpenAI messages in pieces; their paths are resolved under ``root``."""
    model.processor.read_media = partial(read_media, root=root)
    yield from answer(prompt_of(told(messages, model), model, decoding), model, decoding)


# -- media of the one at the keyboard --------------------------------------------------------------


def _checked(sense: Sense, path: str | Path) -> bytes:
    """A file's bytes, once it is known that they can be decoded."""
    place = Path(path).expanduser().resolve()
    if not place.is_file():
        word = "picture" if sense == "image" else "sound"
        raise MediaError("there is no such file", where=str(path), mend=f"give the path of a {word} on this machine")
    try:
        data = read_media(place.name, place.parent)
        if sense == "image":
            image.decode(data)
        else:
            audio.decode(data)
    except MediaError as error:
        raise MediaError(error.what, where=str(path), mend=error.mend) from None
    return data


def _picture(data: bytes) -> dict[str, Any]:
    kind = image.header(data)[0].lower()
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{base64.b64encode(data).decode()}"}}


def _sound(data: bytes) -> dict[str, Any]:
    kind = audio.header(data)[0].lower()
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}
