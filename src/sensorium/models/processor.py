"""The processor: from one example (a row) to a sequence that the model reads. Saved with the model.

It knows the inputs' types, the encoders' settings, the tokenizers and the table codec that was fitted on training
rows; with them a row is decoded, cleaned, augmented (in training only) and turned into tokens and tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import MediaItem, Sequence
from sensorium.data.messages import MediaPart, Message, TextPart, cell_lines
from sensorium.data.rows import Example
from sensorium.errors import RecipeError, RunError
from sensorium.modalities import audio, generator, image, text
from sensorium.modalities.table import TableCodec
from sensorium.models.encoders import positions
from sensorium.models.history import Parts, in_words, newest, told_first
from sensorium.models.multimodal_gpt import GPT
from sensorium.models.processor_settings import TABLE, TABLE_TYPES, ProcessorSettings
from sensorium.models.recogniser import Recogniser
from sensorium.models.sequences import Flat, flatten, join, options, plain, remember, turn_tokens
from sensorium.recipe import LATE_FUSIONS, FusionRecipe

ReadMedia = Callable[[Any], bytes]
# Input: features (positions, width), of a column by row (None where missing), of a chat's parts by their bytes.
Cached = Mapping[str, Callable[[Any], Tensor | None]]
RECOGNISER = "recogniser"  # the folder of a saved processor that holds what recognises speech


class Processor:
    """Examples -> sequences.

    Args:
        settings: see ``ProcessorSettings``.
        tokenizer: the GPT's; text_tokenizer: the text encoder's, where there is one.
        read_media: the one way from a reference to bytes.
        recogniser: bytes of a sound -> its words, where ``settings.speech`` asks for them.
    """

    def __init__(
        self,
        settings: ProcessorSettings,
        tokenizer: Any,
        text_tokenizer: Any = None,
        read_media: ReadMedia | None = None,
        recogniser: Recogniser | None = None,
    ) -> None:
        self.settings, self.tokenizer, self.text_tokenizer = settings, tokenizer, text_tokenizer
        self.read_media, self.recogniser = read_media, recogniser
        self.fusion = FusionRecipe(**settings.fusion)
        self.codec = TableCodec.from_dict(settings.table) if settings.table else None

    # -- modalities --------------------------------------------------------------------------------

    def values(self, name: str, example: Example, rng: np.random.Generator | None = None) -> Tensor | None:
        """What the encoder of input ``name`` reads, or None where the cell is missing.

        Shapes: image (3, size, size); audio (80, frames) or (samples,); text (tokens,); table (numbers + categories,).
        ``rng`` augments.
        """
        kind = self.settings.encoders[name]
        if kind == TABLE:
            return self._table(example)
        cell = example.inputs.get(name)
        if cell is None:
            return None
        return {"image": self._image, "audio": self._audio, "text": self._text}[kind](cell, rng)

    def _image(self, cell: Any, rng: np.random.Generator | None) -> Tensor:
        pixels = image.decode(self._bytes(cell))
        if rng is not None:
            pixels = image.augment(pixels, rng)
        pixels = image.resize(pixels, self.settings.image_size)
        return torch.from_numpy(image.normalise(pixels, self.settings.image_mean, self.settings.image_std))

    def _audio(self, cell: Any, rng: np.random.Generator | None) -> Tensor:
        samples = audio.decode(self._bytes(cell), max_seconds=self.settings.max_seconds)
        if rng is not None:
            samples = audio.augment(samples, rng)
        if self.settings.audio_values == "log_mel":
            return torch.from_numpy(audio.log_mel(samples))
        return torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).float()

    def _text(self, cell: Any, rng: np.random.Generator | None) -> Tensor | None:
        cleaned = text.clean(str(cell))
        if rng is not None:
            cleaned = text.augment(cleaned, rng)
        limit = min(self.settings.max_text_tokens, self.text_tokenizer.model_max_length, 512)
        ids = self.text_tokenizer(cleaned[: 32 * limit], truncation=True, max_length=limit)["input_ids"]
        return torch.tensor(ids or [self.text_tokenizer.pad_token_id or 0], dtype=torch.long)  # never nothing to read

    def _table(self, example: Example) -> Tensor | None:
        assert self.codec is not None
        cells = self._cells(example)
        if all(cell is None for cell in cells.values()):
            return None
        row = self.codec.transform(cells)
        return torch.from_numpy(np.concatenate([row["numbers"], row["categories"]]).astype(np.float32))

    def _cells(self, example: Example) -> dict[str, Any]:
        """The cells that make up the table input."""
        return {name: example.inputs.get(name) for name, kind in self.settings.inputs.items() if kind in TABLE_TYPES}

    def _bytes(self, cell: Any) -> bytes:
        if isinstance(cell, bytes):
            return cell
        if self.read_media is None:
            raise RunError("this processor was opened without a way to read media")
        return self.read_media(cell)

    def item(self, name: str, example: Example, rng: np.random.Generator | None, cached: Cached | None) -> MediaItem:
        """One cell as the model reads it: cached features, or raw values."""
        if cached is not None and name in cached:
            features = cached[name](example.row)
            return MediaItem(name, features, 1 if features is None else len(features), cached=True)
        value = self.values(name, example, rng)
        count = 1 if value is None else positions(self.settings.encoders[name], self._extent(name, value), self.fusion)
        return MediaItem(name, value, count)

    def _extent(self, name: str, value: Tensor) -> int:
        if self.codec is not None and self.settings.encoders[name] == TABLE:
            return 1 + len(self.codec.sizes()["categories"])  # numbers together, each category
        if self.settings.encoders[name] != "audio":
            return value.shape[-1] if value.ndim == 1 else 0
        return value.shape[-1] * 10 if value.ndim == 2 else value.shape[-1] // 16  # milliseconds

    # -- sequences ---------------------------------------------------------------------------------

    def sequence(
        self,
        examples: list[Example],
        *,
        epoch: int | None = None,
        seed: int = 0,
        cached: Cached | None = None,
        answering: bool = False,
        choices: list[str] | None = None,
        answer: str | None = None,
        whole: bool = False,
        last_only: bool = False,
    ) -> Sequence:
        """Rows that share their media -> one sequence (one row where the task classifies).

        Args:
            epoch: augment, with randomness from (seed, epoch, row); None: do not.
            cached: gives features instead of raw values.
            answering: end where the answer begins, instead of teaching it.
            choices: append each of these answers as a branch of its own (one row only).
            answer: taught instead of the rows' own.
            whole: a long conversation keeps all its turns; else the oldest are left out.
            last_only: of a conversation, teach the last answer alone instead of every assistant's turn.
        """
        if answer is not None:
            examples = [replace(example, target=answer) for example in examples]
        ends = answering or choices is not None
        flats = [self._flat(example, epoch, seed, cached, ends, whole, last_only) for example in examples]
        alternatives = options([text.clean(choice) for choice in choices], self.tokenizer) if choices else None
        sequence = join(flats, [example.row for example in examples], alternatives)
        if self.settings.task == "classify":
            sequence.targets = [self.target(example.target) for example in examples if self._known(example.target)]
        if self.fusion.kind == "cross_attention":
            remember(sequence)
        return sequence

    def _flat(
        self,
        example: Example,
        epoch: int | None,
        seed: int,
        cached: Cached | None,
        answering: bool,
        whole: bool,
        last_only: bool,
    ) -> Flat:
        rng = None if epoch is None else generator(seed, epoch, example.row)
        placeholders = self.fusion.kind == "tokens"
        if self.settings.task == "classify":
            media = [self.item(name, example, rng, cached) for name in sorted(self.settings.encoders)]
            if cached is not None and GPT in cached:  # the GPT's reading of the text is known already
                media.append(self.item(GPT, example, None, cached))
                return plain({}, self.tokenizer, media, [], placeholders=False, max_text_tokens=8)
            cells = {name: example.inputs.get(name) for name in self.texts}
            texts = {name: "" if cell is None else text.clean(str(cell)) for name, cell in cells.items()}
            return plain(
                texts,
                self.tokenizer,
                media,
                [],
                placeholders=placeholders,
                max_text_tokens=self.settings.max_text_tokens,
                always=self.fusion.kind not in LATE_FUSIONS,
            )
        messages = self.messages(example, with_answer=not answering)
        if "messages" in example.inputs:
            if not whole:
                messages = newest(messages, self._size, self.settings.max_text_tokens, self.settings.context)
            messages = told_first(messages, cell_lines(example.inputs, self.settings.inputs))
        parts = [part for message in messages for part in message.parts if isinstance(part, MediaPart)]
        media = [self._part(part, example, rng, cached) for part in parts]
        keys = [repr((part.column, self._reference(part, example))) for part in parts]
        return flatten(
            messages,
            self.tokenizer,
            media,
            keys,
            placeholders=placeholders,
            answering=answering,
            max_text_tokens=self.settings.max_text_tokens,
            last_only=last_only,
        )

    def _size(self, message: Message) -> tuple[int, int]:
        """Tokens of a turn's text, and at most so many positions of its media."""
        words = [part.text for part in message.parts if isinstance(part, TextPart)]
        tokens = sum(len(self.tokenizer.encode(text, add_special_tokens=False)) for text in words)
        longest = {
            kind: positions(kind, int(1000 * self.settings.max_seconds), self.fusion) for kind in ("image", "audio")
        }
        media = [longest[part.type] for part in message.parts if isinstance(part, MediaPart)]
        return turn_tokens(self.tokenizer) + tokens, sum(media) if self.fusion.kind == "tokens" else 0

    def _part(
        self, part: MediaPart, example: Example, rng: np.random.Generator | None, cached: Cached | None
    ) -> MediaItem:
        if part.column in example.inputs or part.column == TABLE:
            return self.item(part.column, example, rng, cached)
        data = self._bytes(part.reference)  # a part of a chat stands in no column
        if cached is not None and part.column in cached:
            features = cached[part.column](data)
            if features is not None:
                return MediaItem(part.column, features, len(features), cached=True)
        return self.item(part.column, Example(example.row, {part.column: data}, None), rng, None)

    def _reference(self, part: MediaPart, example: Example) -> Any:
        """What a part shows: rows may share it where this is equal."""
        return self._cells(example) if self.settings.encoders.get(part.column) == TABLE else part.reference

    @property
    def texts(self) -> list[str]:
        """Columns that the GPT reads as text."""
        return [name for name, kind in self.settings.inputs.items() if kind == "text"]

    def messages(self, example: Example, *, with_answer: bool) -> list[Message]:
        """A row as a conversation: media in order of their columns, then its texts; the target is the answer."""
        if "messages" in example.inputs:
            told: list[Message] = list(example.inputs["messages"])
            told = told if with_answer or not told or told[-1].role != "assistant" else told[:-1]
            return [replace(message, parts=self._heard(message.parts)) for message in told]
        kinds = {**self.settings.encoders}
        if self.settings.speech != "features":  # a sound that is only recognised needs no encoder
            kinds |= {name: kind for name, kind in self.settings.inputs.items() if kind == "audio"}
        media: list[Any] = [MediaPart(kinds[n], n, example.inputs.get(n)) for n in sorted(kinds)]  # type: ignore[arg-type]
        words = self.words({name: example.inputs[name] for name in self.texts if example.inputs.get(name) is not None})
        turns = [Message("system", (TextPart(self.settings.system),))] if self.settings.system else []
        turns.append(Message("user", self._heard((*media, TextPart(words)) if words else tuple(media))))
        if with_answer:
            turns.append(Message("assistant", (TextPart(text.clean(str(example.target))),)))
        return turns

    def _heard(self, parts: Parts) -> Parts:
        return (
            in_words(parts, self.recognised, self.settings.speech == "both")
            if self.settings.speech != "features"
            else parts
        )

    def recognised(self, reference: Any) -> str:
        """What is said in a sound, by its reference; empty where it is missing. Raises MediaError where it is none."""
        if reference is None:
            return ""
        if self.recogniser is None:
            raise RunError("this processor was opened without speech recognition", mend="rerun sensorium fit")
        return text.clean(self.recogniser(self._bytes(reference)))

    def words(self, cells: dict[str, Any]) -> str:
        """Text cells as what a user says: the text itself, or named lines where the table has several columns."""
        cleaned = {name: text.clean(str(cell)) for name, cell in cells.items()}
        if len(self.texts) == 1:
            return next(iter(cleaned.values()), "")
        return "\n".join(f"{name}: {cell}" for name, cell in cleaned.items())

    def target(self, value: Any) -> float:
        """A target as the head is taught it: a class's number, or a standardised number."""
        if self.settings.classes is not None:
            return float(self.settings.classes.index(str(value)))
        return (float(value) - self.settings.target_mean) / self.settings.target_scale

    def _known(self, value: Any) -> bool:
        """Whether a target is there and, of classes, one that the model knows."""
        return value is not None and (self.settings.classes is None or str(value) in self.settings.classes)

    # -- saving and loading ------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write settings and tokenizers."""
        folder = Path(folder)
        self.tokenizer.save_pretrained(folder)
        if self.text_tokenizer is not None:
            self.text_tokenizer.save_pretrained(folder / "text_tokenizer")
        if self.recogniser is not None:
            self.recogniser.save(folder / RECOGNISER)
        self.settings.write(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, read_media: ReadMedia | None = None) -> Processor:
        """A saved processor. Raises RunError where its file is missing or does not fit."""
        from transformers import AutoTokenizer

        folder = Path(folder)
        settings = ProcessorSettings.read(folder)
        words = folder / "text_tokenizer"
        try:
            text_tokenizer = AutoTokenizer.from_pretrained(words, trust_remote_code=False) if words.is_dir() else None
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # a damaged or foreign folder: libraries raise whatever they like
            raise RunError("the tokenizer cannot be read", where=str(folder), mend="rerun sensorium fit") from error
        recogniser = None
        if settings.speech != "features":
            try:
                recogniser = Recogniser(folder / RECOGNISER)
            except RecipeError as error:
                raise RunError(error.what, where=str(folder / RECOGNISER), mend="copy the run again") from None
        return cls(settings, tokenizer, text_tokenizer, read_media, recogniser)
