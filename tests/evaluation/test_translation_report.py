"""The page of a translator: complete in itself, with minutes, probing and samples, safe with hostile sentences."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sensorium.evaluation.embed import Media
from sensorium.evaluation.probe_table import PROBE_COLUMNS, probe_findings, probe_metrics, probe_rows
from sensorium.evaluation.translation_report import choose_translations, minutes_chart, write_translation_report
from sensorium.evaluation.translation_table import TranslationMeasured, translation_metrics

WANTED = [f"Ein Hund Nummer {i} läuft über die Wiese." for i in range(40)]
SAID = [text if i % 2 else text.replace("läuft über", "<script>x</script>") for i, text in enumerate(WANTED)]
CASES = TranslationMeasured(
    ["en-de"] * 40,
    [f"dog {i}" for i in range(40)],
    WANTED,
    {"after": SAID, "before": [""] * 40},
    clusters=list(range(40)),
)
HISTORY = {
    "losses": [(1, 7.0), (2, 6.0)],
    "validations": [{"step": s, "epoch": 1, "seconds": 90.0 * s, "metrics": {"bleu": 10.0 * s}} for s in (1, 2)],
    "best": {"metric": "bleu", "value": 20.0, "step": 2},
}


@pytest.fixture(scope="module")
def probe() -> dict:  # type: ignore[type-arg]
    rows = {"nothing": np.arange(40), "everything": np.arange(20, 40)}
    poor = ["Eine Katze schläft." for _ in WANTED]
    said = {
        "nothing": {"right": WANTED, "wrong": WANTED, "none": WANTED},
        "everything": {"right": SAID[20:], "wrong": poor[20:], "none": [""] * 20},
    }
    return probe_metrics(CASES, rows, said, n_resamples=200, notes=["nouns hidden: left out"])


def test_the_probe_pairs_pictures(probe: dict) -> None:  # type: ignore[type-arg]
    hidden = probe["hidden"]["everything"]
    gap = hidden["against"]["wrong"]["bleu"]
    assert gap["value"] == pytest.approx(
        hidden["after"]["bleu"]["value"] - hidden["baselines"]["wrong"]["bleu"]["value"]
    )
    assert gap["low"] > 0 and hidden["rows"] == 20
    assert hidden["by"]["direction"]["en-de"]["after"]["bleu"] == hidden["after"]["bleu"]
    rows = probe_rows(probe)
    assert [row[0] for row in rows] == ["nothing", "everything"] and all(len(row) == len(PROBE_COLUMNS) for row in rows)
    told = probe_findings(probe)
    assert told[0].startswith(
        "With the whole source, the right picture is no clear difference to no picture: BLEU +0.0"
    )
    assert told[2].startswith("With everything hidden, the right picture is better than no picture")


def test_the_page(probe: dict, tmp_path: Path) -> None:  # type: ignore[type-arg]
    metrics = translation_metrics(CASES, n_resamples=100)
    shown = choose_translations(CASES)
    pictures = {shown[0]: Media("image", np.zeros((8, 8, 3), dtype=np.uint8))}
    path = tmp_path / "report.html"
    write_translation_report(
        path, CASES, metrics, HISTORY, title="dogs", recipe_yaml="task: generate", pictures=pictures, probe=probe
    )
    page = path.read_text()
    assert "<script>" not in page and "&lt;script&gt;x" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for words in ("Validation: BLEU over minutes", "Does the picture help?", "By direction", "right - none", "dog 1",
                  "from the worst to the best", "nouns hidden: left out", "sacreBLEU signatures"):  # fmt: skip
        assert words in page
    assert page.count('src="data:image/png') == 1


def test_samples_run_from_worst_to_best() -> None:
    chosen = choose_translations(CASES, 4)
    assert [SAID[i] == WANTED[i] for i in chosen] == [False, False, True, True]


def test_no_minutes_without_validation() -> None:
    assert minutes_chart({"validations": [], "best": None}) is None
    drawn = minutes_chart(HISTORY)
    assert drawn is not None and "BLEU from 10 to 20" in drawn["svg"]
