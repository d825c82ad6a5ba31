"""Pretrained parts and bundled data: where they come from, pinned, verified, converted once and cached.

``locate(name)`` answers the folder of an asset, and pulls it first where it is absent. Everything else here lists,
pulls and verifies. Names load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.assets.catalogue import CATALOGUE as CATALOGUE
    from sensorium.assets.catalogue import Asset as Asset
    from sensorium.assets.catalogue import Source as Source
    from sensorium.assets.store import AssetState as AssetState
    from sensorium.assets.store import cache_root as cache_root
    from sensorium.assets.store import locate as locate
    from sensorium.assets.store import pull as pull
    from sensorium.assets.store import states as states
    from sensorium.assets.store import verify as verify

_HOMES = {
    "Asset": "catalogue",
    "AssetState": "store",
    "CATALOGUE": "catalogue",
    "Source": "catalogue",
    "cache_root": "store",
    "locate": "store",
    "pull": "store",
    "states": "store",
    "verify": "store",
}
__all__ = ["CATALOGUE", "Asset", "AssetState", "Source", "cache_root", "locate", "pull", "states", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
