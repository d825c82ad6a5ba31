"""``sensorium fit`` and ``translate`` on a small corpus with pictures, as a user would call them."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sensorium.cli.main import run as command
from tests.small_data import COLOURS, picture
from tests.tiny_parts import vit

GERMAN = dict(zip(COLOURS, ("rotes", "grünes", "blaues")))
THINGS = {"house": "Haus", "car": "Auto", "book": "Buch", "horse": "Pferd", "hat": "Hemd"}


def write_corpus(folder: Path, encoder: Path) -> None:
    """60 names of coloured things in two languages, with a picture of the colour."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        colour, thing = list(COLOURS)[i % len(COLOURS)], list(THINGS)[i // 2 % len(THINGS)]
        said = {"en": f"a {colour} {thing}", "de": f"ein {GERMAN[colour]} {THINGS[thing]}"}
        rows.append({**said, "seen": {"bytes": picture(colour, rng), "path": None}, "of": f"c{i // 2}"})
    pq.write_table(pa.Table.from_pylist(rows), folder / "things.parquet")
    (folder / "seen.png").write_bytes(rows[0]["seen"]["bytes"])
    (folder / "r.yaml").write_text(
        f"""
task: generate
data: {{source: things.parquet, inputs: {{en: text, seen: image}}, target: de, split: {{group_by: of, test: 0.3}}}}
model:
  scratch: {{architecture: encoder_decoder, width: 16, layers: 1, heads: 2, vocabulary: 320, window: 24}}
  image: {encoder}
  image_size: 32
translation: {{directions: [en-de, de-en], picture: seen, mask: words, mask_share: 0.5, beam: 2}}
training: {{epochs: 2, batch_size: 16, learning_rate: 5.0e-3}}
evaluation: {{bootstrap: 100}}
tracking: []
output: run
"""
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    write_corpus(folder, vit(folder / "vit"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command(["fit", "r.yaml"]) == 0
    return folder / "run"


def test_the_run_has_what_a_run_has(fitted: Path) -> None:
    metrics = json.loads((fitted / "metrics.json").read_text())
    assert metrics["kind"] == "translation" and set(metrics["by"]["direction"]) == {"en-de", "de-en"}
    assert {"copy", "word for word"} == set(metrics["baselines"])
    assert "By direction" in (fitted / "report.html").read_text()


def test_texts_in_their_order(fitted: Path, sensorium: Callable[..., Any]) -> None:
    words = ("translate", str(fitted), "--from", "en", "--to", "de", "a red house", "   ", "a blue hat")
    said = sensorium(*words)
    assert said.code == 0, said.err
    lines = said.out.split("\n")
    assert len(lines) == 4 and lines[1] == "" and lines[3] == ""
    told = json.loads(sensorium(*words, "--json").out)
    assert told == {"from": "en", "to": "de", "translations": lines[:3]}
    one = sensorium("translate", str(fitted), "--from", "EN", "a red house")  # the other side follows from it
    assert one.out.strip("\n") == lines[0]


def test_a_picture_changes_what_is_said_or_not_but_never_fails(fitted: Path, sensorium: Callable[..., Any]) -> None:
    seen = str(fitted.parent / "seen.png")
    said = sensorium("translate", str(fitted), "--to", "de", "a red house", "--image", seen)
    assert said.code == 0 and len(said.out.splitlines()) == 1


def test_a_file_to_a_file(fitted: Path, sensorium: Callable[..., Any], tmp_path: Path) -> None:
    texts = [f"a {colour} house" if i % 3 else "" for i, colour in enumerate(list(COLOURS) * 12)]
    (tmp_path / "in.txt").write_text("\ufeff" + "\r\n".join(texts) + "\r\n", encoding="utf-8")
    said = sensorium("translate", str(fitted), "--to", "de", "--file", "in.txt", "--out", "out.txt")
    assert said.code == 0, said.err
    lines = (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert len(lines) == len(texts) and all(bool(line) <= bool(text) for line, text in zip(lines, texts))
    again = sensorium("translate", str(fitted), "--to", "de", texts[1])
    assert lines[1] == again.out.strip("\n")  # whoever stands beside it


def test_stdin_is_answered_line_by_line(fitted: Path) -> None:
    """A slow writer has its first answer before it writes its second line; other scripts pass through."""
    words = [sys.executable, "-m", "sensorium.cli.main", "translate", str(fitted), "--to", "de"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for text in ("a red house", "", "走る人", "שלום", "مرحبا"):
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n"), process.stderr.read()
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "xx", "a"], "this run does not translate from xx; known: en, de"),
        (["--to", "ed", "a"], "this run does not translate into ed; known: de, en"),
        (["a"], "the direction is not clear"),
        (["--to", "de", "a", "--file", "in.txt"], "exclude each other"),
        (["--to", "de", "--file", "nothere.txt"], "nothere.txt: cannot be read (No such file or directory)"),
        (["--to", "de", "--file", "bad.txt"], "bad.txt: line 2 is not UTF-8 at byte 3"),
        (["--to", "de", "--file", "utf16.txt"], "utf16.txt: line 1 is not UTF-8"),
        (["--to", "de", "--file", "long.txt"], "long.txt: line 3 is longer than 100,000 bytes"),
        (["--to", "de", "a", "red " * 40], "text: line 2 takes"),
        (["--to", "de", "a", "--image", "no.png"], "--image no.png: no such file"),
        (["--to", "de", "a", "--image", "bad.txt"], "bad.txt"),
        (["--to", "de", "--file", "bad.txt", "--out", "bad.txt"], "would overwrite"),
        (["--to", "de", "a", "--beam", "0"], "beam"),
    ],
)
def test_bad_input_is_one_line(
    fitted: Path, sensorium: Callable[..., Any], tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a red house\nno\xff\xfe\n")
    (tmp_path / "utf16.txt").write_bytes("a red house\n".encode("utf-16"))
    (tmp_path / "long.txt").write_bytes(b"a\nb\n" + b"x" * (1 << 20) + b"\n")
    said = sensorium("translate", str(fitted), *words)
    assert said.code == 2
    assert message in said.err.strip().splitlines()[-1] and "Traceback" not in said.err


def test_what_is_no_translator(sensorium: Callable[..., Any], tmp_path: Path) -> None:
    assert sensorium("translate", str(tmp_path), "a").code == 2
    assert "no such run" in sensorium("translate", "nothere", "a").line


def test_batches_fill_while_their_reader_is_busy() -> None:
    from sensorium.jobs.translate import batches_of

    found = list(batches_of(io.BytesIO(b"\n".join(b"%d" % i for i in range(100))), "stdin", most=8))
    assert [text for batch in found for text in batch] == [str(i) for i in range(100)]
    assert max(map(len, found)) <= 8


def test_a_broken_pipe_is_no_defect(fitted: Path) -> None:
    line = f"yes 'a red house' | {sys.executable} -m sensorium.cli.main translate {fitted} --to de | head -2"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, timeout=120, env=dict(os.environ)
    )
    assert done.stdout.count(b"\n") == 2 and b"Traceback" not in done.stderr and b"defect" not in done.stderr


def test_probing(fitted: Path, sensorium: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The fit's own table, measured again where it is gone, in the report and on the terminal."""
    monkeypatch.chdir(fitted.parent)  # the data are named from there
    first = json.loads((fitted / "probe.json").read_text())
    assert set(first["hidden"]) >= {"nothing", "half", "everything"}
    assert "Does the picture help?" in (fitted / "report.html").read_text()
    (fitted / "probe.json").unlink()
    (fitted / "report.html").unlink()
    said = sensorium("evaluate", str(fitted), "--probe", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) == first == json.loads((fitted / "probe.json").read_text())
    assert "Does the picture help?" in (fitted / "report.html").read_text()
    shown = sensorium("evaluate", str(fitted), "--probe")
    assert "right - none" in shown.out and "With everything hidden, the right picture is" in shown.out
    assert "exclude each other" in sensorium("evaluate", str(fitted), "--probe", "--data", "x.csv").line


def test_served_it_says_the_same(fitted: Path, sensorium: Callable[..., Any]) -> None:
    from starlette.testclient import TestClient

    from sensorium.jobs.translation.opened import open_translator
    from sensorium.jobs.translation.serving import make_translation_parts
    from sensorium.serving.api import make_app
    from sensorium.serving.engine.batching import EngineSettings
    from sensorium.serving.settings import Settings

    parts = make_translation_parts(open_translator(fitted), EngineSettings())
    client = TestClient(make_app(parts, Settings(name="things", hosts=("testserver",))))
    data = base64.b64encode((fitted.parent / "seen.png").read_bytes()).decode()
    body = {"model": "things", "input": ["a red house", ""], "to": "de", "image": f"data:image/png;base64,{data}"}
    found = client.post("/v1/translate", json=body).json()
    seen = str(fitted.parent / "seen.png")
    told = json.loads(
        sensorium("translate", str(fitted), "--to", "de", "a red house", "", "--image", seen, "--json").out
    )
    assert [one["text"] for one in found["data"]] == told["translations"]
    chat = {"model": "things", "messages": [{"role": "system", "content": "de"}, {"role": "user", "content": "a hat"}]}
    said = client.post("/v1/chat/completions", json=chat).json()["choices"][0]["message"]["content"]
    assert said == sensorium("translate", str(fitted), "--to", "de", "a hat").out.strip("\n")
