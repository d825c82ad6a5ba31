"""What comes of a drawing GPT's own drawings of held-out words: found again, varied, and copied from training or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from sensorium.jobs.drawing.lessons import Lesson
from sensorium.jobs.drawing.pictures import Pictures
from sensorium.jobs.drawing.tokenizer_measures import SUMMARY, summaries
from sensorium.metrics.drawing import COPIED, COPY, DRAWN, RANK, VARIED
from sensorium.metrics.pictures import frechet_distance
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.guidance import DrawingSettings
from sensorium.models.drawing.perceptual import Perceptual
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.models.drawing.sampling import TOGETHER, draw_candidates

MOST = 256  # rows that are drawn, at equal distances: drawing takes longer than reading


@dataclass
class Gallery:
    """Held-out rows that are drawn, and the training pictures that they are compared with.

    Attributes:
        size: lessons of the part; places: those among them that are drawn, (n,).
        real: (n, features) of their real pictures; None without an image encoder.
        known: (m, places) codes of training pictures; names: m prompts of theirs.
    """

    size: int
    places: np.ndarray
    lessons: list[Lesson]
    right: Pictures
    known: np.ndarray
    known_rows: np.ndarray
    names: list[str]
    perceptual: Perceptual | None
    real: np.ndarray | None

    @classmethod
    def of(
        cls,
        train: Sequence[Lesson],
        test: Sequence[Lesson],
        names: Sequence[str],
        right: Pictures,
        perceptual: Perceptual | None,
        draws: bool,
    ) -> Gallery:
        """``names``: the prompts of ``train``, in its order. ``draws``: whether it was taught at all."""
        asked = np.array([i for i, one in enumerate(test) if draws and one.source is None], dtype=int)
        places = asked[np.unique(np.linspace(0, len(asked) - 1, min(MOST, len(asked))).round().astype(int))]
        mine = [test[i] for i in places]
        shown = [(one, name) for one, name in zip(train, names, strict=True) if one.source is None]
        known = np.stack([one.codes for one, _ in shown]) if shown else np.zeros((0, 1), dtype=int)
        rows = np.array([one.row for one in mine], dtype=int)
        real = None if perceptual is None or not len(rows) else summaries(right, rows, perceptual, TOGETHER)
        known_rows = np.array([one.row for one, _ in shown], dtype=int)
        return cls(len(test), places, mine, right, known, known_rows, [name for _, name in shown], perceptual, real)

    def whole(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Columns of the drawn rows as columns of all lessons, 0 elsewhere."""
        found = {DRAWN: np.isin(np.arange(self.size), self.places).astype(np.int64)}
        for name, values in columns.items():
            found[name] = np.zeros((self.size, *values.shape[1:]), dtype=values.dtype)
            found[name][self.places] = values
        return found


@torch.inference_mode()
def drawn(
    model: DrawingGPT, tokenizer: PictureTokenizer, gallery: Gallery, settings: DrawingSettings, advance: Any
) -> dict[str, np.ndarray]:
    """Columns over all lessons: which were drawn; the place of the right picture among the held-out ones, by likeness to
    the drawing; how far two drawings of the words are apart; the share of codes that a training picture has too."""
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(gallery.lessons), TOGETHER):
        words = [one.words for one in gallery.lessons[start : start + TOGETHER]]
        first, second = (draw_candidates(model, words, settings, [seed] * len(words)).codes for seed in (0, 1))
        told = {COPIED: shared(first.numpy(), gallery.known)}
        if gallery.perceptual is not None:
            one, other = (tokenizer.decode(codes) for codes in (first, second))
            told |= {VARIED: gallery.perceptual(one, other).numpy(), SUMMARY: gallery.perceptual.summary(one).numpy()}
        for name, values in told.items():
            found.setdefault(name, []).append(values)
        advance(len(words))
    columns = {name: np.concatenate(parts) for name, parts in found.items()}
    if SUMMARY in columns and gallery.real is not None:
        columns[RANK] = ranks(columns[SUMMARY], gallery.real)
    return gallery.whole(columns)


def nearest_named(gallery: Gallery, prompts: Sequence[str]) -> dict[str, np.ndarray]:
    """As ``drawn``, of the training picture whose words share most letters with a row's ``prompts``, one a lesson."""
    if gallery.real is None or gallery.perceptual is None or not gallery.names:
        return gallery.whole({})
    spelling = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit(gallery.names)
    asked = spelling.transform([prompts[i] for i in gallery.places])
    rows = gallery.known_rows[np.asarray((asked @ spelling.transform(gallery.names).T).toarray().argmax(1))]
    shown = summaries(gallery.right, rows, gallery.perceptual, TOGETHER)
    return gallery.whole({SUMMARY: shown, RANK: ranks(shown, gallery.real)})


def notes(gallery: Gallery, systems: dict[str, dict[str, np.ndarray]], encoder: str) -> list[str]:
    """What is no mean over rows: distances between all drawings and all real pictures, and chance."""
    count, places = len(gallery.places), gallery.places
    if not count:
        return []
    real = shared(np.stack([one.codes for one in gallery.lessons]), gallery.known) >= COPY
    said = [
        f"{count:,} held-out prompts were drawn, seeds 0 and 1. A copy shares {100 * COPY:.0f} % of its codes with a "
        f"training picture; of the real held-out pictures {100 * real.mean():.1f} % do."
    ]
    told = {name: columns[SUMMARY][places] for name, columns in systems.items() if SUMMARY in columns}
    if gallery.real is not None and count > 1:
        apart = ", ".join(
            f"{name.replace('_', ' ')} {frechet_distance(gallery.real, f):,.0f}" for name, f in told.items()
        )
        said.append(
            f"Retrieval: the right picture is among the first of all {count:,} by the cosine of {encoder}'s features "
            f"(chance {100 / count:.1f} and {100 * min(5, count) / count:.1f} %). Fréchet distance to the real pictures on "
            f"{gallery.real.shape[1]} of these: {apart}."
        )
    return said


def ranks(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """The place (n,), from 1 on, of row i of ``real`` (n, width) among all its rows by the cosine to row i of ``made``,
    both standardised by the real ones."""
    middle, spread = real.mean(0), real.std(0) + 1e-6
    one, other = ((values - middle) / spread for values in (made, real))
    one, other = (values / (np.linalg.norm(values, axis=1, keepdims=True) + 1e-9) for values in (one, other))
    near = one @ other.T
    above: np.ndarray = (near > np.diag(near)[:, None] + 1e-6).sum(1)  # what looks the same stands at the same place
    return 1 + above


def shared(codes: np.ndarray | Tensor, known: np.ndarray) -> np.ndarray:
    """The largest share (n,) of codes (n, places) that one row of ``known`` (m, places) has at the same places."""
    if not len(known):
        return np.zeros(len(codes))
    return np.array([(known == one).mean(1).max() for one in np.asarray(codes)])
