"""The pictures of a table's column, as squares of pixels, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.jobs.prepare import Prepared
from sensorium.modalities import generator
from sensorium.modalities.image import rearrange
from sensorium.models.drawing.pixels import square, to_tensor


@dataclass
class Pictures:
    """Row -> picture.

    Attributes:
        column: of the table; size: pixels a side that pictures are brought to, whole and on white.
    """

    prepared: Prepared
    column: str
    size: int

    def data(self, row: int) -> bytes:
        """The file's bytes. MediaError where it cannot be read."""
        return self.prepared.read_media(self.prepared.rows[int(row)].inputs[self.column])

    def __getitem__(self, row: int) -> np.ndarray:
        """(size, size, 3) uint8."""
        return square(self.data(row), self.size)

    def batches(self, rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """The pictures of ``rows``, ``size`` at a time: (n, size, size, 3) uint8."""
        for start in range(0, len(rows), size):
            yield np.stack([self[int(row)] for row in rows[start : start + size]])


@dataclass
class TrainingPictures:
    """``units[(epoch, unit)]``: a row's number and its picture, varied by (seed, epoch, row) where ``vary`` says so."""

    pictures: Pictures
    rows: np.ndarray
    seed: int
    vary: bool

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, Tensor]:
        epoch, unit = key
        row = int(self.rows[unit])
        picture = self.pictures[row]
        if self.vary:
            picture = rearrange(picture, generator(self.seed, epoch, row), most=self.pictures.size // 16)
        return row, to_tensor(torch.from_numpy(picture))


def grouped(prepared: Prepared, rows: np.ndarray) -> tuple[np.ndarray | None, dict[str, list[Any]]]:
    """What ``rows`` are drawn together by in intervals (n,), None: each alone; and column -> cells to give figures by."""
    column, group = prepared.source.table.column, prepared.source.defaults.get("group_by")
    clusters = None if group is None else np.array(column(group).take(rows).to_pylist(), dtype=object)
    return clusters, {name: column(name).take(rows).to_pylist() for name in prepared.schema.by}
