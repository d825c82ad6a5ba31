"""``metrics.json`` of translations: before, after and simple methods, over all sentences and by direction.

The shape is that of every other task (``comparison``). BLEU, chrF and TER are sums over sentences, so that a thousand
resamples cost one product, and every difference is paired. BLEU speaks first, as in the literature; of phrases, whose
references have fewer than ``SENTENCE`` words on average and seldom a 4-gram to share, chrF does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.errors import DataError
from sensorium.evaluation.comparison import FEW, by_group, measured
from sensorium.metrics import translation
from sensorium.metrics.names import PRIMARY
from sensorium.metrics.statistic import Statistic

SENTENCE = 5.0  # mean words of a reference, below which BLEU-4 counts too few n-grams to be the first figure


@dataclass(frozen=True)
class TranslationMeasured:
    """What was translated, what each system said, and the right translations, in one order.

    Attributes:
        directions: (n,) as "en-de". sources, references: n texts each.
        systems: name -> n translations. The model is called "after", the untrained one, where there is one, "before";
            all others are baselines.
        clusters: n labels of sentences that belong together (a concept in several languages), or None.
        groups: further columns -> n labels by which results are given.
    """

    directions: Sequence[str]
    sources: Sequence[str]
    references: Sequence[str]
    systems: Mapping[str, Sequence[str]]
    clusters: Sequence[Any] | None = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.directions)


@dataclass(frozen=True)
class Scored:
    """One system's sufficient statistics, as ``comparison`` measures them."""

    parts: Mapping[str, Statistic]
    clusters: Any
    groups: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())).rows)

    def answers_all(self) -> bool:
        return True

    def take(self, positions: np.ndarray) -> Scored:
        parts = {name: Statistic(part.rows[positions], part.combine) for name, part in self.parts.items()}
        clusters = None if self.clusters is None else [self.clusters[i] for i in positions.tolist()]
        return Scored(parts, clusters, {})

    def statistics(self) -> Mapping[str, Statistic]:
        return self.parts


def translation_metrics(
    cases: TranslationMeasured,
    *,
    split: str = "test",
    seed: int = 0,
    n_resamples: int = 1000,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of ``metrics.json``.

    Args:
        cases: with the model's translations under "after".
        split: which part the sentences are of; seed: of the run and of the resamples.
        notes: sentences to put first among the notes.

    Raises:
        DataError: there is no sentence, or columns differ in length.
    """
    _check(cases)
    systems = {
        name if name in ("after", "before") else f"baseline {name}": scored(cases, said)
        for name, said in cases.systems.items()
    }
    return {
        **measured(systems, seed, n_resamples),
        "by": by_group(systems, seed, n_resamples),
        "split": split,
        "rows": len(cases),
        "seed": seed,
        "task": "generate",
        "kind": "translation",
        "primary": primary_of(cases.references),
        "notes": [*notes, *_notes(cases, n_resamples)],
    }


def scored(cases: TranslationMeasured, said: Sequence[str]) -> Scored:
    """The sums of one system's translations; each direction is cut into words as its target language asks for."""
    parts: dict[str, Statistic] = {}
    sums: dict[str, np.ndarray] = {}
    directions = np.array(cases.directions, dtype=object)
    for direction in dict.fromkeys(cases.directions):
        rows = np.flatnonzero(directions == direction)
        answers, wanted = ([str(texts[i]) for i in rows.tolist()] for texts in (said, cases.references))
        for name, part in translation.statistics(answers, wanted, language_into(direction)).items():
            sums.setdefault(name, np.zeros((len(cases), part.rows.shape[1])))[rows] = part.rows
            parts[name] = Statistic(sums[name], part.combine)
    return Scored(parts, cases.clusters, {"direction": list(cases.directions), **cases.groups})


def language_into(direction: str) -> str:
    """The tag after the first hyphen: "de" of "en-de", "zh-hant" of "en-zh-hant"."""
    return direction.partition("-")[2]


def primary_of(references: Sequence[str]) -> str:
    """``bleu`` of sentences, ``chrf`` of phrases."""
    words = np.mean([len(str(reference).split()) for reference in references])
    return PRIMARY["translation"] if words >= SENTENCE else "chrf"


def _check(cases: TranslationMeasured) -> None:
    if not len(cases):
        raise DataError("no sentence to measure", mend="give a split that has some")
    columns = {
        "sources": cases.sources,
        "references": cases.references,
        **{f"translations of {name}": said for name, said in cases.systems.items()},
        **{f"group {name}": column for name, column in cases.groups.items()},
        **({} if cases.clusters is None else {"clusters": cases.clusters}),
    }
    for what, column in columns.items():
        if len(column) != len(cases):
            raise DataError(f"{what}: {len(column)} for {len(cases)} sentences", mend="measure all on the same ones")


def _notes(cases: TranslationMeasured, n_resamples: int) -> list[str]:
    directions = list(dict.fromkeys(cases.directions))
    signatures: dict[str, list[str]] = {}
    for direction in directions:
        for name, told in translation.signatures(language_into(direction)).items():
            signatures.setdefault(f"{name} {told}", []).append(direction)
    shared = [one for one, where in signatures.items() if len(where) == len(directions)]
    own = [f"{one} ({', '.join(where)})" for one, where in signatures.items() if len(where) < len(directions)]
    units = len(cases) if cases.clusters is None else len(set(cases.clusters))
    of = "sentences" if cases.clusters is None else "clusters of sentences that belong together"
    notes = [
        f"sacreBLEU signatures: {'; '.join([*shared, *own])}.",
        f"Intervals: 95 % percentile bootstrap over {units:,} {of}, {n_resamples:,} resamples. "
        f"p: two-sided, paired, not corrected for the number of comparisons, at least {2 / (n_resamples + 1):.2g}.",
    ]
    if len(directions) > 1:
        notes.append(
            f"Figures over all rows pool the n-grams of {len(directions)} directions; each stands by itself below."
        )
    if primary_of(cases.references) == "chrf":
        notes.append(f"References have fewer than {SENTENCE:g} words on average: chrF speaks first, BLEU says little.")
    if units < FEW:
        notes.append(f"Only {units} {of}: so few give intervals that are too narrow.")
    return notes
