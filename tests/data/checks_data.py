"""Small tables with known faults, and what checks say of them; used by the tests of checks and duplicates."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from sensorium.data.checks.check import DataReport, Finding, check
from sensorium.data.media import read_media
from sensorium.data.schema import Schema
from sensorium.data.tables import Source, from_rows


def picture(seed: int, size: int = 48, format_: str = "PNG", **options: Any) -> bytes:
    """Soft blobs of colour, different for each seed, much alike in any format and size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(file, format_, **options)
    return file.getvalue()


def sound(seed: int, seconds: float = 0.2, peak: float = 0.5, format_: str = "WAV") -> bytes:
    """A tone of its own pitch."""
    file = io.BytesIO()
    samples = np.sin(2 * np.pi * (200 + 37 * seed) * np.arange(int(seconds * 16_000)) / 16_000)
    soundfile.write(file, np.clip(peak * samples, -1, 1), 16_000, format=format_)
    return file.getvalue()


def schema_of(inputs: dict[str, Any], target: str | None = None, kind: Any = "category", classes: Any = None) -> Schema:
    return Schema(inputs, target, kind, "generate" if kind == "text" else "classify", classes)


def examine(source: Source, schema: Schema, **options: Any) -> DataReport:
    return check(source, schema, partial(read_media, root=source.root), **options)


def table(rows: list[dict[str, Any]], root: Path | None = None) -> Source:
    return from_rows(rows, root=root, name="t.csv")


def only(report: DataReport | list[Finding], kind: str, column: str | None = None) -> Finding:
    """The one finding of a kind."""
    findings = report.findings if isinstance(report, DataReport) else report
    found = [f for f in findings if f.kind == kind and column in (None, f.column)]
    assert len(found) == 1, [(f.kind, f.column, f.message) for f in findings]
    return found[0]


def kinds(report: DataReport | list[Finding]) -> set[str]:
    return {f.kind for f in (report.findings if isinstance(report, DataReport) else report)}
