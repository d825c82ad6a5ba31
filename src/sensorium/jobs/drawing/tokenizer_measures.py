"""What a tokenizer of pictures is measured by, and against what: on held-out pictures, a batch at a time."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.neighbors import NearestNeighbors

from sensorium.jobs.drawing.pictures import Pictures
from sensorium.jobs.prepare import fixed_choice
from sensorium.metrics import pictures as metrics
from sensorium.models.drawing.perceptual import Perceptual
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.models.drawing.pixels import to_squares, to_tensor

Rebuild = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]  # pictures -> pictures, codes (n, places)
CODES, SUMMARY = "codes", "summary"  # columns of ``measured`` beside the metrics
COMPARED_WITH = 20_000  # training pictures at the most, the same ones each time
THUMB = 16  # pixels a side at which the nearest training picture is looked for


def measured(
    rebuild: Rebuild, pictures: Pictures, rows: np.ndarray, perceptual: Perceptual | None, size: int, advance: Any
) -> dict[str, np.ndarray]:
    """Metric -> (n,) over the pictures of ``rows``; ``codes`` (n, places) where there are some; ``summary`` (n, features).

    Args:
        size: pictures at a time. advance: told of each batch.
    """
    found: dict[str, list[np.ndarray]] = {}
    for batch in pictures.batches(rows, size):
        made, codes = rebuild(batch)
        told = {"psnr": metrics.psnr(batch, made), "absolute_error": metrics.absolute_error(batch, made)}
        if pictures.size > 10:  # SSIM's window
            told["ssim"] = metrics.ssim(batch, made)
        if perceptual is not None:
            real, rebuilt = (to_tensor(torch.from_numpy(one)) for one in (batch, made))
            with torch.inference_mode():
                told["perceptual_distance"] = perceptual(rebuilt, real).numpy()
            told[SUMMARY] = perceptual.summary(rebuilt).numpy()
        if codes is not None:
            told[CODES] = codes
        for name, values in told.items():
            found.setdefault(name, []).append(values)
        advance(len(batch))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def summaries(pictures: Pictures, rows: np.ndarray, perceptual: Perceptual, size: int) -> np.ndarray:
    """(n, features) of the pictures themselves."""
    batches = pictures.batches(rows, size)
    return np.concatenate([perceptual.summary(to_tensor(torch.from_numpy(batch))).numpy() for batch in batches])


# -- what rebuilds ---------------------------------------------------------------------------------


def by_tokenizer(tokenizer: PictureTokenizer) -> Rebuild:
    """Through codes and back."""

    def rebuild(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes = tokenizer.encode(to_tensor(torch.from_numpy(batch)))
        return to_squares(tokenizer.decode(codes)), codes.numpy()

    return rebuild


@dataclass
class SimpleRebuilders:
    """The mean training picture, and the nearest one by its pixels at 16 × 16, as what any picture is rebuilt by."""

    pictures: Pictures
    rows: np.ndarray
    mean: np.ndarray
    search: NearestNeighbors

    @classmethod
    def of(cls, pictures: Pictures, train: np.ndarray, size: int) -> SimpleRebuilders:
        """Of ``COMPARED_WITH`` training rows at the most."""
        rows = fixed_choice(train, COMPARED_WITH)
        total, small = np.zeros((pictures.size, pictures.size, 3)), []
        for batch in pictures.batches(rows, size):
            total += batch.sum(0, dtype=np.float64)
            small.append(thumbs(batch))
        search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(np.concatenate(small))
        return cls(pictures, rows, np.round(total / len(rows)).astype(np.uint8), search)

    def methods(self) -> dict[str, Rebuild]:
        """By name."""

        def nearest(batch: np.ndarray) -> tuple[np.ndarray, None]:
            places = self.search.kneighbors(thumbs(batch), return_distance=False)[:, 0]
            return np.stack([self.pictures[int(self.rows[place])] for place in places]), None

        return {
            "mean_picture": lambda batch: (np.broadcast_to(self.mean, batch.shape).copy(), None),
            "nearest_training_picture": nearest,
        }


def thumbs(batch: np.ndarray) -> np.ndarray:
    """(n, size, size, 3) uint8 -> (n, features) float32: means over areas, 16 a side."""
    small = torch.nn.functional.adaptive_avg_pool2d(to_tensor(torch.from_numpy(batch)), min(THUMB, batch.shape[1]))
    return small.flatten(1).numpy()


# -- on disk ---------------------------------------------------------------------------------------


def written(columns: dict[str, np.ndarray]) -> bytes:
    """Columns (n,) or (n, width) as a Parquet file."""
    sink = io.BytesIO()
    cells = {name: pa.array(values if values.ndim == 1 else list(values)) for name, values in columns.items()}
    pq.write_table(pa.table(cells), sink)
    return sink.getvalue()


def read(path: Any) -> dict[str, np.ndarray]:
    """What ``written`` gave."""
    table = pq.read_table(path)
    found = {}
    for name in table.column_names:
        column = table.column(name)
        listed = pa.types.is_list(column.type)
        found[name] = np.array(column.to_pylist()) if listed else column.to_numpy()
    return found
