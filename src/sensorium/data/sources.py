"""From what the recipe names (files, folders, a glob, a hub id, a bundled name) to one memory-mapped table."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sensorium.data.readers import arrow as readers_arrow
from sensorium.data.readers import csv as readers_csv
from sensorium.data.readers import folder as readers_folder
from sensorium.data.readers import json as readers_json
from sensorium.data.readers.chunks import Chunk
from sensorium.data.readers.detect import detect
from sensorium.data.tables import Source, build, from_rows
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe
from sensorium.run import sha256_file, sha256_text

__all__ = ["Source", "find", "from_rows", "open_source"]

FILE_READERS: dict[str, Callable[[list[Path]], Iterator[Chunk]]] = {
    "csv": readers_csv.read_csv,
    "jsonl": readers_json.read_jsonl,
    "chat": readers_json.read_jsonl,
    "json": readers_json.read_json,
    "parquet": readers_arrow.read_parquet,
    "arrow": readers_arrow.read_arrow,
}
MEDIA_FOLDERS = {"imagefolder": ("image", readers_folder.IMAGES), "audiofolder": ("audio", readers_folder.SOUNDS)}


def open_source(data: DataRecipe, cache: Path) -> Source:
    """Open what ``data.source`` names; converted once into ``cache``, by content, then memory-mapped.

    Raises:
        DataError: nothing is there, the format cannot be told or read, there are no rows, or, with
            ``bad_rows: stop``, some row is malformed.
    """
    from sensorium.data.bundled.sets import BUNDLED

    if isinstance(data.source, str) and data.format == "auto" and data.source in BUNDLED:
        source = BUNDLED[data.source](cache)
    else:
        source = _open_files(data, Path(cache))
    if data.root is not None:
        source.root = Path(data.root).expanduser().absolute()
        if not source.root.is_dir():
            raise DataError(
                "no such folder", where=f"data.root {data.root}", mend="name the folder that media paths lie under"
            )
    if source.malformed and data.bad_rows == "stop":
        place, reason = source.malformed[0]
        raise DataError(reason, where=place, mend="mend the row, or set data.bad_rows: quarantine")
    return source


def _open_files(data: DataRecipe, cache: Path) -> Source:
    paths = find(data.source)
    format_, paths = detect(paths, data.format, str(data.source))
    if not paths:
        return _open_datasets(str(data.source), None, cache)
    name = paths[0].name if len(paths) == 1 else paths[0].parent.name
    if format_ == "datasets":
        return _open_datasets(paths[0].name, paths[0], cache)
    if format_ in MEDIA_FOLDERS:
        return _open_media_folder(paths[0], *MEDIA_FOLDERS[format_], cache=cache)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.name if path.parent == root else path.relative_to(root).as_posix() for path in paths]
    defaults: dict[str, Any] = {}
    if format_ == "parallel":
        groups = readers_folder.parallel_groups(paths)
        names = [Path(stem).name for stem in groups]
        languages = list(next(iter(groups.values())))
        inputs = dict.fromkeys(languages[:-1], "text")
        defaults = {"inputs": inputs, "target": languages[-1], "languages": languages}

        def read() -> Iterator[Chunk]:
            return readers_folder.read_parallel(groups)
    else:

        def read() -> Iterator[Chunk]:
            return FILE_READERS[format_](paths)

    print_ = files_fingerprint(paths, names if format_ == "parallel" else [])
    unit = "line" if format_ in ("jsonl", "chat", "parallel") else "row"
    source = build(read, name, print_, cache, names=names, unit=unit, kind=format_, defaults=defaults, root=root)
    if "messages" in source.table.column_names and format_ in ("jsonl", "chat", "json"):
        source.defaults["messages"] = "messages"
    elif format_ == "chat":
        raise DataError(
            "chat logs need a column messages",
            where=name,
            mend='write {"messages": [{"role": "user", "content": …}, …]} a line',
        )
    return source


def _open_media_folder(folder: Path, column: str, extensions: set[str], cache: Path) -> Source:
    files = readers_folder.list_media(folder)
    if not any(path.suffix.lower() in extensions for path in files):
        raise DataError(
            f"the folder holds no {column} files", where=str(folder), mend="put each class in a folder of its name"
        )
    inside = [path for path in files if path.is_file() and path.resolve().is_relative_to(folder.resolve())]
    print_ = files_fingerprint(inside, [os.fsencode(path.relative_to(folder)).hex() for path in inside])
    defaults = {"inputs": {column: column}, "target": "label"}

    def read() -> Iterator[Chunk]:
        return readers_folder.read_media_folder(folder, files, column, extensions)

    names = [folder.name]
    source = build(
        read, folder.name, print_, cache, names=names, kind=f"{column}folder", defaults=defaults, root=folder
    )
    source.places.paths = column
    source.malformed = [
        (files[number].relative_to(folder).as_posix().encode(errors="replace").decode(), reason)
        for number, reason in source.places.skipped[0]
    ]
    return source


def _open_datasets(name: str, folder: Path | None, cache: Path) -> Source:
    parts = readers_arrow.open_datasets(name, folder)
    if folder is not None:
        files = [path for path in readers_folder.list_media(folder) if path.is_file()]
        print_ = files_fingerprint(files, [str(path.relative_to(folder)) for path in files])
    else:
        print_ = sha256_text(" ".join(f"{split} {part._fingerprint}" for split, part in parts.items()))
    names = [f"{name}/{split}" if len(parts) > 1 else name for split in parts]
    return build(
        lambda: readers_arrow.read_datasets(parts), name, print_, cache, names=names, kind="datasets", root=folder
    )


def find(source: str | list[str]) -> list[Path]:
    """The paths a source names, globs expanded and sorted; empty where it can only be a hub id.

    Raises:
        DataError: a file, folder or match does not exist.
    """
    items = [source] if isinstance(source, str) else source
    found: list[Path] = []
    for item in items:
        path = Path(os.path.expanduser(item))
        if os.path.lexists(path):  # False, too, for names that no file can have
            found.append(path.absolute())
        elif any(c in item for c in "*?["):
            matches = sorted(glob.glob(os.path.expanduser(item), recursive=True))
            if not matches:
                raise DataError("no file matches", where=item, mend="check the pattern")
            found += [Path(match).absolute() for match in matches]
        elif isinstance(source, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", item) and not Path(item).suffix:
            return []
        else:
            from sensorium.data.bundled.sets import BUNDLED

            raise DataError(
                "no such file or folder",
                where=item,
                mend=f"check the path; bundled data sets: {', '.join(sorted(BUNDLED))}",
            )
    return found


def files_fingerprint(paths: list[Path], names: list[str]) -> str:
    """Hex SHA-256 of the files' bytes; of several files also of their ``names``, sizes and order."""
    try:
        if len(paths) == 1 and not names:
            return sha256_file(paths[0])
        lines = [f"{path.stat().st_size} {sha256_file(path)}" for path in paths]
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", where=str(error.filename), mend="check the path and its permissions"
        ) from None
    return sha256_text("\n".join([*lines, *names]))
