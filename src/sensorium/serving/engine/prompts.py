"""From messages to what the model reads: decoded, tokenised, measured. Runs beside the model, in a thread of its own."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

from sensorium.data.collate import Sequence
from sensorium.data.media import read_media
from sensorium.data.messages import Message
from sensorium.data.rows import Example
from sensorium.models.processor import Processor
from sensorium.models.turns import addressed
from sensorium.serving.engine.prefixes import media_name
from sensorium.serving.protocols import TooLong


@dataclass
class Prompt:
    """One prompt: its sequence (one branch), and a name of the content of each of its media."""

    sequence: Sequence
    names: list[bytes]

    def __len__(self) -> int:
        return len(self.sequence.ids)


class Prompts:
    """Makes prompts that leave at least one token of ``context`` to the answer. Not for two threads at once.

    Texts are never cut, other than in training: a history that is too long is refused. No file is ever opened.
    """

    def __init__(self, processor: Processor, context: int) -> None:
        self._processor = copy.copy(processor)
        self._processor.settings = replace(processor.settings, max_text_tokens=context + 1)  # longer is too long anyway
        self._processor.tokenizer = copy.deepcopy(processor.tokenizer)
        self._processor.text_tokenizer = copy.deepcopy(processor.text_tokenizer)
        self._processor.read_media = partial(read_media, root=None)
        self.context = context

    def make(self, messages: list[Message]) -> Prompt:
        """Messages that end with the user's turn -> a prompt.

        Raises:
            TooLong: it does not fit. MediaError: a picture or sound cannot be read.
            DataError: the model takes no such input, or the chat template refuses the turns.
        """
        turns = addressed(messages, self._processor)
        sequence = self._processor.sequence([Example(0, {"messages": turns}, None)], answering=True, whole=True)
        if len(sequence.ids) >= self.context:
            raise TooLong(len(sequence.ids), self.context)
        return Prompt(sequence, [media_name(item) for item in sequence.media])
