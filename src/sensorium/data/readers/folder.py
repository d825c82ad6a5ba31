"""Folders of pictures or sounds, where a folder's name is the class, and line-aligned parallel text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from sensorium.data.readers.chunks import ROWS, Chunk
from sensorium.data.text.lines import text_lines
from sensorium.errors import DataError

IMAGES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".gif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".avif",
    ".ico",
}
SOUNDS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".m4a"}
# What the parts of a split may be called in folders, files and columns.
PARTS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}


def list_media(folder: Path) -> list[Path]:
    """All visible files below ``folder``, sorted; links to folders are not followed."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(here, name) for name in files if not name.startswith(".") and name not in ("Thumbs.db", "desktop.ini")
        ]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def read_media_folder(folder: Path, files: list[Path], column: str, extensions: set[str]) -> Iterator[Chunk]:
    """Chunks with the column ``column`` (paths relative to ``folder``), ``label`` and, below train and test, ``split``."""
    tops = {path.relative_to(folder).parts[0] for path in files if len(path.relative_to(folder).parts) > 1}
    split = bool(tops) and all(name.lower() in PARTS for name in tops)
    for start in range(0, max(1, len(files)), ROWS):
        paths, labels, parts, skipped = [], [], [], []
        for number, path in enumerate(files[start : start + ROWS], start):
            relative = path.relative_to(folder)
            if reason := _why_not(path, folder, column, extensions):
                skipped.append((number, reason))
                continue
            above = relative.parts[:-1]
            parts.append(above[0] if split and above else None)
            above = above[1:] if split else above
            labels.append(above[0] if above else None)
            paths.append(relative.as_posix())
        columns = {column: pa.array(paths, pa.large_string()), "label": pa.array(labels, pa.large_string())}
        if split:
            columns["split"] = pa.array(parts, pa.large_string())
        yield Chunk(0, columns, len(paths), skipped)


def _why_not(path: Path, folder: Path, column: str, extensions: set[str]) -> str:
    try:
        path.name.encode()
        str(path.relative_to(folder)).encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if path.suffix.lower() not in extensions:
        return f"does not end like a file of {'pictures' if column == 'image' else 'sound'}"
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        return "links out of the folder"
    return "" if path.is_file() else "is no regular file"


# -- parallel text ---------------------------------------------------------------------------------


def parallel_groups(paths: list[Path]) -> dict[str, dict[str, Path]]:
    """Files by stem, then by language (the suffix before ``.gz``): {"train": {"en": train.en, "de": train.de.gz}}.

    Raises:
        DataError: a file has no language suffix, or a stem lacks a language that another has.
    """
    groups: dict[str, dict[str, Path]] = {}
    for path in paths:
        stem, _, language = path.name.removesuffix(".gz").rpartition(".")
        if not stem:
            raise DataError(
                "parallel text needs a language as suffix",
                where=str(path),
                mend="name the files like train.en and train.de",
            )
        if language in groups.setdefault(str(path.parent / stem), {}):
            raise DataError(f"two files for {language}", where=str(path), mend="keep the plain or the packed one")
        groups[str(path.parent / stem)][language] = path
    languages = list(dict.fromkeys(language for group in groups.values() for language in group))
    for stem, group in groups.items():
        missing = [language for language in languages if language not in group]
        if missing or len(languages) < 2:
            given = ", ".join(path.name for path in group.values())
            what = f"{given} has no counterpart" + (f" in {missing[0]}" if missing else "")
            raise DataError(what, where=stem, mend="give line-aligned files in pairs, as a list: [a.en, a.de]")
    return groups


def read_parallel(groups: dict[str, dict[str, Path]]) -> Iterator[Chunk]:
    """Chunks with one column a language; stems all named for parts of a split give a column ``split``."""
    parts = [_part_of(stem) for stem in groups]
    for number, group in enumerate(groups.values()):
        for columns in _aligned(group):
            rows = len(columns[0])
            named = dict(zip(group, columns, strict=True))
            if len(groups) > 1 and all(parts):
                named["split"] = pa.array([parts[number]] * rows, pa.large_string())
            yield Chunk(number, named, rows)


def _part_of(stem: str) -> str | None:
    name = Path(stem).name.lower().replace("-", "_").split("_")[0].split(".")[0]
    return PARTS.get(name)


def _aligned(group: dict[str, Path]) -> Iterator[list[pa.Array]]:
    readers = [text_lines(path) for path in group.values()]
    done = 0
    while True:
        blocks = [_take(reader) for reader in readers]
        rows = {len(block) for block in blocks}
        if len(rows) > 1:
            counts = [done + len(block) + sum(1 for _ in reader) for block, reader in zip(blocks, readers, strict=True)]
            told = ", ".join(
                f"{path.name} has {count:,} lines" for path, count in zip(group.values(), counts, strict=True)
            )
            where = str(next(iter(group.values())).parent)
            raise DataError(
                f"not line-aligned: {told}", where=where, mend="give files with one sentence a line, as many in each"
            )
        if rows == {0}:
            return
        done += len(blocks[0])
        yield [pa.array([line or None for line in block], pa.large_string()) for block in blocks]


def _take(lines: Iterator[str]) -> list[str]:
    return [line for _, line in zip(range(ROWS), lines)]
