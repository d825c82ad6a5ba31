"""Text from files, tokenised into shards; packed windows; mixing; and what can be wrong with text files."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.text.documents import LONGEST, Documents
from sensorium.data.text.packing import packed
from sensorium.data.text.sentences import SentenceParts, encoded
from sensorium.data.text.stream import PARTS, Corpus, digest_of, inside, parts_of, tokenised
from sensorium.errors import DataError
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import SplitRecipe

SCRIPTS = "the quick brown fox. don't jump! שלום עולם. مرحبا بكم؟ 我爱北京。你好。 नमस्ते दुनिया। 👩‍🚀 naïve x²"
texts = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from([*SCRIPTS.split(" "), "\n", ""]), max_size=20).map(" ".join)
)


@cache
def tokenizer() -> Any:
    return train_tokenizer([SCRIPTS * 3], 400, ["<pad>", "<s>", "</s>"])


def corpus_of(documents: Iterable[str], folder: Path, shard: int = 200, key: str = "k") -> Corpus:
    return tokenised(documents, key, tokenizer(), folder, shard=shard)


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# -- documents -------------------------------------------------------------------------------------


def test_blank_lines_or_every_line_part_documents(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "\n\none\ntwo\r\n \t\nthree\n\n\nfour")
    assert list(Documents([path])) == ["one\ntwo", "three", "four"]
    assert list(Documents([path], "line")) == ["one", "two", "three", "four"]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl", "a.jsonl.gz", "a.parquet", "a.csv", "a.arrow", "a"])
def test_every_kind_of_file_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    wanted = ["one two", "שלום עולם", "我爱北京"]
    table = pa.table({"text": [*wanted, None, " "], "source": list("abcde")})
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(table, path)
    elif name.endswith(".arrow"):
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        rows = table.to_pylist()
        lines = {
            "a.csv": ["text,source", *(f"{row['text'] or ''},{row['source']}" for row in rows)],
            "a": wanted,
            "a.txt.gz": wanted,
        }.get(name, [json.dumps(row) for row in rows])
        data = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(Documents([path], "line")) == wanted


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    written(tmp_path, "b.txt", "second")
    written(tmp_path, "a.txt", "first")
    written(tmp_path, "picture.png", b"\x89PNG")
    assert list(Documents([tmp_path])) == ["first", "second"]


def test_a_block_without_end_is_cut_between_lines(tmp_path: Path) -> None:
    line = "word " * 1_000 + "end"
    path = written(tmp_path, "a.txt", "\n".join([line] * 500))
    found = list(Documents([path]))
    assert len(found) == 3 and max(map(len, found)) <= LONGEST
    assert "\n".join(found) == "\n".join([line] * 500)


def test_rows_that_cannot_be_read_are_set_aside_and_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text": "one"}\n{"text": broken\n{"text": "two"}\n')
    documents = Documents([path])
    corpus = corpus_of(documents, tmp_path / "cache")
    assert len(corpus) == 2
    ((place, reason),) = corpus.notes["set_aside"]
    assert place == "a.jsonl row 2" and "is not JSON" in reason


WRONG = {
    "latin.txt": ("one\ncafé\n".encode("latin-1"), "latin.txt: line 2 is not UTF-8 at byte 4; save the file as UTF-8"),
    "wide.txt": ("one".encode("utf-16"), "wide.txt: is UTF-16 text; save it as UTF-8"),
    "empty.txt": (b"", "empty.txt: the file is empty; give a file with one document a line"),
    "blank.txt": (b"\n \n\t\n", "blank.txt: there is no text; give a file with words in it"),
    "cut.txt.gz": (gzip.compress(b"one two " * 99)[:-9], "cut.txt.gz: cannot be read to its end"),
    "binary.txt": (bytes(4096), "binary.txt: is a binary file, not text"),
    "long.txt": (b"a" * (16 << 20), "long.txt: line 1 is longer than 16 MiB; write one document a line"),
    "empty.jsonl": (b"", "empty.jsonl: the file is empty"),
    "two.jsonl": (b'{"a": "x", "b": "y"}', "two.jsonl: several columns hold text; name the column that holds"),
    "none.jsonl": (b'{"a": 1}', "none.jsonl: no column holds text; name the column that holds the documents; columns: a"),
    "bad.parquet": (b"PAR1 and more", "bad.parquet: not a readable Parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    data, line = WRONG[name]
    with pytest.raises(DataError) as raised:
        list(Documents([written(tmp_path, name, data)]))
    assert line in str(raised.value) and "\n" not in str(raised.value)


def test_a_column_that_is_not_there_and_a_folder_without_text(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text": "one"}')
    with pytest.raises(DataError, match=r"there is no column words; name the column .* columns: text"):
        list(Documents([path], column="words"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder holds no text files"):
        list(Documents([tmp_path / "empty"]))
    with pytest.raises(DataError, match=r"nowhere\.txt.*cannot be read"):
        list(Documents([tmp_path / "nowhere.txt"]))


# -- sentences -------------------------------------------------------------------------------------


@given(texts)
def test_the_tokens_of_the_sentences_are_those_of_the_text(text: str) -> None:
    parts = SentenceParts(tokenizer())
    assert parts.exact and "".join(parts(text)) == text
    whole = encoded([text], tokenizer())[0]
    assert np.concatenate([whole[:0], *encoded(parts(text), tokenizer())]).tolist() == whole.tolist()


def test_names_of_special_tokens_are_read_as_characters_and_the_tokenizer_stays_as_it_was() -> None:
    text = "a </s> b"
    before = tokenizer()(text)["input_ids"]
    (found,) = encoded([text], tokenizer())
    assert tokenizer().eos_token_id not in found and tokenizer().decode(found) == text
    assert tokenizer()(text)["input_ids"] == before


def test_sentences_of_several_scripts() -> None:
    text = 'One is 1.5. "Two," he said. Three?\nfour 我爱北京。你好。 שלום. עולם'
    found = ["One is 1.5.", ' "Two," he said.', " Three?\n", "four 我爱北京。", "你好。 שלום.", " עולם"]
    assert SentenceParts(tokenizer())(text) == found


# -- shards ----------------------------------------------------------------------------------------


@settings(max_examples=15)  # each writes shards and syncs them
@given(
    documents=st.lists(texts.map(str.strip).filter(bool), min_size=1, max_size=12), shard=st.sampled_from([1, 40, 150])
)
def test_shards_hold_every_document_whole_and_in_order(tmp_path_factory: Any, documents: list[str], shard: int) -> None:
    corpus = corpus_of(documents, tmp_path_factory.mktemp("cache"), shard)
    assert len(corpus) == len(documents)
    for number, ids in enumerate(encoded(documents, tokenizer())):
        found = corpus.document(number)
        assert found.tolist() == [corpus.begin, *ids, corpus.end]
    assert corpus.sizes(np.arange(len(documents))).tolist() == [len(text.encode()) for text in documents]
    assert corpus.tokens == sum(len(corpus.document(i)) for i in range(len(corpus)))


def test_a_megabyte_on_a_line_is_a_document_like_others(tmp_path: Path) -> None:
    long = "word " * 200_000
    corpus = corpus_of(["one", long.strip(), "two"], tmp_path, 1 << 20)
    assert len(corpus) == 3
    assert tokenizer().decode(corpus.document(1)[1:-1]) == long.strip()


def test_memory_is_that_of_a_shard_however_long_the_text(tmp_path: Path) -> None:
    def most(megabytes: float) -> int:
        """Bytes that Python and NumPy held at the most; the tokenizer's own are those of one call."""
        texts = (f"text number {i} is here. " * 40 for i in range(int(megabytes * 1_000)))
        tracemalloc.start()
        corpus = tokenised(texts, f"{megabytes}", tokenizer(), tmp_path, shard=50_000)
        packed(corpus, 64, SplitRecipe())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most(0.01)
    assert most(0.4) < 1.2 * most(0.1)


class Killed(Exception):
    pass


def test_what_was_tokenised_before_an_interruption_is_kept_and_the_rest_is_the_same(tmp_path: Path) -> None:
    documents = [f"text number {i} is here. and more" for i in range(40)]
    whole = corpus_of(documents, tmp_path / "one")

    def interrupted() -> Iterable[str]:
        yield from documents[:20]
        raise Killed

    with pytest.raises(Killed):
        corpus_of(interrupted(), tmp_path / "two")
    (folder,) = (tmp_path / "two").glob("text-*")
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/tokens.npy")}
    assert kept
    again = corpus_of(documents, tmp_path / "two")
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    for number in range(whole.shards):
        for name in ("tokens", "starts", "sentences", "digests", "sizes"):
            np.testing.assert_array_equal(getattr(whole.shard(number), name), getattr(again.shard(number), name))


def test_the_same_text_is_tokenised_once_and_another_anew(tmp_path: Path) -> None:
    read = []

    def watched() -> Iterable[str]:
        read.append(1)
        yield "one two"

    one = tokenised(watched(), "a", tokenizer(), tmp_path)
    two = tokenised(watched(), "a", tokenizer(), tmp_path)
    assert one.folder == two.folder and read == [1]
    assert tokenised(watched(), "b", tokenizer(), tmp_path).folder != one.folder
    other = train_tokenizer(["entirely other words"], 300, ["<pad>", "<s>", "</s>"])
    assert tokenised(watched(), "a", other, tmp_path).folder != one.folder


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    corpus = corpus_of(["one two"], tmp_path)
    (corpus.folder / "00000" / "tokens.npy").write_bytes(b"")
    with pytest.raises(DataError, match="tokenised text is missing or damaged; remove that folder"):
        corpus.document(0)


# -- parts -----------------------------------------------------------------------------------------


def test_parts_have_their_shares_follow_from_the_text_and_change_with_the_seed() -> None:
    digests = np.array([digest_of(f"text {i}") for i in range(20_000)], dtype=np.uint64)
    split = SplitRecipe(validation=0.1, test=0.2)
    parts = parts_of(digests, split)
    np.testing.assert_allclose(np.bincount(parts) / len(parts), [0.7, 0.1, 0.2], atol=4 * 0.5 / np.sqrt(len(parts)))
    np.testing.assert_array_equal(parts_of(digests[::-1], split)[::-1], parts)
    other = parts_of(digests, split.model_copy(update={"seed": 1}))
    both = (parts == 2) & (other == 2)
    assert abs(both.mean() - 0.04) < 0.01  # as two independent draws meet


def test_every_document_is_in_one_part_and_equal_ones_in_the_same(tmp_path: Path) -> None:
    corpus = corpus_of([f"text {i % 30}" for i in range(90)], tmp_path)
    split = SplitRecipe(validation=0.3, test=0.3)
    where: dict[str, set[str]] = {}
    found = 0
    for number in range(corpus.shards):
        for part in PARTS:
            for local in inside(corpus.shard(number), part, split):
                found += 1
                where.setdefault(str(corpus.document(int(corpus.firsts[number] + local)).tolist()), set()).add(part)
    assert found == 90 and len(where) == 30 and all(len(parts) == 1 for parts in where.values())
