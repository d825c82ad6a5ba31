"""Text files of every kind through ``fit`` of task pretrain: one line and exit code 2, or a run that reads them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.end_to_end.commands import call, done
from tests.end_to_end.test_fit_pretraining import corpus, recipe

GOOD = "\n\n".join(f"The cat number {i} sat. It saw a bird. It went on." for i in range(80))
REFUSED: dict[str, tuple[bytes, str]] = {
    "latin.txt": (f"{GOOD}\n\ncafé".encode("latin-1"), "latin.txt: line 161 is not UTF-8 at byte 4; save the file as UTF-8"),
    "wide.txt": (GOOD.encode("utf-16"), "wide.txt: is UTF-16 text; save it as UTF-8"),
    "empty.txt": (b"", "empty.txt: the file is empty; give a file with one document a line"),
    "blank.txt": (b" \n\n\t\n", "blank.txt: there is no text; give a file with words in it"),
    "cut.txt.gz": (gzip.compress(GOOD.encode())[:-20], "cut.txt.gz: cannot be read to its end"),
    "zip.txt": (b"PK\x03\x04" + bytes(99), "zip.txt: holds an Excel or zip file, not text"),
    "long.txt": (b"a" * (17 << 20), "long.txt: line 1 is longer than 16 MiB; write one document a line"),
    "two.jsonl": (b'{"title": "x", "body": "y"}\n' * 9, "two.jsonl: several columns hold text; name the column that holds"),
    "number.jsonl": (b'{"text": 1}\n' * 9, "number.jsonl: no column holds text; name the column that holds the documents"),
    "bad.parquet": (b"PAR1" + bytes(99), "bad.parquet: not a readable Parquet file"),
    "one.txt": (b"a single document", "no text to train a tokenizer on; check the splits"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said_in_one_line_with_exit_code_2(tmp_path: Path, name: str) -> None:
    data, line = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    said = call("fit", recipe(tmp_path, data__source=str(tmp_path / name)))
    assert said.code == 2 and line in said.line


READ = {
    "rtl": "\n\n".join(f"שלום עולם {i}. مرحبا بكم. כתוב מימין לשמאל." for i in range(60)),
    "cjk": "\n\n".join(f"我爱北京{i}。天安门上太阳升。你好。" for i in range(60)),
    "long": GOOD + "\n\n" + "word " * 200_000,
    "emoji": "\n\n".join(f"👩‍🚀 number {i}! 🏳️‍🌈 {chr(0x1F600 + i)}." for i in range(60)),
}


@pytest.mark.parametrize("name", READ)
def test_scripts_and_a_line_of_a_megabyte_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "corpus.txt").write_text(READ[name], encoding="utf-8")
    changes = {"training__max_steps": 2, "evaluation__max_rows": 20, "model__scratch__vocabulary": 420}
    done("fit", recipe(tmp_path, **changes))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["after"]["byte_perplexity"]["value"] > 1


def test_names_of_special_tokens_in_the_text_is_read_as_characters(tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus.txt")
    path.write_text(path.read_text() + "\n\nThe cat </s> sat <mask> <hidden_0>." * 9)
    changes = {"pretraining__objectives": {"masked_lm": 1.0}, "training__max_steps": 2}
    done("fit", recipe(tmp_path, **changes))
