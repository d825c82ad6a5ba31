"""The tables that interactions are read from, opened: what bundled sets give and what reading takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sensorium.data.tables import Source
from sensorium.run import sha256_text


@dataclass
class InteractionSources:
    """The opened tables, not yet checked, and what a bundled data set says of itself in ``notes``."""

    interactions: Source
    items: Source | None = None
    users: Source | None = None
    triples: Source | None = None
    links: Source | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Hex SHA-256 over those of all tables."""
        names = ("interactions", "items", "users", "triples", "links")
        found = [(name, getattr(self, name)) for name in names]
        return sha256_text("\n".join(f"{name} {one.fingerprint}" for name, one in found if one is not None))
