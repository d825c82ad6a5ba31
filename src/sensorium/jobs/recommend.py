"""``recommend``: what a user, or a visitor with a history, may like next, and why."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sensorium.data.interactions.arrays import Histories
from sensorium.data.interactions.checks import id_text
from sensorium.data.sources import from_rows
from sensorium.data.tables import Source
from sensorium.errors import DataError, RunError
from sensorium.jobs.ranking.catalogue import FIRST_SEEN, ID, ITEMS, USERS
from sensorium.jobs.ranking.recommendations import NOBODY, Recommendations, Recommended, check_wishes, notes_of
from sensorium.models.ranking.recommender import Recommender
from sensorium.recipe import InteractionsRecipe, RecommenderRecipe
from sensorium.run import Run
from sensorium.tasks import ranking_reasons
from sensorium.tasks.ranking import ages, rerank, top_k
from sensorium.tasks.ranking_reasons import Reason
from sensorium.tasks.ranking_rules import check_rules, matched, penalties

CANDIDATES = 100  # items among which a list is made more diverse or fresher
USERS_TOGETHER = 1024
REASONS = 5  # told for an item, at the most


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
        self.data = recipe.data
        self.model: Recommender = Recommender.open(self.run.model)
        self.catalogue = pq.read_table(self.run.model / ITEMS).to_pydict()
        first_seen = self.catalogue.pop(FIRST_SEEN, None)
        self.age = None if first_seen is None else ages(first_seen)
        self.users = pq.read_table(self.run.model / USERS)
        self.names: list[str] = self.catalogue.pop(ID)
        title = next((name for name in ("title", "name") if name in self.catalogue), None)
        titles = self.names if title is None else self.catalogue[title]
        self.titles: list[str] = [said or name for said, name in zip(titles, self.names, strict=True)]
        self.place_of_user = {name: i for i, name in enumerate(self.users["user"].to_pylist())}
        self.attributes = {n.removeprefix("of "): n for n in self.users.column_names if n.startswith("of ")}
        cells = {name: self.users[column].to_pylist() for name, column in self.attributes.items()}
        check_rules(self.recipe.rules, self.catalogue, cells)
        self._rules = matched(self.recipe.rules, self.catalogue, len(self.names))
        self._means: dict[frozenset[str], Tensor] = {}

    @cached_property
    def vectors(self) -> Tensor:
        """(items, width) of the whole catalogue."""
        return self.model.item_vectors()

    @cached_property
    def contents(self) -> Tensor:
        """(items, width) by which items are alike or unlike: without what follows what."""
        return self.model.item_vectors(frozenset({"transitions"}))

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where an id, or a title in small letters, stands in the catalogue; ids come first, then the first of a title."""
        found: dict[str, int] = {}
        for place, title in enumerate(self.titles):
            found.setdefault(title.casefold(), place)
        return found | {name: place for place, name in enumerate(self.names)}

    def warm(self) -> None:
        """Compute now what all lists share, and not when the first is asked for."""
        _ = self.vectors, self.contents, self._places

    # -- histories ---------------------------------------------------------------------------------

    def history_of(self, users: Sequence[int]) -> Histories:
        """What is known of users, by their places; -1 for a visitor of whom nothing is."""
        places = list(users)
        rows = self.users.take(pa.array([place if place >= 0 else None for place in places], pa.int64()))
        told = [name for name in STEPS if name in rows.column_names]
        return _padded({name: [cell or [] for cell in rows[name].to_pylist()] for name in told}, places)

    def history_from(self, titles: Sequence[str]) -> Histories:
        """A visitor's history from ids or titles. DataError names the near titles of one that is unknown."""
        places = [self.item(title) for title in titles]
        return _padded({"items": [places], "gaps": [[0.0] * len(places)], "ratings": [[np.nan] * len(places)]}, [-1])

    def find(self, told: str) -> int | None:
        """The index of an id or a title; None where the catalogue has no such."""
        wanted = told.strip()
        found = self._places.get(wanted)
        return self._places.get(wanted.casefold()) if found is None else found

    def item(self, told: str) -> int:
        """The index of an id or a title. DataError names the near titles of one that is unknown."""
        found = self.find(told)
        if found is not None:
            return found
        folded = {title.casefold(): title for title in self.titles}
        near = difflib.get_close_matches(told.strip().casefold(), folded, n=3, cutoff=0.5)
        shown = ", ".join(folded[one] for one in near)
        mend = f"did you mean {shown}?" if near else "give an id or a title of the catalogue"
        raise DataError(f"no item is called {told.strip()}", where="history", mend=mend)

    # -- lists -------------------------------------------------------------------------------------

    def recommend(
        self,
        history: Sequence[str] | None = None,
        *,
        user: str | int | None = None,
        top: int = 10,
        because: bool = False,
        diversity: float = 0.0,
        freshness: float = 0.0,
        exclude_seen: bool = True,
    ) -> Recommendations:
        """What ``user``, or a visitor with ``history`` (ids or titles, oldest first), may like next.

        Args:
            because: also what moved each score.
            diversity, freshness: 0 to 1, see ``ranking.rerank``; among the first ``CANDIDATES`` or ``top``.
            exclude_seen: leave out what the history holds.

        Raises:
            DataError: both or neither of user and history, an item that is not in the catalogue, a number out of range.
        """
        if (user is None) == (history is None):
            raise DataError("say for whom", mend="give one of user and history")
        if isinstance(history, str):
            raise DataError("the history is one text", mend="give a list of ids or titles")
        check_wishes(top, diversity, freshness)
        if freshness and self.age is None:
            raise RunError(
                "the run does not hold when its items appeared", where=str(self.run.folder), mend="fit it again"
            )
        place = -1 if user is None else self.place_of_user.get(id_text(user) or "", -1)
        histories = self.history_of([place]) if history is None else self.history_from(history)
        known = place >= 0 or bool(history)
        notes = [] if known else [NOBODY if user is None else f"{user} is no user of this run: {NOBODY}"]
        reranked = diversity or freshness
        places, scores = (
            one[0].numpy() for one in self.first(histories, max(top, CANDIDATES if reranked else 0), exclude_seen)
        )
        places, scores = places[np.isfinite(scores)], scores[np.isfinite(scores)]
        if reranked and len(places):
            age = None if self.age is None else self.age[places]
            order = rerank(
                scores, self.contents[places].numpy(), top, diversity=diversity, freshness=freshness, age=age
            )
            places, scores = places[order], scores[order]
        places, scores = places[:top], scores[:top]
        reasons = self._reasons(histories, places.tolist()) if because and len(places) else [[]] * len(places)
        found = [
            Recommended(self.names[place], self.titles[place], score, why)
            for place, score, why in zip(places.tolist(), scores.tolist(), reasons, strict=True)
        ]
        if len(found) < top:
            notes.append(f"only {len(found)} items are left to recommend")
        return Recommendations(found, notes, known)

    def predict(self, rows: Any, *, top: int = 10, exclude_seen: bool = True) -> list[Recommendations]:
        """A list a row.

        Args:
            rows: dicts, a pandas DataFrame or an Arrow table with a column of users; one who is unknown, or missing,
                gets what any visitor gets, and the list says so.
        """
        check_wishes(top)
        source = from_rows(rows)
        column, found = self.user_column(source), []
        for start in range(0, len(source), USERS_TOGETHER):
            told = source.table[column].slice(start, USERS_TOGETHER).to_pylist()
            users = [self.place_of_user.get(id_text(cell) or "", -1) for cell in told]
            places, scores = self.first(self.history_of(users), top, exclude_seen)
            for cell, user, mine, values in zip(told, users, places.tolist(), scores.tolist(), strict=True):
                items = [
                    Recommended(self.names[place], self.titles[place], score)
                    for place, score in zip(mine, values, strict=True)
                    if np.isfinite(score)
                ]
                found.append(Recommendations(items, notes_of(cell, user), user >= 0))
        return found

    def user_column(self, source: Source) -> str:
        """The column of users of some rows: called as in the run's own data, or ``user``. DataError where there is none."""
        own = (self.data.interactions or InteractionsRecipe()).user
        for name in (own, "user"):
            if name in source.table.column_names:
                return name
        raise DataError(f"no column is called {own} or user", where=source.name, mend="name the column of users so")

    def first(self, histories: Histories, top: int, exclude_seen: bool = True) -> tuple[Tensor, Tensor]:
        """Indices and scores (users, top) of the best items, -inf where nothing is left. Rules hold."""
        vectors, bias = self.model.user_vectors(histories), self.model.item_bias()
        excluded = histories.items if exclude_seen else None
        if not self.recipe.rules:
            return top_k(vectors, self.vectors, top, bias, excluded)
        found = []
        for i, user in enumerate(histories.users.tolist()):  # penalties are each user's own
            off = self._penalties(self._known(user), histories.items[i][histories.items[i] >= 0])
            mine = None if excluded is None else excluded[i : i + 1]
            found.append(top_k(vectors[i : i + 1], self.vectors, top, bias - torch.from_numpy(off).to(bias), mine))
        places, scores = (torch.cat(part) for part in zip(*found, strict=True))
        return places, scores

    def _known(self, user: int) -> dict[str, Any]:
        if user < 0:
            return {}
        return {name: self.users[column][user].as_py() for name, column in self.attributes.items()}

    def _penalties(self, known: Mapping[str, Any], seen: np.ndarray) -> np.ndarray:
        user = {name: [known.get(name)] for name in self.attributes}
        return penalties(self._rules, user, seen, len(self.names))

    def _reasons(self, histories: Histories, items: list[int]) -> list[list[Reason]]:
        config = self.model.config
        beside = {"transitions": config.transitions, "reviews": config.reviews}
        inputs = [*config.shapes, *(name for name, there in beside.items() if there)]
        told = ranking_reasons.because(self.model, histories, items, inputs, centred=lambda w: self._centred(items, w))
        return [[self._titled(one) for one in mine if one.fall > 0][:REASONS] for mine in told]

    @torch.inference_mode()
    def _centred(self, items: list[int], without: frozenset[str]) -> Tensor:
        """See ``ranking_reasons.centred_vectors``; the mean over the catalogue is taken once, and then kept."""
        if without not in self._means:
            whole = self.model.item_vectors(without) if without else self.vectors
            self._means[without] = whole.mean(0)
        own = self.model.item_vectors(without, items) - self._means[without]
        bias = self.model.item_bias()
        return torch.cat([own, (bias[items] - bias.mean())[:, None]], 1)

    def _titled(self, reason: Reason) -> Reason:
        return replace(reason, name=self.titles[int(reason.name)]) if reason.kind == "history" else reason


STEPS = {"items": (-1, np.int64), "gaps": (0, np.float32), "ratings": (np.nan, np.float32), "reviews": (-1, np.int64)}


def _padded(steps: Mapping[str, list[Any]], users: list[int]) -> Histories:
    """Lists a user, by what they hold, padded on the left."""
    width = max(1, *(len(row) for row in steps["items"]))

    def padded(rows: list[Any], filler: float, kind: Any) -> np.ndarray:
        filled = [[filler] * (width - len(row)) + list(row) for row in rows]
        return np.array(filled, dtype=kind).reshape(len(rows), width)

    return Histories(**{n: padded(rows, *STEPS[n]) for n, rows in steps.items()}, users=np.array(users, dtype=np.int64))
