"""The one way to bytes: what it opens, and the many things it refuses, each in one line and without waiting."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.media import content_hash, read_media, shown
from sensorium.errors import MediaError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """data/ with a file and a folder, and a secret beside it."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"picture")
    (folder / "sub" / "b c.wav").write_bytes(b"sound")
    (folder / "größe.png").write_bytes(b"umlaut")
    (folder / "empty.png").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a.png", b"picture"),
        ("  a.png ", b"picture"),
        ("./sub/../a.png", b"picture"),
        ("sub/b c.wav", b"sound"),
        ("größe.png", b"umlaut"),
        ({"bytes": b"inside", "path": None}, b"inside"),
        ({"bytes": b"inside", "path": "../secret.png"}, b"inside"),
        ({"bytes": None, "path": "a.png"}, b"picture"),
        ({"path": "a.png"}, b"picture"),
        (b"plain", b"plain"),
        ("data:image/png;base64,cGljdHVyZQ==", b"picture"),
        ("DATA:;base64,cGljdHVyZQ==", b"picture"),
        ({"path": "data:image/png;base64,cGljdHVyZQ=="}, b"picture"),
    ],
)
def test_what_it_opens(root: Path, reference: object, expected: bytes) -> None:
    assert read_media(reference, root) == expected  # type: ignore[arg-type]


def test_absolute_paths_and_links_that_stay_inside(root: Path) -> None:
    assert read_media(str(root / "a.png"), root) == b"picture"
    (root / "link.png").symlink_to("a.png")
    (root / "folder").symlink_to("sub")
    assert read_media("link.png", root) == b"picture"
    assert read_media("folder/b c.wav", root) == b"sound"


def test_a_root_that_is_itself_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert read_media("a.png", tmp_path / "alias") == b"picture"
    assert read_media(str(tmp_path / "alias" / "a.png"), root) == b"picture"


REFUSED = {
    "outside": ("../secret.png", "not under the data's folder"),
    "outside, by a detour": ("sub/../../secret.png", "not under the data's folder"),
    "absolute": ("/etc/passwd", "not under the data's folder"),
    "missing": ("no.png", "no such file"),
    "missing folder": ("no/no.png", "no such file"),
    "below a file": ("a.png/b.png", "cannot be opened"),
    "a folder": ("sub", "this is a folder"),
    "the root": (".", "this is a folder"),
    "empty": ("empty.png", "the file is empty"),
    "no path": ("   ", "the path is empty"),
    "nothing": ({}, "no bytes"),
    "no bytes": (b"", "no bytes"),
    "neither": ({"bytes": b"", "path": None}, "no bytes"),
    "a number": (7, "a int refers to no file"),
    "nul": ("a\0.png", "cannot be opened"),
    "too long": ("x" * 5000, "cannot be opened"),
    "surrogate": ("\ud800.png", "(no such file|cannot be opened)"),
    "http": ("http://example.org/a.png", "http: addresses are not opened"),
    "https": ("HTTPS://example.org/a.png", "addresses are not opened"),
    "file": ("file:///etc/passwd", "file: addresses are not opened"),
    "file, short": ("file:a.png", "file: addresses are not opened"),
    "s3": ("s3://bucket/a.png", "s3: addresses are not opened"),
    "data, plain": ("data:text/plain,hello", "not in base64"),
    "data, no comma": ("data:image/png;base64", "not in base64"),
    "data, junk": ("data:image/png;base64,%%%%", "not valid base64"),
    "data, unpadded": ("data:image/png;base64,cGljdHVyZQ", "not valid base64"),
    "data, hidden junk": ("data:image/png;base64,cGlj\ndHVyZQ==", "not valid base64"),
    "data, not ASCII": ("data:image/png;base64,größe", "not valid base64"),
    "data, empty": ("data:image/png;base64,", "no bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses(root: Path, name: str) -> None:
    reference, message = REFUSED[name]
    with pytest.raises(MediaError, match=message) as caught:
        read_media(reference, root)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert caught.value.mend
    assert "secret" not in str(caught.value) or "secret" in str(reference)


def test_links_that_leave_are_refused(root: Path) -> None:
    (root / "out.png").symlink_to(root.parent / "secret.png")
    (root / "outer").symlink_to(root.parent)
    (root / "loop.png").symlink_to("loop.png")
    for path in ("out.png", "outer/secret.png"):
        with pytest.raises(MediaError, match="not under"):
            read_media(path, root)
    with pytest.raises(MediaError, match="cannot be opened"):
        read_media("loop.png", root)


def test_a_neighbour_with_a_like_name_is_outside(root: Path) -> None:
    beside = root.parent / "data-private"
    beside.mkdir()
    (beside / "a.png").write_bytes(b"private")
    with pytest.raises(MediaError, match="not under"):
        read_media("../data-private/a.png", root)


def test_pipes_sockets_and_devices_are_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.getcwd()
        try:  # a socket's path must be short
            os.chdir(root)
            listener.bind("socket.png")
        finally:
            os.chdir(place)
        told: list[str] = []

        def read() -> None:
            for name in ("pipe.png", "socket.png"):
                with pytest.raises(MediaError) as caught:
                    read_media(name, root)
                told.append(str(caught.value))
            with pytest.raises(MediaError, match="no plain file"):
                read_media("/dev/zero", Path("/"))
            told.append("done")

        worker = threading.Thread(target=read, daemon=True)
        worker.start()
        worker.join(10)
    assert len(told) == 3, "it waits"
    assert "no plain file" in told[0]


def test_a_file_without_permission(root: Path) -> None:
    (root / "a.png").chmod(0)
    if os.access(root / "a.png", os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(MediaError, match="Permission denied"):
        read_media("a.png", root)


def test_without_a_root_only_bytes_are_read(root: Path) -> None:
    assert read_media({"bytes": b"x"}, None) == b"x"
    with pytest.raises(MediaError, match="no folder that paths may point into"):
        read_media("a.png", None)


@pytest.mark.parametrize("size", [9, 10, 11, 12, 13])
def test_limits_hold_for_every_way(root: Path, size: int) -> None:
    data = b"x" * size
    (root / "big.png").write_bytes(data)
    encoded = "data:;base64," + base64.b64encode(data).decode()
    for reference in (data, {"bytes": data}, "big.png", encoded):
        if size <= 10:
            assert read_media(reference, root, limit_bytes=10) == data  # type: ignore[arg-type]
        else:
            with pytest.raises(MediaError, match="more than 10"):
                read_media(reference, root, limit_bytes=10)  # type: ignore[arg-type]


def test_a_great_data_address_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(MediaError, match="more than 1,000"):
        read_media("data:;base64," + "A" * 100_000, None, limit_bytes=1000)


@given(
    st.one_of(
        st.text(max_size=50), st.binary(max_size=20), st.dictionaries(st.sampled_from(["bytes", "path"]), st.none())
    )
)
def test_any_reference_gives_bytes_or_media_error(tmp_path_factory: pytest.TempPathFactory, reference: object) -> None:
    empty = tmp_path_factory.getbasetemp() / "nothing"
    empty.mkdir(exist_ok=True)
    try:
        assert isinstance(read_media(reference, empty), bytes)  # type: ignore[arg-type]
    except MediaError as error:
        assert str(error).isprintable()


def test_content_hash_is_sha256() -> None:
    assert content_hash(b"picture") == hashlib.sha256(b"picture").hexdigest()


@given(st.text(max_size=300))
def test_shown_is_one_short_printable_line(text: str) -> None:
    assert len(shown(text)) <= 110
    assert shown(text).isprintable()


def test_shown_counts_bytes_and_shortens_addresses() -> None:
    assert shown({"bytes": b"12345", "path": None}) == "5 bytes in the cell"
    assert shown({"bytes": b"12345", "path": "a.png"}) == "a.png"
    assert shown("data:image/png;base64," + "A" * 5000) == "data:image/png;base64,… (5,022 characters)"
    assert shown("d/" * 200 + "last.png").endswith("last.png")
