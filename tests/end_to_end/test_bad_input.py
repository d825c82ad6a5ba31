"""Bad input of every kind: one line that says what, where and the mend, exit code 2; or a row set aside with a reason."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.end_to_end.commands import Said, call, done, sets, tiny
from tests.end_to_end.conftest import Trained
from tests.small_data import picture, tone

WORDS = "".join(f"the {'warm' if i % 2 else 'cold'} thing {i},{i % 2},{'yes' if i % 2 else 'no'}\n" for i in range(30))
TABLE = "words,size,label\n" + WORDS


class Place:
    """A folder with a good small table; cases spoil it and say which command meets it."""

    def __init__(self, folder: Path, parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.parts = folder, parts
        monkeypatch.chdir(folder)
        self.write("t.csv", TABLE)

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def pictures(self) -> None:
        """The table has pictures instead of words."""
        for i in range(2):
            self.write(f"{i}.png", picture(["red", "blue"][i], np.random.default_rng(i)))
        self.write("t.csv", "photo,label\n" + "".join(f"{i % 2}.png,{'yes' if i % 2 else 'no'}\n" for i in range(30)))

    def fit(self, *words: str, data: str = "t.csv", target: str | None = "label", **settings: Any) -> Said:
        named = ["--target", target] if target else []
        given = sets(tiny(self.parts, training__max_steps=1, evaluation__baselines=False, **settings))
        return call("fit", "--data", data, *named, "--output", "run", *given, *words)

    def recipe(self, text: str | bytes, *words: str) -> Said:
        self.write("r.yaml", text)
        return call("fit", "r.yaml", *words)


@pytest.fixture
def place(tmp_path: Path, parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, parts, monkeypatch)


Case = tuple[Callable[[Place], Said], list[str]]


def table(content: str | bytes, *said: str, name: str = "t.csv", **more: Any) -> Case:
    """A table of that content is fitted."""

    def act(place: Place) -> Said:
        place.write(name, content)
        return place.fit(data=name, **more)

    return act, list(said)


def setting(*said: str, **settings: Any) -> Case:
    """The good table is fitted with bad settings."""
    return (lambda place: place.fit(**settings)), list(said)


def recipe(text: str | bytes, *said: str, words: tuple[str, ...] = ()) -> Case:
    return (lambda place: place.recipe(text, *words)), list(said)


def line(words: str, *said: str) -> Case:
    return (lambda place: call(*words.split())), list(said)


def part(key: str, files: dict[str, str | bytes], *said: str) -> Case:
    """``model.KEY`` is a folder that holds ``files``."""

    def act(place: Place) -> Said:
        (place.folder / "part").mkdir()
        for name, content in files.items():
            place.write(f"part/{name}", content)
        if key != "backbone":
            place.pictures()
        return place.fit(**{f"model__{key}": place.folder / "part"})

    return act, [*said, f"model.{key}: "]


GOOD = "data: {source: t.csv, target: label}\n"
MANY = "\n".join(
    [
        "words,when,part,label",
        *(f"thing {i},2024-01-{i % 28 + 1:02d},{['train', 'test'][i % 2]},{i % 3}" for i in range(30)),
    ]
)

FLAGS: dict[str, Case] = {
    "nothing to fit": line("fit", "nothing to fit", "--data FILE and --target COLUMN"),
    "a recipe and data": line("fit r.yaml --data t.csv", "exclude each other", "--set data.source=FILE"),
    "data in the recipe's place": line("fit t.csv", "t.csv", "looks like data", "--data t.csv --target COLUMN"),
    "an unknown option": line("fit r.yaml --epochs 3", "no such option: --epochs", "--set training.epochs=…"),
    "an unknown task": line("fit --data t.csv --target label --task draw", "--task", "'draw'", "classify or generate"),
    "an input without a type": line("fit --data t.csv --target label --input words", "--input", "COLUMN=TYPE"),
    "an input of no type": line("fit --data t.csv --target label --input words=smell", "data.inputs.words", "smell", "--input"),
    "an unknown input": line("fit --data t.csv --target label --input wrods=text", "wrods", "did you mean words?"),
    "no seeds": line("fit --data t.csv --target label --seeds x", "--seeds", "'x'", "0,1,2"),
    "a set without a value": line("fit --data t.csv --target label --set training.epochs", "--set", "not key=value"),
    "an answer file of no kind": line("predict run --data t.csv --out o.xlsx", "o.xlsx", "unknown kind", ".csv, .jsonl"),
    "an answer file over the data": line("predict run --data t.csv --out t.csv", "overwrite", "another --out"),
    "no such verb": line("trian", "no such command 'trian'", "--help"),
    "a row beyond the table": (
        lambda place: (place.write("r.yaml", GOOD), call("data", "show", "r.yaml", "--row", "99"))[1],
        ["--row 99", "30 rows", "smaller"],
    ),
}  # fmt: skip

RECIPES: dict[str, Case] = {
    "no such recipe": line("fit none.yaml", "none.yaml", "no such recipe", "path of a YAML file"),
    "no YAML": recipe("data: {source: t.csv\n\tx", "r.yaml:2", "not valid YAML", "mend that line"),
    "a list": recipe("- data\n", "r.yaml", "not a mapping"),
    "not UTF-8": recipe(b"data: {source: \xff}", "r.yaml", "not UTF-8", "save the recipe as UTF-8"),
    "a NUL": recipe(GOOD + 'output: "a\\0b"\n', "output", "NUL"),
    "no data": recipe("task: classify\n", "data is missing", "add data"),
    "an unknown key": recipe(GOOD + "training: {epoch: 3}\n", "unknown key training.epoch", "did you mean epochs?"),
    "a word for a number": recipe(GOOD + "training: {epochs: many}\n", "training.epochs", "many"),
    "a number out of range": recipe(GOOD + "training: {learning_rate: -1}\n", "training.learning_rate", "greater than 0"),
    "a rate that is no number": recipe(GOOD + "training: {learning_rate: .nan}\n", "training.learning_rate", "finite"),
    "an unknown fusion": recipe(GOOD + "model: {fusion: soup}\n", "model.fusion", "soup", "'tokens'"),
    "a late fusion that writes": recipe(
        "task: generate\n" + GOOD + "model: {fusion: concat}\n", "concat", "cannot generate", "use tokens or cross_attention"),
    "prefixes and a late entry": recipe(
        GOOD + "model: {adapt: prefix, fusion: {from_layer: 2}}\n", "exclude each other", "from_layer: 0"),
    "augmented and cached": recipe(GOOD + "training: {augment: true}\n", "augment", "cache_features: false"),
    "tuned encoders and cached": recipe(GOOD + "model: {tune_encoders: true}\n", "cannot be cached", "cache_features: false"),
    "micro-batches that do not fit": recipe(
        GOOD + "training: {batch_size: 8, micro_batch_size: 3}\n", "multiple of training.micro_batch_size"),
    "no rows to train on": recipe(
        "data: {source: t.csv, target: label, split: {validation: 0.5, test: 0.5}}\n", "data.split", "less than 1"),
    "two ways to split": recipe(
        "data: {source: t.csv, target: label, split: {group_by: words, by_time: size}}\n", "exclude each other", "keep one"),
    "a layer that is not there": setting("4 layers", "layers", model__adapt__layers=9),
    "an entry behind the last layer": setting("4 layers", "from_layer: 7", model__fusion__from_layer=7),
    "weights of classes without classes": setting(
        "class_weights", "class_weights: none", target="size", training__class_weights="balanced",
        data__inputs="{size: number, words: text}"),
    "no encoder for pictures": (lambda place: (place.pictures(), place.fit(model__image="null"))[1], ["model.image", "name an encoder"]),
}  # fmt: skip

TABLES: dict[str, Case] = {
    "no such file": line("fit --data none.csv --target label", "none.csv", "no such file", "check the path"),
    "no match": line("fit --data *.tsv --target label", "*.tsv", "no file matches", "check the pattern"),
    "an empty file": table("", "t.csv", "empty", "header and rows"),
    "a header alone": table("words,label\n", "t.csv", "no rows"),
    "a program": table(b"\x7fELF" + bytes(2000), "t.csv", "binary", "UTF-8"),
    "a spreadsheet": table(b"PK\x03\x04" + b"\0" * 200, "t.csv", "save it as CSV"),
    "Latin-1": table(TABLE.replace("warm", "wärm").encode("latin-1"), "t.csv", "line 3", "not UTF-8", "iconv"),
    "UTF-16": table(TABLE.encode("utf-16"), "t.csv", "UTF-16", "save it as UTF-8"),
    "an open quote": table(TABLE + '"never closed,1,yes\n', "t.csv", "quote"),
    "two columns of one name": table("words,words,label\n" + "a,b,c\n" * 20, "words", "column"),
    "half an archive": table(gzip.compress(TABLE.encode())[:-30], "t.csv.gz", "cannot be read to its end", name="t.csv.gz"),
    "no Parquet": table(b"PAR1 and so on", "t.parquet", "not a readable Parquet file", name="t.parquet"),
    "no JSON anywhere": table("words\nlabel\n" * 20, "t.jsonl", name="t.jsonl"),
    "an unknown format": table(b"%PDF-1.7" + bytes(200), "t.pdf", "format cannot be told", name="t.pdf"),
    "an empty folder": ((lambda place: (Path("empty").mkdir(), place.fit(data="empty", target=None))[1]), ["empty"]),
    "an unknown target": setting("there is no column labels", "did you mean label?", target="labels"),
    "no target": setting("no target column", "--target", "words, size, label", target=None),
    "a target that never varies": table(
        "words,label\n" + "".join(f"thing {i},yes\n" for i in range(20)), "every row says yes", "column label", "varies"),
    "a target that is always missing": table(
        "words,label\n" + "".join(f"thing {i},\n" for i in range(20)), "every cell is missing", "column label"),
    "a picture as the target": table(
        TABLE, "cannot be a target", "column words", target="words", data__inputs="{words: image, size: number}"),
    "no inputs": table("label\n" + "yes\nno\n" * 20, "no input columns", "data.inputs"),
    "two rows": table("words,label\nthe first,yes\nthe second,no\n", "2 usable rows are too few", "add rows"),
    "an unknown input column": setting("no column wrods", "did you mean words?", data__inputs="{wrods: text}"),
    "words as numbers": setting("data.inputs.words", "a number", data__inputs="{words: number}"),
    "words as dates": setting("data.inputs.words", "ISO date", data__inputs="{words: time}"),
    "an unknown group": setting("data.split.group_by", "no column shop", data__split__group_by="shop"),
    "a group that is the target": setting("label", "both the target", data__split__group_by="label"),
    "two groups for three parts": setting("2 groups are too few", "data.split", data__split__group_by="size"),
    "words as times to split by": setting("words", "split otherwise", data__split__by_time="words"),
    "a split without a test": table(MANY.replace("test", "dev"), "no row is test", "column part", data__split__column="part"),
    "a split of unknown parts": table(MANY.replace("test", "exam"), "exam", "validation (val, valid, dev)", data__split__column="part"),
    "no such root": setting("data.root", "no such folder", data__root="nowhere"),
    "parallel files of two lengths": (
        lambda place: (
            place.write("a.en", "one\ntwo\n"), place.write("a.de", "eins\n"),
            call("fit", "--data", "a.en", "--data", "a.de", "--output", "run", *sets(tiny(place.parts))),
        )[2],
        ["line", "a."],
    ),
    "files of two formats": (
        lambda place: (place.write("x.jsonl", '{"words": "a", "label": "b"}\n'), place.fit(data="[tx].*"))[1],
        ["different formats", "convert them to one format"],
    ),
    "chats without messages": table('{"text": "hello"}\n' * 20, "chat", "messages", name="c.jsonl", target=None, data__format="chat"),
    "a bad row where none may be": table(
        "photo,label\n" + "".join(f"none/{i}.png,{'yes' if i % 2 else 'no'}\n" for i in range(20)),
        "t.csv row 1", "photo", "no such file", "bad_rows: quarantine", data__bad_rows="stop"),
    "nothing but bad rows": table(
        "photo,label\n" + "".join(f"none/{i}.png,{'yes' if i % 2 else 'no'}\n" for i in range(20)),
        "no usable row", "sensorium data check"),
}  # fmt: skip

PARTS: dict[str, Case] = {
    "no such folder": setting("no such folder", "model.backbone: ./gone", "asset's name", model__backbone="./gone"),
    "an empty folder": part("backbone", {}, "cannot be opened", "config.json"),
    "a config that is no JSON": part("backbone", {"config.json": "{"}, "cannot be opened", "JSON"),
    "a config of no known kind": part("backbone", {"config.json": '{"model_type": "perceptron"}'}, "cannot be opened", "`perceptron`"),
    "a model that asks to run code": part(
        "backbone", {"config.json": '{"model_type": "evil", "auto_map": {"AutoConfig": "x.Y", "AutoModelForCausalLM": "x.Z"}}',
                     "x.py": "raise SystemExit('code was run')"}, "cannot be opened", "code of its own, which is never run"),
    "an encoder that is none": part("image", {"config.json": "[]"}, "no encoder there"),
    "a hub id without a network": setting("model.backbone", "someone/model", model__backbone="someone/model"),
    "an unknown asset": line("assets pull smollm", "smollm", "smollm2-135m-instruct"),
    "nothing to pull": line("assets pull", "say which", "--all"),
}  # fmt: skip


def damaged_weights(place: Place) -> Said:
    shutil.copytree(place.parts["llama"], place.folder / "part")
    whole = (place.folder / "part/model.safetensors").read_bytes()
    place.write("part/model.safetensors", whole[: len(whole) // 2])
    return place.fit(model__backbone=place.folder / "part")


def pictures_as_a_gpt(place: Place) -> Said:
    return place.fit(model__backbone=place.parts["vit"])


def words_as_pictures(place: Place) -> Said:
    place.pictures()
    return place.fit(model__image=place.parts["llama"])


def no_tokenizer(place: Place) -> Said:
    (place.folder / "part").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(place.parts["llama"] / name, place.folder / "part")
    return place.fit(model__backbone=place.folder / "part")


def foreign_tokenizer(place: Place) -> Said:
    shutil.copytree(place.parts["llama"], place.folder / "part")
    words = json.loads((place.folder / "part/tokenizer.json").read_text())
    words["added_tokens"].append({**words["added_tokens"][0], "id": 5000, "content": "<|more|>"})
    place.write("part/tokenizer.json", json.dumps(words))
    return place.fit(model__backbone=place.folder / "part")


PARTS |= {
    "a tokenizer of another GPT": (
        foreign_tokenizer,
        ["model.backbone", "tokens, the GPT", "tokenizer is the model's own"],
    ),
    "half a weights file": (damaged_weights, ["model.backbone", "no causal language model"]),
    "an encoder in the GPT's place": (pictures_as_a_gpt, ["model.backbone", "no tokenizer"]),
    "a GPT in the encoder's place": (words_as_pictures, ["model.image", "does not encode an image"]),
    "a GPT without a tokenizer": (no_tokenizer, ["holds no tokenizer", "model.backbone"]),
}

ALL = {"flag": FLAGS, "recipe": RECIPES, "table": TABLES, "part": PARTS}
NAMES = [f"{kind}: {name}" for kind, cases in ALL.items() for name in cases]


def one_clear_line(said: Said, fragments: list[str]) -> None:
    assert said.code == 2, said.err[-2000:]
    assert said.line.startswith("error: ") and said.line.isprintable()
    assert "Traceback" not in said.err and said.out == ""
    for fragment in fragments:
        assert fragment in said.line, f"{fragment!r} is not in: {said.line}"


@pytest.mark.parametrize("name", NAMES)
def test_one_line_and_exit_2(name: str, place: Place) -> None:
    kind, _, case = name.partition(": ")
    act, fragments = ALL[kind][case]
    one_clear_line(act(place), fragments)


def test_there_are_at_least_sixty_kinds() -> None:
    assert len(NAMES) + len(RUNS) + len(CELLS) >= 60


# -- runs ------------------------------------------------------------------------------------------


def cut_short(run: Path) -> None:
    """What is left of the recipe is a valid one: only what it lacks tells."""
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().partition("\ntraining:")[0] + "\n")


def spoilt(file: str, content: bytes | None) -> Callable[[Path], None]:
    """The run's ``file`` gone, or with other content; ``b"half"`` cuts it in the middle."""

    def act(run: Path) -> None:
        path = run / file
        whole = path.read_bytes()
        path.unlink()  # it may be a link to a part's own file
        if content is not None:
            path.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)

    return act


RUNS: dict[str, tuple[Callable[[Path], None], str, list[str]]] = {
    "no such run": (lambda run: shutil.rmtree(run), "evaluate", ["no such run"]),
    "no model yet": (lambda run: shutil.rmtree(run / "model"), "predict", ["no trained model", "sensorium fit"]),
    "no metrics": (spoilt("metrics.json", None), "evaluate", ["metrics.json is missing", "sensorium fit"]),
    "half of the metrics": (spoilt("metrics.json", b"half"), "evaluate", ["metrics.json is damaged", "--fresh"]),
    "no schema": (spoilt("schema.json", None), "predict", ["schema.json is missing"]),
    "a damaged schema": (spoilt("schema.json", b'{"inputs": 3}'), "predict", ["schema.json"]),
    "a damaged recipe": (spoilt("recipe.yaml", b"half"), "predict", ["recipe.yaml"]),
    "a recipe cut short": (cut_short, "predict", ["recipe.yaml is damaged", "training", "--fresh"]),
    "a damaged config": (spoilt("model/config.json", b"{"), "predict", ["config.json"]),
    "a damaged processor": (spoilt("model/processor_config.json", b"{}"), "predict", ["processor_config.json"]),
    "no tokenizer": (spoilt("model/tokenizer.json", None), "predict", ["tokenizer cannot be read"]),
    "half of the weights": (spoilt("model/model.safetensors", b"half"), "predict", ["model.safetensors"]),
    "weights of nothing": (spoilt("model/model.safetensors", b""), "predict", ["model.safetensors"]),
    "half of the GPT": (
        spoilt("model/backbone/model.safetensors", b"half"),
        "predict",
        ["backbone", "cannot be opened"],
    ),
    "half of the adapter": (spoilt("model/adapter/adapter_model.safetensors", b"half"), "predict", ["adapter"]),
    "no adapter config": (spoilt("model/adapter/adapter_config.json", None), "predict", ["adapter"]),
    "half of an encoder": (spoilt("model/encoders/image/model.safetensors", b"half"), "predict", ["image"]),
    "a damaged list of stages": (spoilt("run.json", b"{"), "fit", ["run.json is damaged", "--fresh"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_damaged_run_is_one_line(name: str, classifier: Trained, tmp_path: Path) -> None:
    spoil, verb, fragments = RUNS[name]
    run = tmp_path / "run"
    shutil.copytree(classifier.folder, run)
    spoil(run)
    words: dict[str, list[str | Path]] = {
        "evaluate": ["evaluate", run],
        "predict": ["predict", run, "--data", classifier.data, "--out", tmp_path / "o.csv"],
        "fit": [*classifier.words, "--output", run],
    }
    one_clear_line(call(*words[verb]), [*fragments, str(run)])
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_data_that_lack_a_column(verb: str, classifier: Trained, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("picture,sound,word,size,shop,y\n" + ",,a red thing,1,north,red\n" * 5)
    words = (
        ["predict", classifier.folder, "--out", tmp_path / "o.csv"]
        if verb == "predict"
        else ["evaluate", classifier.folder]
    )
    one_clear_line(
        call(*words, "--data", tmp_path / "other.csv"), ["no column words", "other.csv", "did you mean word?"]
    )


def test_a_run_is_no_file(little_file: Path, place: Place) -> None:
    said = place.fit("--output", str(little_file))
    one_clear_line(said, ["is a file, not a folder", "another --output"])


@pytest.fixture
def little_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    return tmp_path / "file"


def test_a_mistake_in_the_first_try_leaves_nothing_behind(place: Place) -> None:
    """A mistyped part is said; the mended command then needs no --fresh."""
    one_clear_line(place.fit(model__backbone="./gone"), ["./gone"])
    one_clear_line(place.fit(target="labels"), ["label"])
    assert place.fit().code == 0


# -- cells -----------------------------------------------------------------------------------------


def png(width: int, height: int, rows: bytes) -> bytes:
    """A PNG of 8-bit grey that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wav(rate: int = 16_000, channels: int = 1, samples: int = 1600, value: float = 0.1) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full((samples, channels), value, np.float32), rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def flac() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, format="FLAC")
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


RNG = np.random.default_rng(1)
# kind of bad cell: (column, cell or the file's bytes, what the reason says)
CELLS: dict[str, tuple[str, str | bytes, str]] = {
    "no such picture": ("photo", "media/gone.png", "there is no such file"),
    "an empty picture": ("photo", b"", "file is empty"),
    "a text as a picture": ("photo", b"hello there", "no picture in a format that can be read"),
    "a page as a picture": ("photo", b"<html><body>404</body></html>", "no picture in a format that can be read"),
    "a sound as a picture": ("photo", tone("red", RNG), "no picture in a format that can be read"),
    "half a PNG": ("photo", picture("red", RNG)[:400], "truncated"),
    "half a JPEG": ("photo", jpeg()[:1500], "truncated"),
    "a PNG of zeros behind its head": ("photo", picture("red", RNG)[:60] + bytes(400), ""),
    "a bomb": ("photo", png(60_000, 60_000, b""), "pixels"),
    "a folder as a picture": ("photo", "media", "this is a folder"),
    "a picture outside": ("photo", "../outside.png", "not under the data's folder"),
    "a link that leads outside": ("photo", "link.png", "not under the data's folder"),
    "an absolute path": ("photo", "/etc/hostname", "not under the data's folder"),
    "a device": ("photo", "/dev/zero", "not under the data's folder"),
    "an address": ("photo", "https://example.org/a.png", "addresses are not opened"),
    "a file address": ("photo", "file:///etc/passwd", "addresses are not opened"),
    "a data address that is no base64": ("photo", "data:image/png;base64,!!!!", "not valid base64"),
    "a data address without base64": ("photo", "data:image/png,abc", "not in base64"),
    "a path of one line too many": ("photo", "a\nb.png", "no such file"),
    "an endless path": ("photo", "x" * 5000 + ".png", "cannot be opened"),
    "no such sound": ("clip", "media/gone.wav", "there is no such file"),
    "an empty sound": ("clip", b"", "file is empty"),
    "a text as a sound": ("clip", b"hello there", "no sound in a format that can be read"),
    "half a WAV": ("clip", wav()[:1000], "truncated"),
    "half a FLAC": ("clip", flac()[:9000], ""),
    "a WAV without samples": ("clip", wav(samples=0), "no samples"),
    "a WAV of no numbers": ("clip", wav(value=float("nan")), "no numbers"),
    "a WAV of 100 Hz": ("clip", wav(rate=100), "100 Hz"),
    "a WAV of 40 channels": ("clip", wav(channels=40), "40 channels"),
    "no target": ("label", "", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def quarantine(
    parts: dict[str, Path], cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """One run over a table in which every kind of bad cell has a row: kind -> its line in quarantine.jsonl."""
    folder = tmp_path_factory.mktemp("bad")
    root = folder / "data"
    (root / "media").mkdir(parents=True)
    rng = np.random.default_rng(0)
    (folder / "outside.png").write_bytes(picture("red", rng))
    os.symlink(folder / "outside.png", root / "link.png")
    rows, numbers = [], {}
    for i in range(24):
        (root / f"media/{i}.png").write_bytes(picture("red" if i % 2 else "blue", rng))
        (root / f"media/{i}.wav").write_bytes(tone("red" if i % 2 else "blue", rng))
        rows.append({"photo": f"media/{i}.png", "clip": f"media/{i}.wav", "label": "yes" if i % 2 else "no"})
    for i, (kind, (column, cell, _)) in enumerate(CELLS.items()):
        if isinstance(cell, bytes):
            name = f"media/bad{i}.{'png' if column == 'photo' else 'wav'}"
            (root / name).write_bytes(cell)
            cell = name
        numbers[kind] = len(rows)
        rows.append(rows[i % 24] | {column: cell})
    with open(root / "t.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["photo", "clip", "label"])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(cache))
        settings = sets(tiny(parts, training__max_steps=1, evaluation__baselines=False))
        said = done("fit", "--data", root / "t.csv", "--target", "label", "--output", folder / "run", *settings)
    assert "Traceback" not in said.err
    lines = [json.loads(line) for line in (folder / "run/quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    by_row = {line["id"]: line for line in lines}
    assert by_row.keys() == set(numbers.values()), "good rows were set aside, or bad ones used"
    report = json.loads((folder / "run/data_report.json").read_text())
    assert report["quarantined"] == len(CELLS) and sum(report["splits"].values()) == 24
    return {kind: by_row[row] | {"row": row} for kind, row in numbers.items()}


@pytest.mark.parametrize("kind", CELLS)
def test_a_bad_cell_sets_its_row_aside(kind: str, quarantine: dict[str, dict[str, Any]]) -> None:
    column, _, reason = CELLS[kind]
    line_ = quarantine[kind]
    assert line_["reason"] and reason in line_["reason"], line_
    assert line_["reason"].isprintable() and len(line_["reason"]) <= 500
    assert line_["column"] == column and line_["file"] == f"t.csv row {line_['row'] + 1}"


def test_malformed_lines_are_set_aside(place: Place) -> None:
    place.write("t.jsonl", "".join(
        json.dumps({"words": f"thing {i}", "label": "yes" if i % 2 else "no"}) + "\n" for i in range(30)
    ) + '{"words": "half\n[1, 2]\n')  # fmt: skip
    assert place.fit(data="t.jsonl").code == 0
    lines = [json.loads(line) for line in (place.folder / "run/quarantine.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["t.jsonl line 31", "t.jsonl line 32"]
    assert all(line["reason"] for line in lines)


ANSWER = {"role": "assistant", "content": "y"}


def shows(**part_: Any) -> list[dict[str, Any]]:
    """A chat whose user shows one part."""
    return [{"role": "user", "content": [part_]}, ANSWER]


BAD_CHATS: dict[str, tuple[Any, str]] = {
    "no list": ("hello", "messages"),
    "no turns": ([], ""),
    "an unknown role": ([{"role": "robot", "content": "x"}, ANSWER], "unknown role 'robot'"),
    "no answer": ([{"role": "user", "content": "x"}], ""),
    "a tool call": ([{"role": "user", "content": "x"}, {**ANSWER, "tool_calls": [{}]}], "tool calls"),
    "an unknown part": (shows(type="video", video="v"), "'video'"),
    "a picture that is gone": (shows(type="image_url", image_url={"url": "gone.png"}), "no such file"),
    "a picture on the net": (shows(type="image_url", image_url={"url": "http://x.org/a.png"}), "not opened"),
}  # fmt: skip


def test_bad_chats_are_set_aside(place: Place) -> None:
    good = [
        [{"role": "user", "content": f"is {i} odd?"}, {"role": "assistant", "content": "yes" if i % 2 else "no"}]
        for i in range(20)
    ]
    chats = [*good, *(messages for messages, _ in BAD_CHATS.values())]
    place.write("c.jsonl", "".join(json.dumps({"messages": messages}) + "\n" for messages in chats))
    said = place.fit(data="c.jsonl", target=None, data__format="chat")
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in (place.folder / "run/quarantine.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(range(20, 20 + len(BAD_CHATS)))
    for line, (_, reason) in zip(lines, BAD_CHATS.values(), strict=True):
        assert line["reason"] and reason in line["reason"], line
