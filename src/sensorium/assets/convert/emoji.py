"""Emoji: 64-pixel pictures joined with their names, tags and groups.

A concept is what an emoji shows apart from skin tone, gender and direction (and presentation selectors): splits are
grouped by it, so that "woman running" never tests what "man running" taught. Pictures that are identical in pixels
(the flag of France flies over several territories) share a concept too.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
SIGNS = {"2640": "female", "2642": "male"}
# Code points that say a gender by themselves.
_GENDERED = {
    "1f468": "male",  # man, boy, old man
    "1f466": "male",
    "1f474": "male",
    "1f469": "female",  # woman, girl, old woman
    "1f467": "female",
    "1f475": "female",
    "1f934": "male",  # prince, princess
    "1f478": "female",
    "1f930": "female",  # pregnant woman, pregnant man
    "1fac3": "male",
    "1f57a": "male",  # man dancing, woman dancing
    "1f483": "female",
    "1f385": "male",  # Santa Claus, Mrs Claus
    "1f936": "female",
    "1f46b": "female+male",  # woman and man, men, women holding hands
    "1f46c": "male+male",
    "1f46d": "female+female",
}
RIGHT = "27a1"
_DROPPED = {*TONES, *SIGNS, RIGHT, "200d"}

# Code points -> those that show the same thing without a gender.
_NEUTRAL = {
    "1f468": "1f9d1",  # man, woman -> person
    "1f469": "1f9d1",
    "1f466": "1f9d2",  # boy, girl -> child
    "1f467": "1f9d2",
    "1f474": "1f9d3",  # old man, old woman -> older person
    "1f475": "1f9d3",
    "1f934": "1fac5",  # prince, princess -> person with crown
    "1f478": "1fac5",
    "1f930": "1fac4",  # pregnant woman, pregnant man -> pregnant person
    "1fac3": "1fac4",
    "1f57a": "1f483",  # man dancing -> woman dancing: there is no third
    "1f385": "1f9d1-1f384",  # Santa, Mrs Claus -> Mx Claus
    "1f936": "1f9d1-1f384",
    "1f46b": "1f9d1-1f91d-1f9d1",  # woman and man, men, women holding hands -> people holding hands
    "1f46c": "1f9d1-1f91d-1f9d1",
    "1f46d": "1f9d1-1f91d-1f9d1",
    "1f48f": "1f9d1-2764-1f48b-1f9d1",  # kiss
    "1f491": "1f9d1-2764-1f9d1",  # couple with heart
}

# What the pinned packages must give; anything else means that this reading of them is wrong.
PICTURES, CONCEPTS, GROUPS, SUBGROUPS, LOCALES, VARIANTS = 1906, 1681, 9, 98, 28, 1875


def convert(unpacked: Path, target: Path) -> None:
    """``emoji.parquet``, one row a picture, and ``variants.parquet``, the further skin tones of the same emoji.

    Columns: id (code points in hex), concept (the id of its first member), name (English), tags, group, subgroup,
    skin_tone ("" or "light" … "dark", "light+dark" for two people), gender ("" or "male", "female", "female+male", …),
    direction ("" or "right"), codepoints (with selectors), names (locale -> name), picture ({bytes, path}: PNG).
    """
    source = unpacked / "emoji-datasource-google" / "package"
    entries = json.loads((source / "emoji.json").read_text(encoding="utf-8"))
    entries = [entry for entry in entries if entry["category"] != "Component"]
    words = _words(unpacked / "emojibase-data" / "package")
    rows = [_row(entry, entry, words, source) for entry in entries]
    variants = [
        _row(entry, variant, words, source)
        for entry in entries
        for variant in entry.get("skin_variations", {}).values()
    ]
    _join(rows, variants)

    _expect("pictures", len(rows), PICTURES)
    _expect("concepts", len({row["concept"] for row in rows}), CONCEPTS)
    _expect("groups", len({row["group"] for row in rows}), GROUPS)
    _expect("subgroups", len({row["subgroup"] for row in rows}), SUBGROUPS)
    _expect("locales", len(words), LOCALES)
    _expect("variants", len(variants), VARIANTS)
    schema = _schema(sorted(words))
    for name, table in (("emoji", rows), ("variants", variants)):
        pq.write_table(pa.Table.from_pylist(table, schema=schema), target / f"{name}.parquet", compression="zstd")
    for package in ("emoji-datasource-google", "emojibase-data"):
        licence = (unpacked / package / "package" / "LICENSE").read_bytes()
        (target / f"LICENSE.{package}").write_bytes(licence)


def plain(codepoints: str) -> list[str]:
    """``"0023-FE0F-20E3"`` -> ``["23", "20e3"]``: lower case, no leading zeros, no presentation selector."""
    return [point for point in (format(int(part, 16), "x") for part in codepoints.split("-")) if point != "fe0f"]


def concept_of(codepoints: str) -> str:
    """The code points without skin tone, gender and direction, in hex; marks that stand alone are concepts themselves."""
    first, *rest = plain(codepoints)
    return "-".join(_NEUTRAL.get(point, point) for point in (first, *(p for p in rest if p not in _DROPPED)))


def gender_of(codepoints: str) -> str:
    """``male``, ``female``, several joined with ``+`` in their order; empty where the code points say none."""
    points = plain(codepoints)
    signs = [SIGNS[point] for point in points[1:] if point in SIGNS]
    return "+".join(signs or [_GENDERED[point] for point in points if point in _GENDERED])


def _row(entry: dict[str, Any], form: dict[str, Any], words: dict[str, dict[str, Any]], source: Path) -> dict[str, Any]:
    """One picture's row; ``form`` is the entry itself or one of its skin-tone variants."""
    codepoints = form["unified"]
    points = plain(codepoints)
    key = "-".join(points)
    names = {locale: labels[key]["label"] for locale, labels in words.items() if key in labels}
    base = words["en"]["-".join(plain(entry["unified"]))]
    return {
        "id": key,
        "concept": concept_of(entry["unified"]),
        "name": names.get("en", base["label"]),
        "tags": base.get("tags", []),
        "group": entry["category"],
        "subgroup": entry["subcategory"],
        "skin_tone": "+".join(TONES[point] for point in points if point in TONES),
        "gender": gender_of(codepoints),
        "direction": "right" if RIGHT in points[1:] else "",
        "codepoints": codepoints,
        "names": names,
        "picture": {
            "bytes": (source / "img" / "google" / "64" / form["image"]).read_bytes(),
            "path": form["image"],
        },
    }


def _join(rows: list[dict[str, Any]], variants: list[dict[str, Any]]) -> None:
    """Rename concepts in place: those with a picture in common become one, named for its first row's id."""
    parent: dict[str, str] = {}

    def root(concept: str) -> str:
        while parent.setdefault(concept, concept) != concept:
            concept = parent[concept]
        return concept

    seen: dict[str, str] = {}
    for row in [*rows, *variants]:
        pixels = Image.open(io.BytesIO(row["picture"]["bytes"])).convert("RGBA")
        concept = root(row["concept"])
        twin = root(seen.setdefault(hashlib.sha256(pixels.tobytes()).hexdigest(), concept))
        parent[concept] = twin
    first: dict[str, str] = {}
    for row in [*rows, *variants]:
        row["concept"] = first.setdefault(root(row["concept"]), row["id"])


def _words(package: Path) -> dict[str, dict[str, Any]]:
    """{locale: {id: {label, tags, …}}}, skin-tone variants among them."""
    words: dict[str, dict[str, Any]] = {}
    for file in sorted(package.glob("*/data.json")):
        entries = json.loads(file.read_text(encoding="utf-8"))
        flat = [form for entry in entries for form in (entry, *entry.get("skins", []))]
        words[file.parent.name] = {"-".join(plain(form["hexcode"])): form for form in flat}
    return words


def _schema(locales: list[str]) -> pa.Schema:
    text = pa.string()
    plain_columns = {"id": text, "concept": text, "name": text, "tags": pa.list_(text), "group": text, "subgroup": text}
    marks = {"skin_tone": text, "gender": text, "direction": text, "codepoints": text}
    names = pa.struct(dict.fromkeys(locales, text))
    picture = pa.struct({"bytes": pa.binary(), "path": text})
    return pa.schema({**plain_columns, **marks, "names": names, "picture": picture})


def _expect(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"{found:,} {what} instead of {expected:,}")
