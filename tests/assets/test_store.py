"""Whatever goes wrong in a pull, the cache is sound and one line says what happened."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sensorium.assets import fetch, store
from sensorium.assets.catalogue import CATALOGUE, Asset, Source
from sensorium.errors import AssetError

FILES = {"toy/data/weights.bin": bytes(range(256)) * 40, "toy/data/words.txt": b"one\ntwo\n", "toy/code.py": b"boom"}


def no_download(source: Source, into: Path) -> Path:
    raise AssertionError("nothing should be downloaded")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "toy.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "assets"


@pytest.fixture
def toy(wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Asset:
    """An asset ``toy`` whose conversion copies its data."""

    def convert(unpacked: Path, target: Path) -> None:
        shutil.copytree(unpacked / "toy" / "toy" / "data", target / "data")

    monkeypatch.setitem(sys.modules, "toy_converter", types.SimpleNamespace(convert=convert))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    source = Source("pypi", "toy", "1.0", digest, wheel.stat().st_size, ("toy/data/",), 50_000)
    asset = Asset("toy", "data set", "a toy", "MIT", 10_000, (source,), "toy_converter", notice="toys are for play")
    monkeypatch.setitem(CATALOGUE, "toy", asset)
    return asset


@pytest.fixture
def download(wheel: Path) -> Callable[[Source, Path], Path]:
    """The wheel, as if it came from a registry; checked as such."""

    def copy(source: Source, into: Path) -> Path:
        into.mkdir(parents=True)
        shutil.copyfile(wheel, into / wheel.name)
        fetch.check(source, into / wheel.name)
        return into / wheel.name

    return copy


def state(name: str = "toy") -> str:
    return next(found.state for found in store.states() if found.asset.name == name)


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if not path.name.endswith(".lock") and path.name != "toy"]


# -- when all goes well ------------------------------------------------------------------------------


def test_pull_then_locate(toy: Asset, cache: Path, download) -> None:
    assert state() == "absent"
    said: list[str] = []
    folder = store.pull("toy", said.append, download=download)
    assert folder == cache / "toy" and state() == "ready" and leftovers(cache) == []
    assert (folder / "data/weights.bin").read_bytes() == FILES["toy/data/weights.bin"]
    assert not list(folder.rglob("code.py"))
    assert "toys are for play" in said[0] and any("downloading toy 1.0" in line for line in said)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sources"][0]["sha256"] == toy.sources[0].sha256
    assert set(manifest["files"]) == {"data/weights.bin", "data/words.txt"}
    assert store.verify("toy") == []
    # Cached: no download, no lock, no write, no network.
    assert store.pull("toy", download=no_download) == store.locate("toy") == folder


def test_a_ready_asset_needs_no_writable_cache(toy: Asset, cache: Path, download) -> None:
    store.pull("toy", download=download)
    (cache / ".toy.lock").unlink(missing_ok=True)
    os.chmod(cache, 0o555)
    try:
        assert store.locate("toy") == cache / "toy"
        assert not (cache / ".toy.lock").exists()
    finally:
        os.chmod(cache, 0o755)


def test_names_are_checked(cache: Path) -> None:
    with pytest.raises(AssetError, match="toys: no such asset; there are smollm2-135m-instruct, "):
        store.pull("toys")


def test_bundled_assets_are_there_without_a_pull(cache: Path) -> None:
    assert state("digits") == "bundled" and (store.locate("digits") / "digits.csv.gz").is_file()
    assert store.pull("speech", download=no_download).is_dir() and store.verify("digits") == []


def test_the_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SENSORIUM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    places = {"linux": ".cache", "darwin": "Library/Caches", "win32": "AppData/Local"}
    for platform, place in places.items():
        monkeypatch.setattr(store.sys, "platform", platform)
        assert store.cache_root() == tmp_path / place / "sensorium"
    monkeypatch.setenv("SENSORIUM_CACHE", "~/elsewhere")
    assert store.cache_root() == tmp_path / "elsewhere"


# -- when it does not --------------------------------------------------------------------------------


def broken_wheel(change: Callable[[bytes], bytes]):
    def fetcher(source: Source, into: Path, wheel: Path) -> Path:
        into.mkdir(parents=True)
        (into / "toy.whl").write_bytes(change(wheel.read_bytes()))
        fetch.check(source, into / "toy.whl")
        return into / "toy.whl"

    return fetcher


def failing(error: Exception):
    def fetcher(source: Source, into: Path, wheel: Path) -> Path:
        into.mkdir(parents=True)
        (into / "half").write_bytes(b"half")
        raise error

    return fetcher


BROKEN = {
    "wrong hash": (broken_wheel(lambda b: b[:-1] + b"!"), "PyPI toy==1.0: wrong hash"),
    "half download": (broken_wheel(lambda b: b[: len(b) // 2]), "half a download"),
    "disk full": (failing(OSError(errno.ENOSPC, "No space left on device")), "toy: the disk is full; make room"),
    "no permission": (failing(PermissionError(errno.EACCES, "Permission denied")), r"cannot be written \(Permission"),
    "no network": (failing(AssetError("could not be downloaded", mend="check the network")), "check the network"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("before", ["absent", "ready"])
def test_a_failed_pull_leaves_the_cache_as_it_was(
    toy: Asset, cache: Path, wheel: Path, download, monkeypatch: pytest.MonkeyPatch, kind: str, before: str
) -> None:
    fetcher, message = BROKEN[kind]
    if before == "ready":  # and then damaged, so that the pull has to try
        store.pull("toy", download=download)
        (cache / "toy/data/words.txt").write_bytes(b"")
    with pytest.raises(AssetError, match=message) as caught:
        store.pull("toy", download=lambda source, into: fetcher(source, into, wheel))
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []
    assert state() == ("absent" if before == "absent" else "damaged")
    store.pull("toy", download=download)  # nothing stands in the way of the next try
    assert state() == "ready" and store.verify("toy") == []


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (ValueError("1 row instead of 2"), r"conversion failed \(ValueError: 1 row instead of 2\)"),
        (KeyError("weight"), "conversion failed"),
    ],
)
def test_a_failed_conversion(
    toy: Asset, cache: Path, download, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def convert(unpacked: Path, target: Path) -> None:
        (target / "half").write_bytes(b"half")
        raise error

    monkeypatch.setitem(sys.modules, "toy_converter", types.SimpleNamespace(convert=convert))
    with pytest.raises(AssetError, match=message):
        store.pull("toy", download=download)
    assert state() == "absent" and leftovers(cache) == []


def test_an_interrupt_cleans_up(toy: Asset, cache: Path) -> None:
    def interrupted(source: Source, into: Path) -> Path:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.pull("toy", download=interrupted)
    assert state() == "absent" and leftovers(cache) == []


def test_too_little_room_is_seen_before_the_download(toy: Asset, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=20_000))
    with pytest.raises(AssetError, match=r"too full: 20 kB free, \d+ kB needed"):
        store.pull("toy", download=no_download)
    assert leftovers(cache) == []


def test_an_archive_that_climbs_out(toy: Asset, cache: Path, tmp_path: Path) -> None:
    def hostile(source: Source, into: Path) -> Path:
        into.mkdir(parents=True)
        with zipfile.ZipFile(into / "toy.whl", "w") as archive:
            archive.writestr("toy/data/../../../../../../escaped", b"evil")
        return into / "toy.whl"

    with pytest.raises(AssetError, match="leads out of the folder"):
        store.pull("toy", download=hostile)
    assert not list(tmp_path.rglob("escaped")) and state() == "absent"


@pytest.mark.parametrize("damage", ["missing file", "short file", "no manifest", "not a manifest", "empty manifest"])
def test_a_damaged_folder_is_seen_and_made_anew(toy: Asset, cache: Path, download, damage: str) -> None:
    folder = store.pull("toy", download=download)
    match damage:
        case "missing file":
            (folder / "data/words.txt").unlink()
        case "short file":
            (folder / "data/weights.bin").write_bytes(b"short")
        case "no manifest":
            (folder / "manifest.json").unlink()
        case "not a manifest":
            (folder / "manifest.json").write_text('{"files": [1, 2]}')
        case "empty manifest":
            (folder / "manifest.json").write_text("")
    assert state() == "damaged" and store.verify("toy") != []
    said: list[str] = []
    store.pull("toy", said.append, download=download)
    assert any("damaged and is made anew" in line for line in said)
    assert state() == "ready" and store.verify("toy") == [] and leftovers(cache) == []


def test_verify_reads_what_sizes_cannot_tell(toy: Asset, cache: Path, download) -> None:
    with pytest.raises(AssetError, match="not cached; sensorium assets pull toy"):
        store.verify("toy")
    folder = store.pull("toy", download=download)
    (folder / "data/words.txt").write_bytes(b"one\nTWO\n")
    (folder / "data/extra").write_bytes(b"?")
    assert state() == "ready" and store.verify("toy") == ["data/extra", "data/words.txt"]


def test_another_pin_or_conversion_makes_it_outdated(toy: Asset, cache: Path, download, monkeypatch) -> None:
    import dataclasses

    store.pull("toy", download=download)
    monkeypatch.setitem(CATALOGUE, "toy", dataclasses.replace(toy, revision=2))
    assert state() == "outdated"
    store.pull("toy", download=download)
    assert state() == "ready"


# -- several at once ---------------------------------------------------------------------------------

SCRIPT = """
    import shutil, sys, time, types
    from pathlib import Path
    from sensorium.assets import fetch, store
    from sensorium.assets.catalogue import CATALOGUE, Asset, Source
    wheel, digest, log, pause = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
    def convert(unpacked, target):
        shutil.copytree(unpacked / "toy" / "toy" / "data", target / "data")
    sys.modules["toy_converter"] = types.SimpleNamespace(convert=convert)
    source = Source("pypi", "toy", "1.0", digest, wheel.stat().st_size, ("toy/data/",), 50_000)
    CATALOGUE["toy"] = Asset("toy", "data set", "a toy", "MIT", 10_000, (source,), "toy_converter",
                             notice="toys are for play")
    def download(source, into):
        into.mkdir(parents=True)
        (into / "half").write_bytes(b"half")
        with open(log, "a") as file:
            file.write("download\\n")
        time.sleep(pause)
        (into / "half").unlink()
        shutil.copyfile(wheel, into / wheel.name)
        fetch.check(source, into / wheel.name)
        return into / wheel.name
    print(store.pull("toy", print, download=download))
"""


def start(wheel: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(wheel), digest, str(log), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_two_processes_pull_once(toy: Asset, cache: Path, wheel: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = [start(wheel, log, 1.5) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert log.read_text() == "download\n"
    assert all(words.strip().endswith(str(cache / "toy")) for words in said)
    assert sum("another process is pulling it; waiting" in words for words in said) == 1
    assert store.verify("toy") == [] and leftovers(cache) == []


def test_waiting_has_an_end(toy: Asset, cache: Path, download) -> None:
    inside, go = threading.Event(), threading.Event()

    def slow(source: Source, into: Path) -> Path:
        inside.set()
        go.wait(60)
        return download(source, into)

    thread = threading.Thread(target=store.pull, args=("toy",), kwargs={"download": slow})
    thread.start()
    try:
        inside.wait(60)
        with pytest.raises(AssetError, match="another process has been pulling it"):
            store.pull("toy", download=no_download, wait=0.2)
    finally:
        go.set()
        thread.join()
    assert state() == "ready"


def test_a_killed_pull_leaves_nothing_behind_for_long(
    toy: Asset, cache: Path, wheel: Path, download, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = start(wheel, log, 60)
    wait_for(log.exists)
    process.kill()
    process.communicate()
    assert state() == "absent" and len(leftovers(cache)) == 1
    store.pull("toy", download=download)  # the lock died with its holder
    assert state() == "ready" and leftovers(cache) == []
