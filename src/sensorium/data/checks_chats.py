"""Chat logs: each parsed as it will be learnt from, and what it shows read and decoded."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from sensorium.data.checks_columns import mixed
from sensorium.data.checks_media import Looker, MediaFindings, Shown, look_at_all
from sensorium.data.checks_report import DataReport, cause_of, counted, found
from sensorium.data.messages import MediaPart, Message
from sensorium.data.rows import Rows
from sensorium.data.schema import Schema
from sensorium.data.tables import Source
from sensorium.errors import DataError

COLUMNS = {"image": "image_url", "audio": "input_audio"}


def check_chats(
    source: Source, schema: Schema, read_media: Callable[[Any], bytes], progress: Any, report: DataReport
) -> None:
    """Set aside chats that are not valid or show what cannot be used; fill the report's hashes of rows."""
    rows, column = Rows(source, schema), str(schema.messages)
    lookers = {type_: Looker(type_, read_media) for type_ in COLUMNS}
    findings = {type_: MediaFindings(source, name, type_, report) for type_, name in COLUMNS.items()}
    pairs: dict[str, list[tuple[int, int]]] = {type_: [] for type_ in COLUMNS}
    wrong: list[int] = []
    reasons: Counter[str] = Counter()
    task = progress.task("checking chats", len(rows), unit="chats") if progress is not None else nullcontext()

    def parts(advance: Any) -> Iterator[tuple[int, MediaPart]]:
        for row in range(len(rows)):
            if advance is not None:
                advance(1)
            try:
                example = rows[row]
            except DataError as error:
                reason = _reason(error, source.place(row))
                wrong.append(row)
                reasons[cause_of(reason)] += 1
                report.set_aside([row], column, reason)
                continue
            messages = example.inputs["messages"]
            report.exact[row], report.alike[row] = _digests(messages)
            report.targets[row] = _digest(str(example.target))
            for message in messages:
                yield from ((row, part) for part in message.parts if isinstance(part, MediaPart))

    def look(row: int, part: MediaPart) -> Shown:
        return lookers[part.type].look(row, part.reference)

    with task as advance:
        for shown in look_at_all(look, parts(advance)):
            findings[shown.type].add(shown)
            if shown.content is not None and shown.problem is None:
                pairs[shown.type].append((shown.row, shown.content.number))
    if wrong:
        said = counted(len(wrong), "chat cannot", "chats cannot") + " be learnt from: "
        said += ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
        report.findings.append(found(source, "bad_chat", column, "quarantine", np.array(wrong), said))
    for type_, name in COLUMNS.items():
        findings[type_].tell()
        if pairs[type_]:
            media = report.media[name] = lookers[type_].media(pairs[type_])
            shown_ = np.zeros(len(rows), dtype=np.uint64)
            np.add.at(shown_, media.rows, media.keys[media.contents])
            report.exact, report.alike = mixed(report.exact, shown_), mixed(report.alike, shown_)


def _reason(error: DataError, place: str) -> str:
    where = error.where.removeprefix(place).lstrip(", ")
    return f"{where}: {error.what}" if where else error.what


def _digests(messages: list[Message]) -> tuple[int, int]:
    """Hashes of what is said before the last message: as it is, and without regard to case and white space."""
    text = "\x1e".join(f"{message.role}\x1f{message.text}" for message in messages[:-1])
    return _digest(text), _digest(" ".join(unicodedata.normalize("NFKC", text).lower().split()))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "big") | 1
