"""Which format files have: by extension, by content where the extension says nothing, by what a folder holds."""

from __future__ import annotations

from pathlib import Path

from sensorium.data.readers.csv import BROKEN, open_bytes
from sensorium.data.readers.folder import IMAGES, SOUNDS, list_media
from sensorium.errors import DataError

BY_EXTENSION = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
MEND = "set data.format to csv, jsonl, parquet, arrow, imagefolder, audiofolder, chat or parallel"


def detect(paths: list[Path], format_: str, source: str) -> tuple[str, list[Path]]:
    """The format and the files to read: a folder of tables becomes its tables; no paths are a hub id.

    Raises:
        DataError: the format cannot be told, or files and folders or several formats are mixed.
    """
    if not paths:
        return "datasets", []
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise DataError("a folder among several sources", where=str(folders[0]), mend="give one folder, or files")
    if folders:
        return _folder(paths[0], format_)
    for path in paths:
        if not path.is_file():
            raise DataError("no such file", where=str(path), mend="check the path and where it links to")
    if format_ in ("imagefolder", "audiofolder"):
        raise DataError(f"{format_} needs a folder", where=source, mend="give the folder above the class folders")
    if format_ != "auto":
        return ("json" if format_ in ("jsonl", "chat") and _array(paths) else format_), paths
    found = {path: _file(path) for path in paths}
    unknown = [path for path, name in found.items() if name is None]
    if unknown and len(paths) > 1 and len(unknown) == len(paths):
        return "parallel", paths
    if unknown:
        raise DataError("the format cannot be told from name or content", where=str(unknown[0]), mend=MEND)
    formats = sorted({str(name) for name in found.values()})
    if len(formats) > 1:
        raise DataError(
            f"files of different formats ({', '.join(formats)})", where=source, mend="convert them to one format"
        )
    return formats[0], paths


def _file(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    by_name = BY_EXTENSION.get(Path(name).suffix)
    if by_name and by_name != "json":
        return by_name
    with open_bytes(path) as file:
        try:
            start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        except BROKEN:
            start = b""
    if by_name == "json":
        return "jsonl" if start.startswith(b"{") and _object_on_first_line(start) else "json"
    for magic, format_ in ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b'{"', "jsonl")):
        if start.startswith(magic):
            return format_
    return None


def _object_on_first_line(start: bytes) -> bool:
    """JSON Lines saved as .json: the first line closes the brace that it opens."""
    return start.splitlines()[0].rstrip().endswith(b"}")


def _array(paths: list[Path]) -> bool:
    return all(path.suffix.lower() == ".json" and _file(path) == "json" for path in paths)


def _folder(folder: Path, format_: str) -> tuple[str, list[Path]]:
    if any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json")):
        return "datasets", [folder]
    if format_ in ("imagefolder", "audiofolder"):
        return format_, [folder]
    tables = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    if format_ == "parallel":
        return format_, tables
    tables = [path for path in tables if _known(path)]
    if tables:
        return detect(tables, format_, str(folder))
    suffixes = [path.suffix.lower() for path in list_media(folder)]
    pictures, sounds = sum(s in IMAGES for s in suffixes), sum(s in SOUNDS for s in suffixes)
    if not pictures and not sounds:
        what = "the folder is empty" if not suffixes else "the folder holds no table, picture or sound"
        raise DataError(what, where=str(folder), mend="give a folder of tables, or of class folders with media")
    return ("imagefolder" if pictures >= sounds else "audiofolder"), [folder]


def _known(path: Path) -> bool:
    return Path(path.name.lower().removesuffix(".gz")).suffix in BY_EXTENSION
