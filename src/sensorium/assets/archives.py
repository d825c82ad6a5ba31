"""Taking data, and nothing but data, out of wheels and npm tarballs.

Archives are opened only after their hash was verified; the checks here hold even so, since a pin can be a mistake.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from sensorium.errors import AssetError

_BLOCK = 1 << 20


def extract(archive: Path, members: Iterable[str], into: Path, limit_bytes: int) -> list[Path]:
    """Extract the regular files whose names start with one of ``members``; answer their paths under ``into``.

    Args:
        archive: a wheel or zip, or a gzipped tar.
        members: prefixes as they stand in the archive; each must match something.
        into: folder that the members' own paths are kept under; made where missing.
        limit_bytes: the most that they may unpack to, counted while writing, whatever the headers claim.

    Raises:
        AssetError: a damaged archive; a path that leaves ``into``; a link or device; more than ``limit_bytes``;
            a prefix that matches nothing; a name that comes twice.
        OSError: the disk.
    """
    prefixes = tuple(members)
    written: list[Path] = []
    found: set[str] = set()
    left = limit_bytes
    try:
        for name, stream in _files(archive, prefixes):
            target = into / _safe(name, archive)
            if target in written:
                raise AssetError(f"holds {name!r} twice", where=archive.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "wb") as file:
                while block := stream.read(_BLOCK):
                    left -= len(block)
                    if left < 0:
                        raise AssetError(f"unpacks to more than {limit_bytes:,} bytes", where=archive.name)
                    file.write(block)
            written.append(target)
            found.update(prefix for prefix in prefixes if name.startswith(prefix))
    except (zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise AssetError(f"damaged archive ({error})", where=archive.name) from None
    if missing := [prefix for prefix in prefixes if prefix not in found]:
        raise AssetError(f"holds no {missing[0]!r}", where=archive.name)
    return written


def _files(archive: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, opened stream) of each wanted member; links and devices are refused, folders passed over."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if entry.is_dir() or not entry.filename.startswith(prefixes):
                    continue
                mode = entry.external_attr >> 16
                if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise AssetError(f"{entry.filename!r} is a link or a device", where=archive.name)
                with opened.open(entry) as stream:
                    yield entry.filename, stream
        return
    with gzip.open(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as opened:
        for member in opened:
            if member.isdir() or not member.name.startswith(prefixes):
                continue
            if not member.isreg():
                raise AssetError(f"{member.name!r} is a link or a device", where=archive.name)
            if (content := opened.extractfile(member)) is not None:
                with content:
                    yield member.name, content
        while unzipped.read(_BLOCK):  # to gzip's own checksum, which stands at the end
            pass


def _safe(name: str, archive: Path) -> Path:
    """``name`` as a relative path that stays below where it is put."""
    path = PurePosixPath(name)
    wrong = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name or not path.parts
    if wrong or os.path.isabs(name):
        raise AssetError(f"the path {name!r} leads out of the folder", where=archive.name)
    return Path(*path.parts)
