"""Tiny parts, tiny tables and two trained runs, made once for all end-to-end tests."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sensorium.assets import store
from tests.end_to_end.commands import Said, call, sets, tiny
from tests.small_data import mixed_table, questions_table
from tests.tiny_parts import make

CLASSIFY = {"training__epochs": 2, "training__learning_rate": 0.01, "tracking": "[tensorboard]"}
GENERATE = {
    "training__max_steps": 6,
    "training__checkpoint_every": 3,
    "model__adapt__rank": 4,
    "model__fusion__from_layer": 2,
    "model__adapt__layers": 2,
}


@dataclass
class Trained:
    """A run, the table it learned from, what ``fit`` printed, and the words it was called with."""

    folder: Path
    data: Path
    said: Said
    words: list[str]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for tiny jobs: the real one keeps the real parts."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real cache's parts and tables, but a place of its own for the features that tests compute."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("assets", "tables", "machine"):
        (store.cache_root() / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(store.cache_root() / name)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = request.node.get_closest_marker("real") is not None
    monkeypatch.setenv("SENSORIUM_CACHE", str(request.getfixturevalue("real_cache" if real else "cache")))


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random-weight models by name."""
    return make(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session", autouse=True)
def _quick_collections(parts: dict[str, Path]) -> Iterator[None]:
    """Each fit collects garbage several times; what the libraries hold for ever need not be looked at each time."""
    import sensorium.jobs.fit

    assert sensorium.jobs.fit
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of picture, sound, words, number, category and a class ``y``."""
    return mixed_table(tmp_path_factory.mktemp("mixed"), rows=60)


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions about pictures with answers, two a picture."""
    return questions_table(tmp_path_factory.mktemp("questions"), rows=24)


def fit(cache: Path, data: Path, target: str, folder: Path, settings: dict[str, object]) -> Trained:
    """``sensorium fit`` with the tiny parts, the cache being the tests' own."""
    words = ["fit", "--data", str(data), "--target", target, "--output", str(folder), *sets(settings)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(cache))
        said = call(*words)
    assert said.code == 0, said.err[-3000:]
    return Trained(folder, data, said, words)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, cache: Path, parts: dict[str, Path], mixed: Path) -> Trained:
    """A tiny run that classifies the mixed table. Tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    return fit(cache, mixed, "y", folder, tiny(parts, **CLASSIFY))


@pytest.fixture(scope="session")
def answerer(tmp_path_factory: pytest.TempPathFactory, cache: Path, parts: dict[str, Path], questions: Path) -> Trained:
    """A tiny LoRA run that answers questions about pictures; the parts it was made from are gone. Tests only read it."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(parts["llama"].parent, folder / "parts")
    gone = {name: folder / "parts" / name for name in parts}
    trained = fit(cache, questions, "answer", folder / "answerer", tiny(gone, **GENERATE))
    shutil.rmtree(folder / "parts")
    return trained
