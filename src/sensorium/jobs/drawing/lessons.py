"""What a drawing GPT is taught by each row of a table: words, codes of its pictures, and a form that chance picks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium import assets
from sensorium.data.schema import require
from sensorium.data.sources import open_source
from sensorium.data.tables import Source
from sensorium.errors import DataError
from sensorium.jobs.cell_features import cell_features
from sensorium.jobs.drawing.pictures import Pictures
from sensorium.jobs.prepare import Prepared, prepare_unlabelled, unlabelled
from sensorium.jobs.pretraining.table import Cells
from sensorium.modalities import generator
from sensorium.modalities.image import moved
from sensorium.models.drawing import sequences
from sensorium.models.drawing.picture_tokenizer import PictureTokenizer
from sensorium.models.drawing.pixels import to_tensor
from sensorium.models.drawing.sequences import DrawingSequence
from sensorium.models.drawing.vocabulary import Vocabulary
from sensorium.recipe import DrawingRecipe, FusionRecipe, Recipe

TOGETHER = 64  # pictures that are encoded at once
Placing = tuple[int, int]  # pixels down and across


@dataclass
class Lesson:
    """One row. ``words``: of the prompt; ``placed``, ``placed_source``: (placings, places), the codes of the picture as
    it is and moved; source None where nothing is edited."""

    row: int
    words: list[int]
    placed: np.ndarray
    placed_source: np.ndarray | None = None
    features: Tensor | None = None
    placing: int = 0

    @property
    def codes(self) -> np.ndarray:
        """(places,) of the picture."""
        return np.asarray(self.placed[self.placing])

    @property
    def source(self) -> np.ndarray | None:
        """(places,) of the picture that is edited, moved as the other is."""
        return None if self.placed_source is None else np.asarray(self.placed_source[self.placing])


def open_drawing_table(recipe: Recipe, progress: Any) -> Prepared:
    """The recipe's table, checked and parted; rows without words or a picture are left out of every part.

    Raises:
        DataError: a column is not there, or no row is left to train on.
    """
    source, asked = drawing_source(recipe), _asked(recipe)
    inputs: dict[str, Any] = {asked.prompt: "text", asked.picture: "image"}
    if asked.source is not None:
        inputs[asked.source] = "image"
    prepared = prepare_unlabelled(recipe, source, unlabelled(source, recipe, inputs), progress)
    column = prepared.source.table.column
    said = [bool(text and str(text).strip()) for text in column(asked.prompt).to_pylist()]
    there = np.array(said) & ~np.array(column(asked.picture).is_null())
    for part in ("train", "validation", "test"):
        rows = getattr(prepared.splits, part)
        setattr(prepared.splits, part, rows[there[rows]])
    if not len(prepared.splits.train):
        raise DataError("no row has both words and a picture", where=source.name, mend="name the columns in drawing")
    return prepared


def drawing_source(recipe: Recipe) -> Source:
    """The table, its columns there. DataError names one that is not."""
    source = open_source(recipe.data, assets.cache_root() / "tables")
    asked = _asked(recipe)
    for key, column in (("prompt", asked.prompt), ("picture", asked.picture), ("source", asked.source)):
        if column is not None:
            require(column, source.table.column_names, f"drawing.{key}")
    return source


def lessons_of(
    prepared: Prepared,
    asked: DrawingRecipe,
    rows: np.ndarray,
    codes: dict[str, np.ndarray],
    encode: Any,
    room: int,
    features: dict[int, Tensor],
) -> list[Lesson]:
    """A lesson for each of ``rows``, in order.

    Args:
        codes: content -> (placings, places), see ``picture_codes``. encode: text -> word ids. room: words at the most.
        features: row -> (positions, width) that captions read; empty where they read none.
    """
    prompts = prepared.source.table.column(asked.prompt).take(rows).to_pylist()
    edited = None if asked.source is None else np.array(prepared.source.table.column(asked.source).is_null())
    found = []
    for row, prompt in zip(rows.tolist(), prompts, strict=True):
        source = None
        if asked.source is not None and edited is not None and not edited[row]:
            source = codes[prepared.content(asked.source, row)]
        words = encode(" ".join(str(prompt).split()))[:room]
        found.append(Lesson(row, words, codes[prepared.content(asked.picture, row)], source, features.get(row)))
    return found


def picture_codes(
    prepared: Prepared,
    columns: Sequence[str],
    rows: np.ndarray,
    tokenizer: PictureTokenizer,
    placings: Sequence[Placing],
    progress: Any,
) -> dict[str, np.ndarray]:
    """Content of a picture's cell -> its codes in each placing (placings, places), each picture encoded once."""
    places: dict[str, tuple[str, int]] = {}
    for column in columns:
        there = ~np.array(prepared.source.table.column(column).is_null())
        for row in rows[there[rows]].tolist():
            places.setdefault(prepared.content(column, row), (column, row))
    readers = {column: Pictures(prepared, column, tokenizer.size) for column in columns}
    items = list(places.items())
    found: dict[str, np.ndarray] = {}
    with progress.task("pictures to codes", len(items), unit="pictures") as advance:
        at_once = max(1, TOGETHER // len(placings))
        for start in range(0, len(items), at_once):
            some = items[start : start + at_once]
            read = [readers[column][row] for _, (column, row) in some]
            batch = np.stack([moved(picture, *placing) for picture in read for placing in placings])
            given = tokenizer.encode(to_tensor(torch.from_numpy(batch))).numpy()
            each = given.reshape(len(some), len(placings), -1)
            found |= {content: codes for (content, _), codes in zip(some, each, strict=True)}
            advance(len(some))
    return found


def placings_of(count: int, seed: int) -> list[Placing]:
    """``count`` of the 25 ways to move a picture by two pixels at the most, the first of them not at all."""
    steps = range(-2, 3)
    others = [(down, across) for down in steps for across in steps if (down, across) != (0, 0)]
    order = np.random.default_rng([seed, 5]).permutation(len(others))
    return [(0, 0), *(others[i] for i in order[: count - 1])]


def read_features(recipe: Recipe, prepared: Prepared, progress: Any) -> dict[int, Tensor]:
    """Row -> (positions, width) of its picture by the recipe's image encoder, computed once."""
    asked = _asked(recipe)
    fusion = FusionRecipe(kind="tokens", tokens=recipe.model.fusion.tokens)
    cells, root = Cells(prepared, asked.picture), prepared.source.root
    with torch.inference_mode():
        return cell_features(asked.picture, "image", str(recipe.model.image), cells, recipe, root, progress, fusion)


@dataclass
class TrainingLessons:
    """``units[(epoch, unit)]``: the row and its sequence; form, placing, words left out and codes hidden follow from
    (seed, epoch, row)."""

    lessons: list[Lesson]
    vocabulary: Vocabulary
    asked: DrawingRecipe
    seed: int

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, DrawingSequence]:
        epoch, unit = key
        lesson = self.lessons[unit]
        draws = generator(self.seed, epoch, lesson.row)
        weights = allowed(lesson, self.asked.forms)
        chances = np.array(list(weights.values()))
        form = list(weights)[int(draws.choice(len(weights), p=chances / chances.sum()))]
        if len(lesson.placed) > 1:
            lesson = replace(lesson, placing=int(draws.integers(len(lesson.placed))))
        return lesson.row, sequence(lesson, form, self.vocabulary, self.asked, draws)

    def lengths(self) -> np.ndarray:
        """Positions that each lesson takes at most, (lessons,)."""
        places = self.vocabulary.places
        return np.array([len(one.words) + (1 + (one.source is not None)) * (places + 1) + 2 for one in self.lessons])


def allowed(lesson: Lesson, forms: dict[Any, float]) -> dict[str, float]:
    """Form -> weight of those that a row has the pictures for."""
    mine = ("edit", "masked") if lesson.source is not None else ("draw", "caption", "masked")
    return {form: forms[form] for form in mine if forms.get(form, 0) > 0}


def sequence(
    lesson: Lesson, form: str, vocabulary: Vocabulary, asked: DrawingRecipe, draws: np.random.Generator | None = None
) -> DrawingSequence:
    """A lesson in one form. ``draws``: leaves words out and hides codes; None: all words, and every code hidden."""
    words: Any = lesson.words
    if form == "caption":
        seen = None if asked.read == "features" else lesson.codes
        return sequences.caption(vocabulary, words, seen, lesson.features if asked.read != "codes" else None)
    if draws is not None:
        words = sequences.dropped(words, asked.drop_words, draws)
    if form == "draw":
        return sequences.draw(vocabulary, words, lesson.codes)
    if form == "edit":
        assert lesson.source is not None
        return sequences.edit(vocabulary, lesson.source, words, lesson.codes)
    places = vocabulary.places
    hidden = np.ones(places, dtype=bool) if draws is None else sequences.hidden_places(places, draws)
    return sequences.masked(vocabulary, words, lesson.codes, hidden, lesson.source)


def learnable(lessons: list[Lesson], forms: dict[Any, float]) -> list[Lesson]:
    """Those that some form of the recipe teaches."""
    return [lesson for lesson in lessons if allowed(lesson, forms)]


def _asked(recipe: Recipe) -> DrawingRecipe:
    assert recipe.drawing is not None
    return recipe.drawing
