"""``recommend``: what a user, or a visitor with a history, may like next, and why."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sensorium.data.interactions import Histories
from sensorium.errors import DataError, RunError
from sensorium.jobs.catalogue import ITEMS, USERS
from sensorium.models.recommender import Recommender
from sensorium.recipe import RecommenderRecipe
from sensorium.run import Run, written_beside
from sensorium.tasks.ranking import rerank, top_k
from sensorium.tasks.ranking_reasons import because
from sensorium.tasks.ranking_rules import check_rules, penalties

CANDIDATES = 100  # items among which a list is made more diverse
USERS_TOGETHER = 1024


@dataclass(frozen=True)
class Recommended:
    """One item; ``reasons`` are (what, fall of the score without it), the strongest first."""

    item: str
    title: str
    score: float
    reasons: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Recommendations:
    """A list, and what there is to say about it."""

    items: list[Recommended]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class OpenedRecommender:
    """A run that ranks.

    Raises:
        RunError: the run is not finished, or no recommender.
    """

    def __init__(self, run: str | Path) -> None:
        self.run = Run.read(Path(run))
        recipe = self.run.resolved()
        if recipe is None or recipe.task != "recommend" or recipe.recommender is None:
            raise RunError("the run does not recommend", where=str(run), mend="give a run of task: recommend")
        if not self.run.done("trained"):
            raise RunError("the run is not trained", where=str(run), mend="run sensorium fit again: it goes on")
        self.recipe: RecommenderRecipe = recipe.recommender
        self.model: Recommender = Recommender.open(self.run.model)
        self.catalogue = pq.read_table(self.run.model / ITEMS).to_pydict()
        self.users = pq.read_table(self.run.model / USERS)
        self.names: list[str] = self.catalogue["item"]
        self.titles: list[str] = [
            title or name for title, name in zip(self.catalogue.get(self._title(), self.names), self.names, strict=True)
        ]
        self.place_of_user = {name: i for i, name in enumerate(self.users["user"].to_pylist())}
        self.attributes = {n.removeprefix("of "): n for n in self.users.column_names if n.startswith("of ")}
        cells = {name: self.users[column].to_pylist() for name, column in self.attributes.items()}
        check_rules(self.recipe.rules, self.catalogue, cells)

    def _title(self) -> str:
        return next((name for name in ("title", "name") if name in self.catalogue), "item")

    # -- histories ---------------------------------------------------------------------------------

    def history_of(self, users: Sequence[int]) -> Histories:
        """What is known of users, by their places."""
        rows = self.users.take(pa.array(list(users), pa.int64()))
        items, gaps, ratings = (rows[name].to_pylist() for name in ("items", "gaps", "ratings"))
        return _padded(items, gaps, ratings, list(users))

    def history_from(self, titles: Sequence[str]) -> Histories:
        """A visitor's history from ids or titles. DataError names the near titles of one that is unknown."""
        places = [self.item(title) for title in titles]
        return _padded([places], [[0.0] * len(places)], [[float("nan")] * len(places)], [-1])

    def item(self, told: str) -> int:
        """The index of an id or a title."""
        wanted = told.strip()
        if wanted in self.names:
            return self.names.index(wanted)
        folded = [title.casefold() for title in self.titles]
        if wanted.casefold() in folded:
            return folded.index(wanted.casefold())
        near = difflib.get_close_matches(wanted.casefold(), folded, n=3, cutoff=0.5)
        shown = ", ".join(self.titles[folded.index(one)] for one in near)
        mend = f"did you mean {shown}?" if near else "give an id or a title of the catalogue"
        raise DataError(f"no item is called {wanted}", where="history", mend=mend)

    # -- lists -------------------------------------------------------------------------------------

    def recommend(
        self,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        top: int = 10,
        exclude_seen: bool | None = None,
        diversity: float = 0.0,
        reasons: bool = False,
    ) -> Recommendations:
        """What ``user``, or a visitor with ``history`` (ids or titles), may like next.

        Args:
            exclude_seen: leave out the history; True by default. diversity: 0 to 1, see ``ranking.rerank``.
            reasons: also what moved each score.
        """
        if top < 1:
            raise DataError(f"top {top} asks for nothing", mend="ask for at least 1")
        if not 0 <= diversity <= 1:
            raise DataError(f"diversity {diversity:g} is out of range", mend="give 0 to 1")
        notes = []
        known: Mapping[str, Any] = {}
        if history is not None:
            histories = self.history_from(history)
        elif user is not None and user.strip() in self.place_of_user:
            histories = self.history_of([self.place_of_user[user.strip()]])
            known = {
                name: self.users[column][int(histories.users[0])].as_py() for name, column in self.attributes.items()
            }
        else:
            histories = self.history_from([])
            if user is not None:
                notes.append(f"{user} is no user of this run: what the model gives a visitor of whom nothing is known")
        seen = histories.items[histories.items >= 0]
        off = self._penalties(known, seen)
        items = self.model.item_vectors()
        vectors = self.model.user_vectors(histories)
        excluded = histories.items if exclude_seen is None or exclude_seen else None
        asked = max(top, CANDIDATES if diversity else 0)
        bias = self.model.item_bias() - torch.from_numpy(off).to(items)
        places, scores = (found[0].numpy() for found in top_k(vectors, items, asked, bias, excluded))
        places, scores = places[np.isfinite(scores)], scores[np.isfinite(scores)]
        if diversity and len(places):
            order = rerank(
                scores, self.model.item_vectors(frozenset({"transitions"}))[places].numpy(), top, diversity=diversity
            )
            places, scores = places[order], scores[order]
        found = []
        for place, score in zip(places[:top].tolist(), scores[:top].tolist(), strict=True):
            why = self._reasons(histories, place) if reasons else []
            found.append(Recommended(self.names[place], self.titles[place], float(score), why))
        if len(found) < top:
            notes.append(f"only {len(found)} items are left to recommend")
        return Recommendations(found, notes)

    def _known(self, user: int) -> dict[str, Any]:
        return {name: self.users[column][user].as_py() for name, column in self.attributes.items()}

    def _penalties(self, known: Mapping[str, Any], seen: np.ndarray) -> np.ndarray:
        user = {name: [known.get(name)] for name in self.attributes}
        return penalties(self.recipe.rules, self.catalogue, user, seen, len(self.names))

    def _off(self, user: int, histories: Histories, row: int, like: Tensor) -> Tensor:
        seen = histories.items[row]
        return torch.from_numpy(self._penalties(self._known(user), seen[seen >= 0])).to(like)

    def _reasons(self, histories: Histories, item: int) -> list[tuple[str, float]]:
        inputs = [*self.model.config.shapes, *(["transitions"] if self.model.config.transitions else [])]
        found = because(self.model, histories, item, inputs)
        told = [
            (self.titles[int(one.name)] if one.kind == "history" else f"({one.name})", one.fall)
            for one in found
            if one.fall > 0
        ]
        return told[:5]

    def write(self, out: str | Path, top: int = 10, progress: Any = None) -> int:
        """Lists of all known users to Parquet (user, rank, item, title, score), a bounded stretch of users at a time."""
        types = [("user", pa.string()), ("rank", pa.int32()), ("item", pa.string()), ("title", pa.string())]
        schema = pa.schema([*types, ("score", pa.float32())])
        names = self.users["user"].to_pylist()
        items, bias = self.model.item_vectors(), self.model.item_bias()
        with written_beside(out) as temporary, pq.ParquetWriter(temporary, schema) as file:
            for start in range(0, len(names), USERS_TOGETHER):
                rows = range(start, min(start + USERS_TOGETHER, len(names)))
                histories = self.history_of(rows)
                vectors = self.model.user_vectors(histories)
                if self.recipe.rules:  # whose penalties are each user's own
                    found = [
                        top_k(
                            vectors[i : i + 1],
                            items,
                            top,
                            bias - self._off(row, histories, i, items),
                            histories.items[i : i + 1],
                        )
                        for i, row in enumerate(rows)
                    ]
                    places, scores = (torch.cat(part) for part in zip(*found, strict=True))
                else:
                    places, scores = top_k(vectors, items, top, bias, histories.items)
                left = torch.isfinite(scores)
                ranks = torch.arange(1, places.shape[1] + 1).expand_as(places)[left].tolist()
                flat = places[left].tolist()
                owners = [names[rows[i]] for i in left.nonzero()[:, 0].tolist()]
                columns = [owners, ranks, [self.names[i] for i in flat], [self.titles[i] for i in flat]]
                file.write_table(pa.table([*columns, scores[left].numpy()], schema=schema))
                if progress is not None:
                    progress(len(rows))
        return len(names)


def _padded(items: list[Any], gaps: list[Any], ratings: list[Any], users: list[int]) -> Histories:
    """Lists a user, padded on the left."""
    width = max(1, *(len(row) for row in items))

    def padded(rows: list[Any], filler: float, kind: Any) -> np.ndarray:
        return np.array([[filler] * (width - len(row)) + list(row) for row in rows], dtype=kind).reshape(
            len(rows), width
        )

    return Histories(
        padded(items, -1, np.int64),
        padded(gaps, 0, np.float32),
        padded(ratings, np.nan, np.float32),
        np.array(users, dtype=np.int64),
    )
