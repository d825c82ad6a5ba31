"""A judge of drawn people that never saw the tokenizer or the GPT: tone, gender and profession of a picture.

A small convolutional network, trained on real training pictures alone. How often it is right on real held-out pictures is
the most that any drawing can be credited with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sensorium.data.bundled.drawing_pairs import TONES
from sensorium.modalities import generator
from sensorium.models.drawing.pixels import square, to_tensor

SIZE, TOP = 64, 5
KINDS = ("concept", "skin_tone", "gender")


@dataclass
class Judge:
    """``labels``: kind -> its classes, in the order of the network's scores."""

    network: nn.Module
    labels: dict[str, list[str]]

    @torch.inference_mode()
    def scores(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """(n, 64, 64, 3) uint8 -> kind -> (n, classes)."""
        whole = torch.cat([self.network(part) for part in to_tensor(torch.from_numpy(pictures)).split(64)])
        sizes = [len(self.labels[kind]) for kind in KINDS]
        return {kind: part.numpy() for kind, part in zip(KINDS, whole.split(sizes, 1), strict=True)}

    def right(self, pictures: np.ndarray, rows: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
        """Which pictures show the tone, gender and concept (among the first five) of their rows, (n,) bool each."""
        found = {}
        for kind, scores in self.scores(pictures).items():
            asked = np.array([self.labels[kind].index(row[kind]) for row in rows])
            first = np.argsort(-scores, 1)[:, : TOP if kind == "concept" else 1]
            found[kind] = (first == asked[:, None]).any(1)
        return found | {"tone and concept": found["skin_tone"] & found["concept"]}


def people(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pictures of one person in one tone."""
    return [row for row in rows if row["skin_tone"] in TONES and "+" not in row["gender"]]


def pixels_of(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """(n, 64, 64, 3) uint8."""
    return np.stack([square(row["picture"], SIZE) for row in rows])


def train_judge(rows: Sequence[dict[str, Any]], epochs: int = 36, width: int = 36, seed: int = 0) -> Judge:
    """Of real pictures: mirrored and moved by up to four pixels, in their own colours."""
    labels = {kind: sorted({row[kind] for row in rows}) for kind in KINDS}
    wanted = torch.tensor([[labels[kind].index(row[kind]) for kind in KINDS] for row in rows])
    pictures, sizes = pixels_of(rows), [len(labels[kind]) for kind in KINDS]
    torch.manual_seed(seed)
    network = _network(width, sum(sizes))
    steps = epochs * -(-len(rows) // 32)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for epoch in range(epochs):
        draws = generator(seed, epoch, 0)
        for part in np.array_split(draws.permutation(len(rows)), -(-len(rows) // 32)):
            batch = np.stack([_varied(pictures[i], draws) for i in part])
            scores = network(to_tensor(torch.from_numpy(batch))).split(sizes, 1)
            losses = [functional.cross_entropy(s, wanted[part, k], label_smoothing=0.05) for k, s in enumerate(scores)]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            schedule.step()
    return Judge(network.eval(), labels)


def _network(width: int, outputs: int) -> nn.Module:
    parts: list[nn.Module] = []
    before = 3
    for wide in (width, 2 * width, 4 * width, 4 * width):
        parts += [nn.Conv2d(before, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
        before = wide
    return nn.Sequential(*parts, nn.Flatten(), nn.Dropout(0.3), nn.Linear(before * (SIZE // 16) ** 2, outputs))


def _varied(picture: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    picture = picture[:, ::-1] if draws.random() < 0.5 else picture
    down, across = draws.integers(0, 9, 2)
    return np.pad(picture, ((4, 4), (4, 4), (0, 0)), mode="edge")[down : down + SIZE, across : across + SIZE]


def mean_interval(right: np.ndarray, clusters: Sequence[str], resamples: int = 1000) -> dict[str, float]:
    """Share with its 95 % percentile interval, concepts drawn together."""
    from sensorium.evaluation.intervals import bootstrap

    return bootstrap(right.astype(float), n_resamples=resamples, clusters=list(clusters)).to_dict()
