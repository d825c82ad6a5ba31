"""The page: complete in itself, without script, and hostile cells stay text."""

from __future__ import annotations

import base64
import io
import re
import wave
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sensorium.evaluation import report as room
from sensorium.evaluation.charts import Line, line_chart, ticks
from sensorium.evaluation.comparison import compare
from sensorium.evaluation.confusion import Confusion, confusions
from sensorium.evaluation.embed import Media, thumbnail, wav
from sensorium.evaluation.page_parts import confusion_view, quantity, words
from sensorium.evaluation.predictions import Predictions
from sensorium.evaluation.report import ReportInputs, Sample, choose_samples, report

HOSTILE = (
    "\"'><script>alert(1)</script><img src=http://evil/x onerror=alert(1)>{{7*7}}{% raw %}</pre></svg>&amp;javascript:"
)


class Reader(HTMLParser):
    """Every tag with its attributes, every text, and whether tags close in order."""

    void = frozenset({"meta", "img", "link", "br", "hr", "input"})
    svg = frozenset({"path", "rect", "circle", "line", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def made(hostile: str = "fox", n: int = 40) -> ReportInputs:
    """A full page, in which every text that may come from data is ``hostile``."""
    classes = [hostile, "cat", "dog"]
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, n)
    table = rng.dirichlet(np.ones(3), n)
    names = np.array(classes, dtype=object)
    before = Predictions(
        np.arange(n), list(names[truth]), list(names[table.argmax(1)]), "category", table, classes,
        groups={hostile: [hostile if i % 2 else "b" for i in range(n)]},
    )  # fmt: skip
    after = Predictions(
        np.arange(n), before.targets, before.targets, "category", np.eye(3)[truth], classes, groups=before.groups
    )
    metrics = compare(
        before, after, {hostile: before}, task="classify", n_resamples=100, notes=[hostile], cluster_name=hostile
    )
    picture = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
    tone = np.sin(np.arange(16_000) / 10).astype(np.float32)
    samples = [
        Sample(hostile, {hostile: Media("image", picture), "sound": Media("audio", tone), "text": hostile, "none": None, "n": 1.5},
               hostile, hostile, "", False, True),
        Sample(2, {}, 3.25, 3.5, 3.0),
    ]  # fmt: skip
    return ReportInputs(
        title=hostile,
        recipe_yaml=f"task: classify\ndata: {hostile}\n",
        metrics=metrics,
        history={
            "losses": [[i, 2.0 / i, 1 / i] for i in range(1, 60)],
            "validations": [
                {"step": s, "epoch": s / 20, "metrics": {"accuracy": s / 100, "loss": 1 / s}} for s in (20, 40)
            ],
            "best": {"metric": "accuracy", "value": 0.4, "step": 40},
        },
        confusion={hostile: confusions(before)[""]},
        samples=samples,
        data_report={
            "rows": 1234,
            "quarantined": {"7": [hostile, hostile]},
            "findings": [{"kind": hostile, "column": hostile, "count": 3, "severity": "warning", "message": hostile}],
            "splits": {hostile: 900},
        },
        environment={"packages": {hostile: hostile}, "seeds": [1, 2]},
        timings={"training_seconds": 451.0, "peak_memory_bytes": 2.5e9, hostile: hostile},
    )


def test_a_hostile_cell_is_text_wherever_it_stands() -> None:
    page = report(made(HOSTILE))
    reader = read(page)
    allowed = read(report(made()))
    assert {tag for tag, _ in reader.tags} == {tag for tag, _ in allowed.tags}
    assert len(reader.tags) == len(allowed.tags)
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)
    assert reader.text.count("<script>alert(1)</script>") >= 15
    assert "{{7*7}}" in reader.text


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = report(made())
    for tag, attributes in read(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;base64,", "data:audio/wav;base64,", "#"))
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'" in page


def test_all_parts_are_there_and_can_be_heard() -> None:
    page = report(made())
    reader = read(page)
    anchors = {a["id"] for _, a in reader.tags if a.get("id")}
    assert {"summary", "results", "training", "confusion", "classes", "samples", "data", "cost", "recipe"} <= anchors
    assert {str(a["href"])[1:] for tag, a in reader.tags if tag == "a"} <= anchors
    assert all(a.get("alt") for tag, a in reader.tags if tag == "img")
    assert all(a.get("aria-label") for tag, a in reader.tags if tag == "audio")
    assert all(a.get("aria-label") or a.get("aria-hidden") for tag, a in reader.tags if tag == "svg")
    assert all(a.get("scope") in ("col", "row") for tag, a in reader.tags if tag == "th")
    for words_ in (
        "Better than before",
        "1,234",
        "7 min 31 s",
        "2.50 GB",
        "(missing)",
        "(nothing)",
        "wrong",
        "right",
        "task: classify",
    ):
        assert words_ in page.replace("\u00a0", " "), words_
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_the_least_that_a_report_can_hold() -> None:
    after = Predictions(np.arange(3), ["a", "b", "c"], ["a", "b", "x"], "text")
    page = report(ReportInputs("least", "task: generate", compare(None, after, task="generate")))
    reader = read(page)
    assert "nothing to compare it with" in reader.text and "rows quarantined" in reader.text
    assert "samples" not in {a.get("id") for _, a in reader.tags}
    numbers = Predictions(np.arange(3), [1.0, 2.0, 3.0], [1.5, 2.0, 2.0], "number")
    read(report(ReportInputs("numbers", "", compare(numbers, numbers, task="classify"))))


def test_media_stay_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MEDIA_BYTES", 50_000)
    sound = np.zeros(16_000, dtype=np.float32)
    inputs = made()
    many = [Sample(i, {"sound": Media("audio", sound)}, "a", "a", "a", True, True) for i in range(20)]
    page = report(ReportInputs("t", "", inputs.metrics, samples=many))
    assert len(page) < 150_000 and "left out to keep this page small" in page


def test_a_thumbnail_is_small_and_a_sound_is_cut() -> None:
    picture = np.zeros((200, 400, 3), dtype=np.uint8)
    shown = Image.open(io.BytesIO(base64.b64decode(thumbnail(picture).partition(",")[2])))
    assert shown.size == (96, 48) and shown.format == "PNG"
    samples = np.full(30 * 8000, 2.0, dtype=np.float32)
    with wave.open(io.BytesIO(base64.b64decode(wav(samples, 8000).partition(",")[2]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 8 * 8000)
        assert np.frombuffer(file.readframes(1), "<i2")[0] == 32767  # clipped, not wrapped


def test_what_cannot_be_decoded_is_said() -> None:
    pytest.importorskip("sensorium.modalities.image")
    sample = Sample(
        1, {"picture": Media("image", b"no picture"), "odd": Media("image", np.zeros(3))}, "a", None, "a", None, True
    )
    page = report(ReportInputs("t", "", made().metrics, samples=[sample]))
    assert page.count("cannot be shown") == 2


def test_bytes_are_decoded_by_the_modalities() -> None:
    pytest.importorskip("sensorium.modalities.image")
    pytest.importorskip("sensorium.modalities.audio")
    page = io.BytesIO()
    Image.new("L", (300, 30), 128).save(page, "PNG")
    assert thumbnail(page.getvalue()).startswith("data:image/png")
    sound = base64.b64decode(wav(np.zeros(8000, dtype=np.float32), 8000).partition(",")[2])
    with wave.open(io.BytesIO(base64.b64decode(wav(sound).partition(",")[2]))) as file:
        assert file.getframerate() == 16_000 and file.getnframes() == pytest.approx(16_000, abs=64)


def test_samples_show_every_kind_in_turn() -> None:
    before, after = [False] * 50 + [True] * 50, [True] * 25 + [False] * 25 + [True] * 25 + [False] * 25
    chosen = choose_samples(before, after, 12)
    assert len(set(chosen)) == 12
    assert sorted((before[i], after[i]) for i in chosen[:4]) == [
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    ]
    assert chosen == choose_samples(before, after, 12)
    assert choose_samples(None, [True], 5) == [0]
    assert choose_samples([], [], 5) == []


def test_confusions_of_texts_by_question() -> None:
    questions = ["which?"] * 6 + ["what?"] * 3
    said = ["Cat.", "cat", "dog", "dog", "bird", "dog", "x", "y", "z"]
    right = ["cat", "cat", "cat", "dog", "dog", "dog", "x", "y", "z"]
    found = confusions(Predictions(np.arange(9), right, said, "text", groups={"q": questions}), by="q")
    assert set(found) == {"which?"}
    assert found["which?"].given == ["cat", "dog", "(another answer)"]
    assert found["which?"].counts.tolist() == [[2, 1, 0], [0, 2, 1]]
    assert found["which?"].mistakes()[0] == ("cat", "dog", 1, pytest.approx(1 / 3))
    assert confusions(Predictions(np.arange(1), [1.0], [1.0], "number")) == {}


def test_many_classes_are_drawn_as_a_picture() -> None:
    labels = [f"class {i}" for i in range(40)]
    view = confusion_view("", Confusion(labels, labels, np.eye(40, dtype=int)))
    assert view["rows"] == [] and view["picture"].count("<rect") == 40 and view["mistakes"] == []


def test_charts_of_hard_series() -> None:
    assert line_chart("t", [Line("a", [])], "x") == ""
    assert line_chart("t", [Line("a", [(1, float("nan"))])], "x") == ""
    for points in (
        [(5, 1.0)],
        [(1, 2.0), (2, 2.0)],
        [(1, -1e9), (2, 1e9)],
        [(0, 0.0), (1, 1e-12)],
        [(1, 1.0), (2, float("inf"))],
    ):
        drawn = line_chart("t", [Line("a", points)], "x")
        assert drawn.startswith("<svg") and "nan" not in drawn and "inf" not in drawn
    found = ticks(0.13, 0.87)
    assert found[0] <= 0.13 and found[-1] >= 0.87 and 3 <= len(found) <= 8


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("training_seconds", 3725, "1 h 02 min"),
        ("training_seconds", 75.4, "1 min 15 s"),
        ("training_seconds", 1.44, "1.4 s"),
        ("memory_bytes", 12_300_000, "12.3 MB"),
        ("rows", 12345, "12,345"),
        ("device", "cpu", "cpu"),
    ],
)
def test_quantities(key: str, value: object, shown: str) -> None:
    assert quantity(key, value) == shown


def test_names_of_quantities() -> None:
    assert words("peak_memory_bytes") == "peak memory" and words("training seconds") == "training"
