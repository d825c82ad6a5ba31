"""What every source of rows must do, whatever its format."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from sensorium.data.rows import Rows
from sensorium.data.schema import infer_schema
from sensorium.data.sources import Source, open_source
from sensorium.recipe import DataRecipe
from tests.small_data import picture, tone

Made = tuple[str | list[str], str]  # source and format
ROWS = [{"words": f"row {i} of them", "size": i + 0.5, "y": "ab"[i % 2]} for i in range(8)]


def text(path: Path, content: str) -> Made:
    path.write_text(content, encoding="utf-8")
    return str(path), "auto"


def csv(folder: Path, shift: str) -> Made:
    return text(
        folder / "t.csv", "words,size,y\n" + "".join(f"{r['words']}{shift},{r['size']},{r['y']}\n" for r in ROWS)
    )


def jsonl(folder: Path, shift: str) -> Made:
    return text(folder / "t.jsonl", "".join(json.dumps(r | {"words": r["words"] + shift}) + "\n" for r in ROWS))


def json_(folder: Path, shift: str) -> Made:
    return text(folder / "t.json", json.dumps([r | {"words": r["words"] + shift} for r in ROWS], indent=1))


def table(shift: str) -> pa.Table:
    return pa.Table.from_pylist([r | {"words": r["words"] + shift} for r in ROWS])


def parquet(folder: Path, shift: str) -> Made:
    pa.parquet.write_table(table(shift), folder / "t.parquet")
    return str(folder / "t.parquet"), "auto"


def arrow(folder: Path, shift: str) -> Made:
    pyarrow.feather.write_feather(table(shift), str(folder / "t.arrow"), compression="uncompressed")
    return str(folder / "t.arrow"), "auto"


def datasets(folder: Path, shift: str) -> Made:
    import datasets as library

    library.Dataset(table(shift)).save_to_disk(str(folder / "saved"))
    return str(folder / "saved"), "auto"


def several(folder: Path, shift: str) -> Made:
    for name in ("a.csv", "b.csv"):
        text(folder / name, "words,size,y\n" + "".join(f"{r['words']}{shift},{r['size']},{r['y']}\n" for r in ROWS[:4]))
    return [str(folder / "a.csv"), str(folder / "b.csv")], "auto"


def media(folder: Path, shift: str, made: Callable[[str, np.random.Generator], bytes], suffix: str) -> Made:
    rng = np.random.default_rng(len(shift))
    for i in range(8):
        path = folder / "media" / ("red", "blue")[i % 2] / f"{i}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made(("red", "blue")[i % 2], rng))
    return str(folder / "media"), "auto"


def imagefolder(folder: Path, shift: str) -> Made:
    return media(folder, shift, lambda colour, rng: picture(colour, rng, 8), ".png")


def audiofolder(folder: Path, shift: str) -> Made:
    return media(folder, shift, lambda colour, rng: tone(colour, rng, 0.05), ".wav")


def chat(folder: Path, shift: str) -> Made:
    turns = [("user", "what is it?"), ("assistant", "a thing")]
    chats = [
        {"messages": [{"role": role, "content": f"{words} {i}{shift}"} for role, words in turns]} for i in range(8)
    ]
    return text(folder / "t.jsonl", "".join(json.dumps(c) + "\n" for c in chats))


def parallel(folder: Path, shift: str) -> Made:
    for language, word in (("en", "house"), ("de", "Haus")):
        text(folder / f"t.{language}", "".join(f"{word} {i}{shift}\n" for i in range(8)))
    return [str(folder / "t.en"), str(folder / "t.de")], "parallel"


FORMATS = [csv, jsonl, json_, parquet, arrow, datasets, several, imagefolder, audiofolder, chat, parallel]


@pytest.fixture(params=FORMATS, ids=lambda made: made.__name__.strip("_"))
def made(request: pytest.FixtureRequest) -> Callable[[Path, str], Made]:
    return request.param  # type: ignore[no-any-return]


def opened(folder: Path, made: Callable[[Path, str], Made], shift: str = "") -> tuple[Source, DataRecipe]:
    folder.mkdir(exist_ok=True)
    source, format_ = made(folder, shift)
    target = "y" if made in (csv, jsonl, json_, parquet, arrow, datasets, several) else None  # others know their own
    recipe = DataRecipe(source=source, format=format_, target=target)  # type: ignore[arg-type]
    return open_source(recipe, folder / "cache"), recipe


def test_rows_are_examples_with_inputs_and_a_target(made: Callable[[Path, str], Made], tmp_path: Path) -> None:
    source, recipe = opened(tmp_path / "a", made)
    schema = infer_schema(source, recipe)
    rows = Rows(source, schema)
    assert len(source) == len(rows) == source.table.num_rows == 8
    for i, example in enumerate(rows):
        assert example.row == i and example.target is not None
        assert example.inputs and all(cell is not None for cell in example.inputs.values())


def test_every_row_has_a_place_of_its_own(made: Callable[[Path, str], Made], tmp_path: Path) -> None:
    source, _ = opened(tmp_path / "a", made)
    places = [source.place(i) for i in range(len(source))]
    assert len(set(places)) == 8 and all(isinstance(place, str) and place.strip() for place in places)
    with pytest.raises(IndexError):
        source.place(8)


def test_it_travels_to_worker_processes(made: Callable[[Path, str], Made], tmp_path: Path) -> None:
    source, recipe = opened(tmp_path / "a", made)
    rows = Rows(source, infer_schema(source, recipe))
    again = pickle.loads(pickle.dumps(rows))
    assert list(again) == list(rows)
    assert [again.source.place(i) for i in range(8)] == [source.place(i) for i in range(8)]
    assert again.source.fingerprint == source.fingerprint


def test_its_fingerprint_is_its_content(made: Callable[[Path, str], Made], tmp_path: Path) -> None:
    first, _ = opened(tmp_path / "a", made)
    again, _ = opened(tmp_path / "a", made) if made is not datasets else (first, None)
    elsewhere, _ = opened(tmp_path / "b", made)
    other, _ = opened(tmp_path / "c", made, "!")
    assert first.fingerprint == again.fingerprint and first.fingerprint != other.fingerprint
    if made is not datasets:  # a saved data set's own metadata differs from save to save
        assert first.fingerprint == elsewhere.fingerprint
    assert len(first.fingerprint) >= 32 and first.name


def test_nothing_is_malformed_and_the_table_is_mapped(made: Callable[[Path, str], Made], tmp_path: Path) -> None:
    source, _ = opened(tmp_path / "a", made)
    assert source.malformed == [] and len(source.table.column_names) == len(set(source.table.column_names))
    assert pa.total_allocated_bytes() < 256 * 1024**2
