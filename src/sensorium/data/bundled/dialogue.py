"""``emoji-dialogue``: conversations about emoji, typed and spoken, derived from the pictures' groups, names and tags.

A conversation has one to three exchanges about one or two images, and ends with a question of one of ten kinds. What is
held out for testing is held out whole: concepts, voices, and ways to ask. Images of one conversation come from one set of
eight concepts, which the column ``concept`` names, so that neither splits by that column nor the one given (``split``)
ever part them.

The words are chosen so that a small recogniser hears espeak-ng's voices well: "class" and "type" for group and subgroup,
"title" for name, "image" for picture.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sensorium.data.bundled.phrases import ASKED, FOLLOW_UPS, SYSTEM, Phrases
from sensorium.data.readers.chunks import Chunk, from_values
from sensorium.modalities.audio import RATE, noisy

COUNTS = {"train": 2100, "validation": 200, "test": 500}  # conversations
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}  # of the sets of concepts
CONCEPTS_TOGETHER = 8
LEVELS = (None, None, None, 20, 10, 0)  # signal to noise in dB, None clean: drawn for each spoken conversation
VOICES = {
    "train": (
        *("en-us", "en-us+edward", "en-us+m1", "en-us+m3", "en-us+rob", "en-us+pedro", "en-us+Diogo", "en-us+michel"),
        *("en-us+f3", "en-us+f4", "en-us+steph2", "en-us+anika", "en-us+m7", "en-us+adam", "en-us-nyc+m3", "en-gb"),
        *("en-gb+m3", "en-gb-x-rp+f2"),
    ),
    "test": ("en-us+m5", "en-us+Hugo", "en-us+Michael", "en-us+grandma", "en-us+paul", "en-gb+f2", "en-gb-x-rp"),
}
SPEEDS = {"train": (115, 175), "test": (120, 165)}  # words a minute
PITCHES = {"train": (35, 65), "test": (40, 60)}
COLUMNS = ("kind", "asked", "needs_history", "snr", "voice", "concept", "split", "words")


@dataclass(frozen=True)
class Emoji:
    """What is asked about one picture; ``picture`` is its PNG."""

    concept: str
    name: str
    group: str
    subgroup: str
    tags: tuple[str, ...]
    picture: bytes


@dataclass(frozen=True)
class Turn:
    """One exchange: images that are shown, what is asked, what is answered."""

    images: tuple[bytes, ...]
    words: str
    answer: str


@dataclass(frozen=True)
class Conversation:
    """Exchanges of one kind of last question, and how they sound where they are spoken."""

    kind: str
    concept: str
    split: str
    turns: tuple[Turn, ...]
    voice: str
    speed: int
    pitch: int
    seed: tuple[int, ...]

    @property
    def needs_history(self) -> bool:
        return self.kind in FOLLOW_UPS


# -- which conversations there are -----------------------------------------------------------------


def conversations(emoji: list[Emoji], split: str, count: int, seed: int = 0) -> Iterator[Conversation]:
    """``count`` conversations of a part (train, validation, test); the same arguments give the same ones.

    Kinds come in turn, so that each has its share.
    """
    pool = sets_of(emoji, split, seed)
    kinds = (*ASKED, *FOLLOW_UPS)
    held = "test" if split == "test" else "train"
    for number in range(count):
        key = (seed, 11, list(SHARES).index(split), number)
        rng = np.random.default_rng(key)
        together = pool[int(rng.integers(len(pool)))]
        kind = kinds[number % len(kinds)]
        turns = _Asking(together, held, rng).turns(kind)
        voice = VOICES[held][int(rng.integers(len(VOICES[held])))]
        speed, pitch = int(rng.integers(*SPEEDS[held])), int(rng.integers(*PITCHES[held]))
        yield Conversation(kind, together[0].concept, split, tuple(turns), voice, speed, pitch, key)


def sets_of(emoji: list[Emoji], split: str, seed: int = 0) -> list[list[Emoji]]:
    """The sets of concepts of a part, as their pictures: no concept is in two sets."""
    by_concept: dict[str, list[Emoji]] = {}
    for one in emoji:
        by_concept.setdefault(one.concept, []).append(one)
    names = sorted(by_concept)
    order = np.random.default_rng([seed, 12]).permutation(len(names))
    sets = np.array_split(order, max(len(names) // CONCEPTS_TOGETHER, len(SHARES)))  # at least so many in each
    test, validation = (max(1, round(SHARES[part] * len(sets))) for part in ("test", "validation"))
    parts = {"test": sets[:test], "validation": sets[test : test + validation], "train": sets[test + validation :]}
    return [[one for place in some for one in by_concept[names[place]]] for some in parts[split]]


class _Asking:
    """Exchanges about images of one set, in a part's own words."""

    def __init__(self, together: list[Emoji], held: str, rng: np.random.Generator) -> None:
        self.together, self.held, self.rng = together, held, rng

    def turns(self, kind: str) -> list[Turn]:
        """The exchanges that end in a question of ``kind``."""
        one, other = self._pair()
        if kind == "same_class":
            return [Turn((one.picture, other.picture), self._say(ASKED[kind]), _yes(one.group == other.group))]
        if kind in ASKED:  # stands alone, now and then behind a question about another image
            before = [self._plain(self._pick(self.together), self._kind())] if self.rng.random() < 0.4 else []
            tagged = [other for other in self.together if other.tags] or self.together
            return [*before, self._plain(self._pick(tagged) if kind == "tag" else one, kind)]
        if kind == "its_type":
            return [self._plain(one, "group"), Turn((), self._say(FOLLOW_UPS[kind]), one.subgroup)]
        if kind == "its_class":
            return [self._plain(one, "subgroup"), Turn((), self._say(FOLLOW_UPS[kind]), one.group)]
        if kind == "this_one":
            asked = ("group", "subgroup")[int(self.rng.integers(2))]
            return [self._plain(one, asked), Turn((other.picture,), self._say(FOLLOW_UPS[kind]), getattr(other, asked))]
        if kind == "as_before":
            told = Turn((other.picture,), self._say(FOLLOW_UPS[kind]), _yes(one.group == other.group))
            return [self._plain(one, "group"), told]
        between = self._plain(other, ("subgroup", "name")[int(self.rng.integers(2))])
        return [self._plain(one, "group"), between, Turn((), self._say(FOLLOW_UPS[kind]), one.group)]

    def _plain(self, one: Emoji, kind: str) -> Turn:
        """A question about one image that stands alone."""
        if kind != "tag" or not one.tags:
            kind = "group" if kind == "tag" else kind
            return Turn((one.picture,), self._say(ASKED[kind]), getattr(one, kind))
        strange = sorted({tag for other in self.together for tag in other.tags} - set(one.tags))
        fits = not strange or self.rng.random() < 0.5
        tag = self._pick(one.tags if fits else strange)
        return Turn((one.picture,), self._say(ASKED["tag"]).format(tag=tag), _yes(fits))

    def _kind(self) -> str:
        return ("group", "subgroup", "name")[int(self.rng.integers(3))]

    def _pair(self) -> tuple[Emoji, Emoji]:
        """Two images of different concepts: of one group in half the cases, where the set has such."""
        pairs = [(one, other) for one in self.together for other in self.together if one.concept != other.concept]
        alike = [pair for pair in pairs if pair[0].group == pair[1].group]
        apart = [pair for pair in pairs if pair[0].group != pair[1].group]
        found = self._pick((alike if self.rng.random() < 0.5 else apart) or pairs)
        return found[0], found[1]

    def _say(self, phrases: Phrases) -> str:
        return str(self._pick(getattr(phrases, self.held)))

    def _pick(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]


def _yes(true: bool) -> str:
    return "yes" if true else "no"


# -- as messages -----------------------------------------------------------------------------------


def messages_of(conversation: Conversation, *, spoken: bool, snr: float | None = None) -> list[dict[str, Any]]:
    """A conversation as OpenAI's chat messages: images before words; with ``spoken`` every question is a sound.

    Args:
        snr: signal to noise in dB, of white noise; None: clean.
    """
    told: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}]
    for number, turn in enumerate(conversation.turns):
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_base64(data)}"}}
            for data in turn.images
        ]
        if spoken:
            sound = _base64(said(conversation, number, snr))
            parts.append({"type": "input_audio", "input_audio": {"data": sound, "format": "flac"}})
        else:
            parts.append({"type": "text", "text": turn.words})
        told += [{"role": "user", "content": parts}, {"role": "assistant", "content": turn.answer}]
    return told


def said(conversation: Conversation, number: int, snr: float | None) -> bytes:
    """The question of exchange ``number`` as FLAC at 16 kHz, half as loud as can be, in white noise of ``snr`` dB."""
    import soundfile
    import soxr

    from sensorium.assets.speech import synthesise

    spoken = conversation.turns[number].words
    samples, rate = synthesise(spoken, conversation.voice, conversation.speed, conversation.pitch)
    clean = soxr.resample(samples, rate, RATE)
    if snr is not None:
        rng = np.random.default_rng([*conversation.seed, number, 13])
        clean = noisy(clean, snr, rng.normal(size=len(clean)))
    file = io.BytesIO()
    soundfile.write(file, clean / max(float(np.abs(clean).max()), 1e-9) * 0.5, RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# -- as a table ------------------------------------------------------------------------------------


def read_emoji(path: Path) -> list[Emoji]:
    """The asset's pictures; of tags only single words that are easily said."""
    columns = ["concept", "name", "group", "subgroup", "tags", "picture"]
    rows = pq.read_table(path, columns=columns, use_threads=False).to_pylist()
    return [
        Emoji(
            **{name: str(row[name]) for name in columns[:4]},
            tags=tuple(tag for tag in row["tags"] or [] if tag.isalpha() and tag.islower() and 3 <= len(tag) <= 10),
            picture=row["picture"]["bytes"],
        )
        for row in rows
    ]


def chunks(path: Path, counts: dict[str, int] | None = None, seed: int = 0) -> Iterator[Chunk]:
    """The table, 128 conversations a chunk: ``messages`` as JSON beside ``COLUMNS``. Half of them are spoken."""
    emoji = read_emoji(path)
    told = (one for split, count in (counts or COUNTS).items() for one in conversations(emoji, split, count, seed))
    waiting: list[dict[str, str]] = []
    for one in told:
        waiting.append(_row(one))
        if len(waiting) == 128:
            yield _chunk(waiting)
            waiting = []
    if waiting:
        yield _chunk(waiting)


def _row(one: Conversation) -> dict[str, str]:
    rng = np.random.default_rng([*one.seed, 14])
    spoken, snr = bool(rng.random() < 0.5), LEVELS[int(rng.integers(len(LEVELS)))]
    return {
        "messages": json.dumps(messages_of(one, spoken=spoken, snr=snr)),
        "kind": one.kind,
        "asked": "spoken" if spoken else "typed",
        "needs_history": _yes(one.needs_history),
        "snr": "typed" if not spoken else "clean" if snr is None else f"{snr} dB",
        "voice": one.voice if spoken else "none",
        "concept": one.concept,
        "split": one.split,
        "words": one.turns[-1].words,
    }


def _chunk(rows: list[dict[str, str]]) -> Chunk:
    return Chunk(0, {name: from_values([row[name] for row in rows]) for name in ("messages", *COLUMNS)}, len(rows))
