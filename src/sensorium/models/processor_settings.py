"""The plain values that a processor is built from, kept beside the model as ``processor_config.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sensorium.errors import RunError
from sensorium.run import write_json

TABLE = "table"  # numbers, categories, times and places of a row are one input of this name
TABLE_TYPES = ("number", "category", "time", "place")


@dataclass
class ProcessorSettings:
    """Plain values that a processor is built from, kept as ``processor_config.json``."""

    task: str
    inputs: dict[str, str]  # column: type
    target_kind: str
    classes: list[str] | None = None
    target_mean: float = 0.0
    target_scale: float = 1.0
    fusion: dict[str, Any] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)  # model's input: kind of encoder
    image_size: int = 128
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    audio_values: str = "log_mel"  # or samples
    max_text_tokens: int = 512
    max_seconds: float = 30.0
    table: dict[str, Any] | None = None
    choices: dict[str, list[str]] = field(default_factory=dict)  # question: answers to choose among
    system: str | None = None
    speech: str = "features"  # or recognition, both: what a sound becomes
    context: int | None = None  # most tokens that the GPT reads

    def write(self, folder: Path) -> None:
        """Write ``processor_config.json``."""
        write_json(folder / "processor_config.json", {"processor_class": "Processor", **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> ProcessorSettings:
        """What ``write`` wrote. Raises RunError where the file is missing or does not fit."""
        try:
            raw = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
            raw.pop("processor_class", None)
            return cls(**raw)
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"processor_config.json cannot be read ({error})", where=str(folder), mend="rerun sensorium fit"
            ) from None
