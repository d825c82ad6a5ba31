"""The serving benchmark chooses each side's best by its trial and tells what happened."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import serving
from benchmarks.common import Results

FIGURES: dict[str, Any] = {"precision": "bf16", "attention": "sdpa", "first_token_median": 0.5, "first_token_p90": 0.9}


def results(folder: Path) -> Results:
    made = Results(folder, "serving", {"clients": 16})
    for place, (precision, kernel) in enumerate(product(("fp32", "bf16"), serving.KERNELS)):
        made.keep(f"trial/{precision}/{kernel}", {"crowd": 10.0 + place, "alone": 5.0 - place})
    for side, rate in (("crowd", 80.0), ("alone", 20.0)):
        speeds = {"wall": rate, "cpu": rate / 2}
        made.keep(f"speed/{side}", FIGURES | {"tokens_per_second": speeds, "requests": 8})
    return made


def test_each_side_has_its_own_best(tmp_path: Path) -> None:
    made = results(tmp_path)
    assert serving.best(made, "crowd") == ("bf16", "eager")
    assert serving.best(made, "alone") == ("fp32", "sdpa")


def test_the_page_tells_speed_and_soak(tmp_path: Path) -> None:
    made = results(tmp_path)
    told = {"outcomes": {"answered": 90, "hung up": 6, "refused: malformed": 4}, "wrong": [], "seconds": 10.0}
    made.keep("soak", told | {"resident_second_half": [2**30, 2**30 + 2**24], "growth_second_half": 0.0156})
    page = serving.page(made, argparse.Namespace(clients=16, clock="wall", soak=100, soak_clients=32))
    assert "| Sensorium's engine, 16 clients | bf16, sdpa | 8 | 80.0 | 40.0 | 4.00 | 0.50 | 0.90 |" in page
    assert "| answers that differ from single-request service | 0 |" in page
    assert "1,024 to 1,040 MiB, 1.6 % over its start" in page
