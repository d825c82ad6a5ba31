"""Text of any size, tokenised once into shards on disk that are mapped, not read.

A shard is a folder of NumPy arrays, made from about 4 MiB of text; which documents make it follows from the texts alone, so
an interruption loses the shard at work and nothing else, and what is made afterwards is what would have been. Memory is that
of one shard, however long the text.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from sensorium.data.text.sentences import SentenceParts, encoded
from sensorium.errors import DataError
from sensorium.recipe import SplitRecipe
from sensorium.run import folder_beside, sha256_text, write_json

VERSION = 1  # of the shards; another number makes old ones invisible
SHARD = 4 << 20  # characters of text in one shard
TOGETHER = 1 << 18  # characters tokenised in one call
PARTS = ("train", "validation", "test")
FILES = ("tokens", "starts", "sentences", "digests", "sizes")


@dataclass(frozen=True)
class Shard:
    """Documents as tokens, each from the token that begins one to the token that ends it.

    Shapes: ``tokens`` (tokens,) uint16 or uint32; ``starts`` (documents + 1,) into tokens; ``sentences`` (sentences,) the
    first token of each, in order; ``digests`` (documents,) uint64 of the texts; ``sizes`` (documents,) UTF-8 bytes. All are
    mapped from disk.
    """

    tokens: np.ndarray
    starts: np.ndarray
    sentences: np.ndarray
    digests: np.ndarray
    sizes: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> Shard:
        """Map the arrays of a folder. Raises DataError where one is missing or damaged."""
        try:
            return cls(*(mapped(folder / f"{name}.npy") for name in FILES))
        except (OSError, ValueError, EOFError):
            mend = "remove that folder and run the same command again"
            raise DataError("tokenised text is missing or damaged", where=str(folder), mend=mend) from None


def mapped(path: Path) -> np.ndarray:
    """An array on disk whose pages are read when they are looked at."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


@dataclass(frozen=True)
class Corpus:
    """Tokenised documents, numbered from 0 over all shards.

    Attributes:
        folder: of the shards; files that follow from them may be kept beside them.
        firsts: (shards + 1,) number of the first document of each shard.
        tokens: how many there are, with those that begin and end documents.
        begin, end: the tokens around a document.
        sentences: whether documents are parted into sentences.
        notes: what is worth telling: rows set aside.
    """

    folder: Path
    firsts: np.ndarray
    tokens: int
    begin: int
    end: int
    sentences: bool
    notes: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Documents."""
        return int(self.firsts[-1])

    @property
    def shards(self) -> int:
        return len(self.firsts) - 1

    def shard(self, number: int) -> Shard:
        return _opened(self.folder / f"{number:05d}")

    def document(self, number: int) -> np.ndarray:
        """The tokens (tokens,) of a document, int64."""
        shard, local = self.place(number)
        opened = self.shard(shard)
        return np.asarray(opened.tokens[opened.starts[local] : opened.starts[local + 1]], dtype=np.int64)

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """UTF-8 bytes of documents, (n,) -> (n,)."""
        places = [self.place(int(number)) for number in numbers]
        return np.array([self.shard(shard).sizes[local] for shard, local in places], dtype=np.int64)

    def place(self, number: int) -> tuple[int, int]:
        """The shard of a document and its number there."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        shard = int(np.searchsorted(self.firsts, number, side="right")) - 1
        return shard, number - int(self.firsts[shard])


@lru_cache(maxsize=4096)  # maps, not memory: windows are read in any order
def _opened(folder: Path) -> Shard:
    return Shard.open(folder)


def tokenised(
    texts: Iterable[str],
    key: str,
    tokenizer: Any,
    cache: Path,
    progress: Callable[[int], None] | None = None,
    shard: int = SHARD,
) -> Corpus:
    """The texts as tokens, from the cache where the same ones were tokenised before.

    Args:
        texts: documents, read anew by each ``iter``; see ``documents.Documents``.
        key: names their content: ``sources.files_fingerprint`` of the files and how they are parted.
        tokenizer: a fast one. Documents stand between its cls, bos or eos token and its sep or eos token.
        cache: folder; processes that want the same wait for the first.
        progress: called with the characters of each shard.
        shard: characters of text in one; a document is never parted.

    Raises:
        DataError: there is no text, or the cache cannot be written.
    """
    begin, end = ends(tokenizer)
    inner = sha256_text(tokenizer.backend_tokenizer.to_str())
    folder = Path(cache) / f"text-{sha256_text(f'{VERSION} {key} {inner} {begin} {end} {shard}')[:32]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not (folder / "corpus.json").exists():
                _tokenise(texts, tokenizer, folder, progress, shard)
    except OSError as error:
        raise _unwritable(cache, error) from None
    told = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    firsts = np.concatenate([[0], np.cumsum(told["documents"])]).astype(np.int64)
    return Corpus(folder, firsts, told["tokens"], begin, end, told["sentences"], told["notes"])


def ends(tokenizer: Any) -> tuple[int, int]:
    """The tokens that begin and end a document. Raises DataError where the tokenizer has none."""
    known = [tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.sep_token_id]
    begin = next((token for token in known if token is not None), None)
    if begin is None:
        raise DataError("the tokenizer has no token that begins a text", mend="give it an eos token such as </s>")
    closing = (tokenizer.sep_token_id, tokenizer.eos_token_id, begin)
    return int(begin), int(next(token for token in closing if token is not None))


# -- making shards ---------------------------------------------------------------------------------


def _tokenise(
    texts: Iterable[str], tokenizer: Any, folder: Path, progress: Callable[[int], None] | None, size: int
) -> None:
    """Every shard that is not there yet, then ``corpus.json``, which says that all are."""
    folder.mkdir(exist_ok=True)
    for left in folder.glob(".*"):  # of a call that was killed; the lock says that nobody is at it
        shutil.rmtree(left, ignore_errors=True)
    parts, (begin, end) = SentenceParts(tokenizer), ends(tokenizer)
    type_ = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    counts, tokens = [], 0
    for number, block in enumerate(_blocks(texts, size)):
        place = folder / f"{number:05d}"
        if not place.exists():
            _save(place, _shard(block, parts, tokenizer, begin, end, type_))
        counts.append(len(block))
        tokens += int(Shard.open(place).starts[-1])
        if progress:
            progress(sum(map(len, block)))
    if not counts:
        raise DataError("there is no text", mend="give a file with words in it")
    notes = {"set_aside": getattr(texts, "set_aside", [])}
    told = {"documents": counts, "tokens": tokens, "sentences": parts.exact, "notes": notes}
    write_json(folder / "corpus.json", told)


def _blocks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Documents of one shard, and of the next."""
    block: list[str] = []
    held = 0
    for text in texts:
        block.append(text)
        held += len(text)
        if held >= size:
            yield block
            block, held = [], 0
    if block:
        yield block


def _shard(
    texts: list[str], parts: SentenceParts, tokenizer: Any, begin: int, end: int, type_: Any
) -> dict[str, np.ndarray]:
    tokens: list[np.ndarray] = []
    starts, sentences, at = [0], [], 0
    for together in _blocks(texts, TOGETHER):
        pieces = [parts(text) for text in together]
        found = iter(encoded([piece for text in pieces for piece in text], tokenizer))
        made: list[np.ndarray] = []
        for text in pieces:
            made.append(np.array([begin]))
            at += 1
            for _ in text:
                made.append(next(found))
                if len(made[-1]):
                    sentences.append(at)
                    at += len(made[-1])
            made.append(np.array([end]))
            at += 1
            starts.append(at)
        tokens.append(np.concatenate(made).astype(type_))
    return {
        "tokens": np.concatenate(tokens),
        "starts": np.array(starts, dtype=np.int64),
        "sentences": np.array(sentences, dtype=np.int64),
        "digests": np.array([digest_of(text) for text in texts], dtype=np.uint64),
        "sizes": np.array([len(text.encode(errors="replace")) for text in texts], dtype=np.int64),
    }


# -- what follows from shards ----------------------------------------------------------------------


def derived(corpus: Corpus, name: str, make: Callable[[Shard], dict[str, np.ndarray]]) -> Path:
    """The folder ``name`` beside the shards: for each of them the arrays that ``make`` gives, in ``00000/ARRAY.npy``.

    They are made once; processes that want the same wait for the first.
    """
    folder = corpus.folder / name
    try:
        with FileLock(folder.with_name(f"{name}.lock")):
            folder.mkdir(exist_ok=True)
            for number in range(corpus.shards):
                place = folder / f"{number:05d}"
                if not place.exists():
                    _save(place, make(corpus.shard(number)))
    except OSError as error:
        raise _unwritable(corpus.folder, error) from None
    return folder


def _save(place: Path, arrays: dict[str, np.ndarray]) -> None:
    with folder_beside(place) as temporary:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)


def _unwritable(folder: Path, error: OSError) -> DataError:
    cause, mend = error.strerror or str(error), "free space there and make it writable, or put the cache elsewhere"
    return DataError(f"the cache cannot be written ({cause})", where=str(folder), mend=mend)


# -- parts -----------------------------------------------------------------------------------------


def digest_of(text: str) -> int:
    """A number below 2⁶⁴ that follows from a text."""
    return int.from_bytes(blake2b(text.encode(errors="replace"), digest_size=8).digest(), "big")


def parts_of(digests: np.ndarray, split: SplitRecipe) -> np.ndarray:
    """The part of each document, as its place in ``PARTS``: drawn from its text, so equal ones never straddle parts.

    Args:
        digests: (documents,) uint64.
    """
    with np.errstate(over="ignore"):  # SplitMix64 (Steele et al. 2014) of digest and seed
        mixed = digests + np.uint64((split.seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    draws = mixed / 2.0**64
    return np.where(draws < split.test, 2, np.where(draws < split.test + split.validation, 1, 0))


def inside(shard: Shard, part: str | None, split: SplitRecipe) -> np.ndarray:
    """Numbers, in their shard, of the documents of a part; all of them where ``part`` is None."""
    if part is None:
        return np.arange(len(shard.digests))
    return np.flatnonzero(parts_of(np.asarray(shard.digests), split) == PARTS.index(part))
