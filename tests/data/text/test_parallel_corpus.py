"""Parallel text: directions, parts, and what cannot be read, said in one line."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.sources import open_source
from sensorium.data.tables import from_rows
from sensorium.data.text.parallel_corpus import LONGEST, ParallelCorpus, open_corpus
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe

LANGUAGES = {"en": "row {}", "de": "Zeile {}", "ja": "行{}", "he": "שורה {}"}


def files(folder: Path, languages: tuple[str, ...] = ("en", "de"), rows: int = 8) -> list[str]:
    for part in ("train", "val", "test_2016_flickr"):
        for language in languages:
            lines = "".join(f"{LANGUAGES[language].format(f'{part} {i}')}\n" for i in range(rows))
            (folder / f"{part}.{language}.gz").write_bytes(gzip.compress(lines.encode()))
    return [str(folder / f"*.{language}.gz") for language in languages]


def corpus(
    source: str | list[str], cache: Path, *directions: str, picture: str | None = None, **more
) -> ParallelCorpus:  # type: ignore[no-untyped-def]
    data = DataRecipe(source=source, **more)
    return open_corpus(open_source(data, cache), data, directions, picture)


def test_line_aligned_files_in_parts(tmp_path: Path) -> None:
    found = corpus(files(tmp_path), tmp_path / "cache", "en-de", format="parallel")
    assert found.directions == [("en", "de")] and sorted(found.languages) == ["de", "en"]
    assert [len(found.splits.train), len(found.splits.validation), len(found.splits.test)] == [8, 8, 8]
    (side,) = found.sides(found.splits.test)
    assert found.texts("de", side.rows)[2] == "Zeile test_2016_flickr 2"
    assert found.texts("en", side.rows)[2] == "row test_2016_flickr 2"


def test_all_pairs_by_default_and_right_to_left_and_unspaced_scripts(tmp_path: Path) -> None:
    source = files(tmp_path, ("en", "ja", "he"))
    found = corpus(source, tmp_path / "cache", format="parallel")
    assert len(found.directions) == 6 and ("he", "ja") in found.directions
    assert found.texts("he", found.splits.train[:1]) == ["שורה train 0"]


def test_a_table_with_columns_of_languages(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,en,pt-br,note\n" + "".join(f"{i},a {i},um {i},x\n" for i in range(20)))
    found = corpus(str(table), tmp_path / "cache", "en-pt-br")
    assert found.directions == [("en", "pt-br")]
    assert len(found.sides(found.splits.train)[0].rows) == 14


def test_a_row_without_one_language_is_left_out_of_its_directions_alone(tmp_path: Path) -> None:
    rows = [{"en": f"a{i}", "de": f"b{i}" if i % 2 else " ", "fr": f"c{i}"} for i in range(30)]
    data = DataRecipe(source="rows", split={"validation": 0.0, "test": 0.5})
    found = open_corpus(from_rows(rows, tmp_path), data, ["en-de", "en-fr"], None)
    de, fr = found.sides(np.arange(30))
    assert de.rows.tolist() == list(range(1, 30, 2)) and len(fr.rows) == 30
    assert found.left_out == {f"no text of at most {LONGEST:,} characters in de": 15}


def test_a_line_of_a_megabyte_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("word " * 200_000 + "\n" + "".join(f"short {i}\n" for i in range(9)))
    (tmp_path / "a.de").write_text("".join(f"kurz {i}\n" for i in range(10)))
    found = corpus([str(tmp_path / "a.en"), str(tmp_path / "a.de")], tmp_path / "cache", "en-de", format="parallel")
    assert found.left_out == {f"no text of at most {LONGEST:,} characters in en": 1}
    assert sum(len(side.rows) for side in found.sides(np.arange(10))) == 9


@pytest.mark.parametrize(
    ("direction", "line"),
    [
        ("en-dee", "direction en-dee names no language of the data; did you mean de?"),
        ("xx-de", "direction xx-de names no language of the data; languages of the data: "),
        ("de-de", "direction de-de names no language of the data"),
    ],
)
def test_unknown_tags(direction: str, line: str, tmp_path: Path) -> None:
    source = open_source(DataRecipe(source=files(tmp_path), format="parallel"), tmp_path / "cache")
    with pytest.raises(DataError) as refused:
        open_corpus(source, DataRecipe(source="x"), [direction], None)
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_tags_in_whatever_case(tmp_path: Path) -> None:
    assert corpus(files(tmp_path), tmp_path / "cache", "EN-De", format="parallel").directions == [("en", "de")]


def test_unequal_line_counts(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.de").write_text("eins\n")
    with pytest.raises(DataError, match=r"not line-aligned: a\.en has 2 lines, a\.de has 1 lines"):
        corpus([str(tmp_path / "a.en"), str(tmp_path / "a.de")], tmp_path / "cache", format="parallel")


def test_wrong_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n")
    (tmp_path / "a.de").write_bytes("eins\nzwölf\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2 is not UTF-8 at byte 3; save the file as UTF-8"):
        corpus([str(tmp_path / "a.en"), str(tmp_path / "a.de")], tmp_path / "cache", format="parallel")


def test_one_language_is_not_enough(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,en\n" + "".join(f"{i},a {i}\n" for i in range(20)))
    with pytest.raises(DataError, match="1 columns of text in a language, and two are needed"):
        corpus(str(table), tmp_path / "cache")


def test_no_pair_is_left(tmp_path: Path) -> None:
    rows = [{"en": f"a{i}" if i % 2 else None, "de": None if i % 2 else f"b{i}"} for i in range(30)]
    with pytest.raises(DataError, match="no pair of texts is left in the train part"):
        open_corpus(from_rows(rows, tmp_path), DataRecipe(source="rows"), ["en-de"], None)


def test_an_unknown_picture_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column photo"):
        corpus(files(tmp_path), tmp_path / "cache", "en-de", picture="photo", format="parallel")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(["", " ", "a b", "ü", "行"])] * 3), min_size=1, max_size=40))
def test_every_side_holds_exactly_the_rows_with_both_texts(rows: list[tuple[str, ...]]) -> None:
    tags = ("en", "de", "fr")
    padding = [(f"x {i}", f"y {i}", f"z {i}") for i in range(20)]  # so that every part has a pair
    table = [dict(zip(tags, row, strict=True)) for row in [*rows, *padding]]
    with tempfile.TemporaryDirectory() as folder:
        data = DataRecipe(source="rows", split={"validation": 0.0, "test": 0.4})
        found = open_corpus(from_rows(table, Path(folder)), data, [], None)
        for side in found.sides(np.arange(len(table))):
            wanted = [i for i, row in enumerate(table) if row[side.source].strip() and row[side.target].strip()]
            assert side.rows.tolist() == wanted
