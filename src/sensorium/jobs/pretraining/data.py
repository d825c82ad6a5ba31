"""The texts that are pretrained on: documents of files of any size, or the rows of a table, by part, as tokens on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium import assets
from sensorium.data.bundled.sets import BUNDLED
from sensorium.data.sources import files_fingerprint, find
from sensorium.data.text.documents import TEXT, Documents, text_files
from sensorium.data.text.stream import PARTS, Corpus, digest_of, inside, parts_of, tokenised
from sensorium.errors import DataError, RecipeError
from sensorium.jobs.pretraining.table import MediaTable, no_media, open_table
from sensorium.recipe import DataRecipe, Recipe, SplitRecipe
from sensorium.run import sha256_text
from sensorium.tasks.pretrain import WITH_MEDIA


@dataclass
class Texts:
    """What is read.

    Attributes:
        units: what a text is called: documents, rows; split: how documents are parted.
        table: where texts are those of a table's rows; documents: where they are of files. One is None.
    """

    fingerprint: str
    units: str
    split: SplitRecipe
    table: MediaTable | None = None
    documents: Documents | None = None

    @property
    def parts(self) -> list[str]:
        """Those that hold something: training, and what is chosen and reported on."""
        if self.table is not None:
            return [part for part in PARTS if self.table.texts[part]]
        return [part for part in PARTS if part == "train" or getattr(self.split, part)]

    def to_train_on(self) -> Iterator[str]:
        """The training texts, one at a time."""
        if self.table is not None:
            yield from self.table.texts["train"]
            return
        assert self.documents is not None
        for text in self.documents:
            if parts_of(np.array([digest_of(text)], dtype=np.uint64), self.split)[0] == PARTS.index("train"):
                yield text

    def tokens(self, part: str, tokenizer: Any, progress: Any) -> PartTokens:
        """A part as tokens on disk, made once."""
        if self.table is not None:
            texts = self.table.texts[part]
            return PartTokens(_corpus(texts, sha256_text("\x00".join(texts)), tokenizer, progress), None, self.split)
        assert self.documents is not None
        key = f"{self.fingerprint} {self.documents.parted_by} {self.documents.column}"
        return PartTokens(_corpus(self.documents, key, tokenizer, progress), part, self.split)


@dataclass
class PartTokens:
    """Documents of a corpus: those of ``part``, or all where it is None."""

    corpus: Corpus
    part: str | None
    split: SplitRecipe

    def numbers(self) -> np.ndarray:
        """(documents,) their numbers in the corpus, in order."""
        corpus = self.corpus
        found = [inside(corpus.shard(i), self.part, self.split) + corpus.firsts[i] for i in range(corpus.shards)]
        return np.concatenate(found)

    def counts(self, vocabulary: int) -> np.ndarray:
        """(vocabulary,) how often each token comes, the one that begins a document left out."""
        counts = np.zeros(vocabulary)
        for i in range(self.corpus.shards):
            shard = self.corpus.shard(i)
            mine = inside(shard, self.part, self.split)
            chosen = np.zeros(len(shard.digests), dtype=bool)
            chosen[mine] = True
            counts += np.bincount(shard.tokens[np.repeat(chosen, np.diff(shard.starts))], minlength=vocabulary)
            counts[self.corpus.begin] -= len(mine)
        return counts


def open_texts(recipe: Recipe, progress: Any) -> Texts:
    """The recipe's texts: of a table's rows where media stand beside them or the data are one, else of files.

    Raises:
        DataError: nothing is there; of a table, that a part which is asked for stays empty.
    """
    asked = recipe.pretraining
    assert asked is not None
    with_media = any(name in WITH_MEDIA for name in asked.objectives)
    if with_media and _is_stream(recipe.data) and all(path.suffix in TEXT for path in find(recipe.data.source)):
        raise no_media()
    if with_media or not _is_stream(recipe.data):
        table = open_table(recipe, progress)
        return Texts(table.prepared.source.fingerprint, "rows", recipe.data.split, table=table)
    paths = text_files(find(recipe.data.source))
    documents = Documents(paths, asked.documents, _column(recipe.data))
    return Texts(files_fingerprint(paths, []), "documents", recipe.data.split, documents=documents)


def replayed(recipe: Recipe, progress: Any) -> Texts | None:
    """What is read again against forgetting; None where the recipe names nothing."""
    asked = recipe.pretraining
    if asked is None or asked.replay is None:
        return None
    plain = asked.model_copy(update={"objectives": {"causal_lm": 1.0}})
    data = DataRecipe(source=asked.replay, split=SplitRecipe(validation=0, test=0.1, seed=recipe.data.split.seed))
    try:
        return open_texts(recipe.model_copy(update={"data": data, "pretraining": plain}), progress)
    except DataError as error:
        raise RecipeError(error.what, where=f"pretraining.replay: {error.where}", mend=error.mend) from None


def _is_stream(data: DataRecipe) -> bool:
    """Whether the data are files whose documents are read one after another, parted by their content alone."""
    parted = data.split.column or data.split.group_by or data.split.by_time or data.split.stratify
    if parted or data.max_rows or (isinstance(data.source, str) and data.source in BUNDLED):
        return False
    return data.format in ("auto", "jsonl", "parquet") and len(data.inputs or {}) <= 1 and bool(find(data.source))


def _column(data: DataRecipe) -> str | None:
    return next(iter(data.inputs), None) if data.inputs else None


def _corpus(texts: Iterable[str], key: str, tokenizer: Any, progress: Any) -> Corpus:
    return tokenised(texts, key, tokenizer, Path(assets.cache_root()) / "texts")
