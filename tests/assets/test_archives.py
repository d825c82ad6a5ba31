"""Archives give up their data and nothing else."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.assets import archives
from sensorium.errors import AssetError


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


PACKERS = {"wheel": zipped, "tgz": tarred}


@pytest.mark.parametrize("kind", PACKERS)
def test_takes_the_wanted_members_alone(tmp_path: Path, kind: str) -> None:
    archive = PACKERS[kind](tmp_path / "a", {"p/data/x.bin": b"x" * 3000, "p/code.py": b"boom", "p/LICENSE": b"free"})
    written = archives.extract(archive, ["p/data/", "p/LICENSE"], tmp_path / "out", 10_000)
    assert {path.relative_to(tmp_path / "out").as_posix() for path in written} == {"p/data/x.bin", "p/LICENSE"}
    assert (tmp_path / "out/p/data/x.bin").read_bytes() == b"x" * 3000
    assert not (tmp_path / "out/p/code.py").exists()


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("name", ["p/../../evil", "p/..\\..\\evil", "p/c:evil", "p//../../../etc/passwd"])
def test_refuses_paths_that_lead_out(tmp_path: Path, kind: str, name: str) -> None:
    archive = PACKERS[kind](tmp_path / "a", {name: b"evil"})
    with pytest.raises(AssetError, match="leads out of the folder"):
        archives.extract(archive, ["p/"], tmp_path / "deep" / "out", 100)
    assert not list(tmp_path.rglob("evil"))


@given(st.text(st.sampled_from("./\\:ab"), min_size=1, max_size=12))
def test_whatever_the_name_the_file_stays_below(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    archive = tarred(folder / "a", {name: b"content"})
    try:
        written = archives.extract(archive, [name[:1]], folder / "in" / "out", 100)
    except AssetError:
        written = []
    except (IsADirectoryError, FileExistsError):  # "a/." and the like: the disk itself refuses
        written = []
    outside = [path for path in folder.rglob("*") if path.is_file() and path.name != "a"]
    assert all((folder / "in" / "out") in path.parents for path in [*written, *outside] if path != archive)


def test_refuses_links(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t", "w:gz") as archive:
        link = tarfile.TarInfo("p/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        entry = zipfile.ZipInfo("p/link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    for name in ("t", "z"):
        with pytest.raises(AssetError, match="link or a device"):
            archives.extract(tmp_path / name, ["p/"], tmp_path / "out", 100)


@pytest.mark.parametrize("kind", PACKERS)
def test_stops_at_the_limit_while_writing(tmp_path: Path, kind: str) -> None:
    archive = PACKERS[kind](tmp_path / "a", {"p/bomb": bytes(50_000_000)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(AssetError, match="more than 2,000,000 bytes"):
        archives.extract(archive, ["p/"], tmp_path / "out", 2_000_000)
    assert (tmp_path / "out/p/bomb").stat().st_size <= 2_000_000


@pytest.mark.parametrize("kind", PACKERS)
def test_a_cut_or_changed_archive_is_damaged(tmp_path: Path, kind: str) -> None:
    import random

    content = random.Random(0).randbytes(200_000)
    archive = PACKERS[kind](tmp_path / "a", {"p/x": content})
    whole = archive.read_bytes()
    for broken in (whole[:100_000], whole[:90_000] + b"\0" * 64 + whole[90_064:]):
        archive.write_bytes(broken)
        with pytest.raises(AssetError, match="damaged archive"):
            archives.extract(archive, ["p/"], tmp_path / "out", 1_000_000)


def test_what_is_missing_or_double_is_named(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a", {"p/x": b"1"})
    with pytest.raises(AssetError, match="holds no 'q/'"):
        archives.extract(archive, ["p/", "q/"], tmp_path / "out", 100)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "b", "w") as twice:
        twice.writestr("p/x", b"1")
        twice.writestr("p/x", b"2")
    with pytest.raises(AssetError, match="twice"):
        archives.extract(tmp_path / "b", ["p/"], tmp_path / "out", 100)
