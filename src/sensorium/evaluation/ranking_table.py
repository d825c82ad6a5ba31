"""``metrics.json`` of a recommend run: the model and its baselines, ranked over the whole catalogue, by group of users.

The shape is that of every other task (``comparison``): ``after`` is the model, ``before`` the untrained one where it was
measured, ``against`` the model minus each baseline, paired. Intervals draw users, with all of a user's cases together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import DataError
from sensorium.evaluation.comparison import FEW, by_group, measured
from sensorium.metrics import ranking
from sensorium.metrics.names import PRIMARY
from sensorium.metrics.statistic import Counted, Statistic, mean

LIST = 10  # items of a list of which coverage, diversity, novelty and popularity are measured


@dataclass(frozen=True)
class RankingMeasured:
    """What was measured of the model and of its baselines, on the same cases in the same order.

    Attributes:
        ranks: system -> (cases,) place of the held-out item among all, from 1 (``metrics.ranking.ranks_of``). The model
            is called "after", the untrained one, where there is one, "before"; all others are baselines.
        top: system -> (cases, K) items, the best first, -1 where a list is shorter; for the same systems, or for some.
        users: (cases,) index of the user.
        targets: (cases,) index of the held-out item.
        groups: a column, such as gender, age or activity -> a label a case, None where it is not known.
        popularity: (items,) training interactions of each.
        content: (items, width) vectors of what is in the items, for diversity; None where there are none.
    """

    ranks: Mapping[str, np.ndarray]
    top: Mapping[str, np.ndarray]
    users: np.ndarray
    targets: np.ndarray
    popularity: np.ndarray
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    content: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def baselines(self) -> list[str]:
        """Names of all systems but the model."""
        return [name for name in self.ranks if name not in ("after", "before")]


def ranking_metrics(
    cases: RankingMeasured,
    *,
    split: str = "test",
    seed: int = 0,
    n_resamples: int = 1000,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``metrics.json``.

    Args:
        cases: with the model's ranks under "after".
        split: which part the cases are of; seed: of the run and of the resamples.
        notes: sentences to put first among the notes.

    Raises:
        DataError: there is no case, or columns differ in length.
    """
    _check(cases)
    systems = {name if name in ("after", "before") else f"baseline {name}": _lists(cases, name) for name in cases.ranks}
    whole = measured(systems, seed, n_resamples)
    for key in ("baselines", "against"):  # the strongest first: it is the one that matters
        whole[key] = {name: whole[key][name] for name in _strongest_first(whole["baselines"])}
    return {
        **whole,
        "by": by_group(systems, seed, n_resamples),
        "split": split,
        "rows": len(cases),
        "seed": seed,
        "task": "recommend",
        "kind": "ranking",
        "primary": PRIMARY["ranking"],
        "notes": [*notes, *_notes(cases, n_resamples)],
    }


def best_baseline(metrics: dict[str, Any]) -> str | None:
    """The baseline that is ahead in the primary metric, or None where there is none."""
    return next(iter(_strongest_first(metrics.get("baselines", {}))), None)


def activity(known: np.ndarray, names: Sequence[str] = ("little", "medium", "much")) -> list[str]:
    """Labels for a group of users by how much is known of them: equal shares of the cases, with their bounds.

    Args:
        known: (cases,) interactions in the history of each.
    """
    edges = np.unique(np.quantile(known, np.linspace(0, 1, len(names) + 1)[1:-1]))
    place = np.searchsorted(edges, known, side="left")
    words = {
        p: f"{names[p] if len(edges) + 1 == len(names) else 'part ' + str(p + 1)}: "
        f"{int(known[place == p].min()):,}–{int(known[place == p].max()):,}"
        for p in np.unique(place).tolist()
    }
    return [words[p] for p in place.tolist()]


@dataclass(frozen=True)
class Lists:
    """One system's ranks and lists, as ``comparison`` measures them."""

    ranks: np.ndarray
    top: np.ndarray | None
    clusters: np.ndarray
    groups: Mapping[str, Sequence[Any]]
    popularity: np.ndarray
    content: np.ndarray | None

    def __len__(self) -> int:
        return len(self.ranks)

    def answers_all(self) -> bool:
        return True

    def take(self, positions: np.ndarray) -> Lists:
        top = None if self.top is None else self.top[positions]
        return Lists(self.ranks[positions], top, self.clusters[positions], {}, self.popularity, self.content)

    def statistics(self) -> dict[str, Statistic | Counted]:
        """NDCG, hit rate, MRR and recall at each cut-off; then what the lists look like."""
        at = {k: ranking.accuracy_at(self.ranks, k) for k in ranking.CUTOFFS}
        found: dict[str, Statistic | Counted] = {
            f"{name}@{k}": mean(at[k][name]) for name in ("ndcg", "hit_rate", "mrr", "recall") for k in ranking.CUTOFFS
        }
        if self.top is not None:
            found["coverage"] = ranking.coverage(self.top, len(self.popularity))
            if self.content is not None:
                found["diversity"] = mean(ranking.diversity(self.top, self.content))
            found["novelty"] = mean(ranking.novelty(self.top, self.popularity))
            found["gini"] = ranking.concentration(self.top, len(self.popularity))
            found["average_popularity"] = mean(ranking.average_popularity(self.top, self.popularity))
        return found


def _lists(cases: RankingMeasured, name: str) -> Lists:
    top = cases.top.get(name)
    return Lists(
        np.asarray(cases.ranks[name]),
        None if top is None else np.asarray(top)[:, :LIST],
        np.asarray(cases.users),
        cases.groups,
        np.asarray(cases.popularity),
        cases.content,
    )


def _strongest_first(baselines: dict[str, Any]) -> list[str]:
    return sorted(baselines, key=lambda name: -baselines[name][PRIMARY["ranking"]]["value"])


def _check(cases: RankingMeasured) -> None:
    if not len(cases):
        raise DataError("no case to measure: nothing was held out", mend="give users with more interactions")
    columns = {
        "targets": cases.targets,
        **{f"ranks of {name}": column for name, column in cases.ranks.items()},
        **{f"lists of {name}": column for name, column in cases.top.items()},
        **{f"group {name}": column for name, column in cases.groups.items()},
    }
    for what, column in columns.items():
        if len(column) != len(cases):
            raise DataError(f"{what}: {len(column)} for {len(cases)} cases", mend="measure all on the same cases")


def _notes(cases: RankingMeasured, n_resamples: int) -> list[str]:
    users = len(np.unique(cases.users))
    notes = [
        f"Each held-out item is ranked among all {len(cases.popularity):,} items; equal scores share the mean of their "
        "places, rounded up. One item is held out a case, so recall is the hit rate.",
        f"Coverage, diversity, novelty, Gini and mean popularity are those of the first {LIST} items of each list.",
        f"Intervals: 95 % percentile bootstrap over {users:,} users, {n_resamples:,} resamples; those of coverage and Gini "
        "are moved to the value, as fewer distinct users see fewer items. p: two-sided, paired, not corrected for the "
        f"number of comparisons, at least {2 / (n_resamples + 1):.2g}.",
    ]
    if users < FEW:
        notes.append(f"Only {users} users: so few give intervals that are too narrow.")
    return notes
