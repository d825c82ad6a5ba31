"""How well a drawing model foretells held-out pictures and names, as ratios of sums over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.metrics.generation import chrf_statistic, normalise
from sensorium.metrics.language import perplexity
from sensorium.metrics.statistic import Statistic, ratio

FORMS = ("draw", "edit", "caption")


def statistics(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Statistic]:
    """The figures that some columns allow.

    Args:
        columns: (n,) each: ``draw_nats``, ``edit_nats``, ``caption_nats``, Σ −log P of a picture's codes given its words,
            of an edited picture's, of a name's words given its picture; ``…_tokens``, how many there are, 0 where a row
            is of another form; ``said``, the caption, where there is one.
        names: n right captions.
    """
    found: dict[str, Statistic] = {}
    for form in FORMS:
        if f"{form}_nats" in columns and np.asarray(columns[f"{form}_tokens"]).any():
            found[f"{form}_perplexity"] = perplexity(columns[f"{form}_nats"], columns[f"{form}_tokens"])
    if "said" in columns and np.asarray(columns["caption_tokens"]).any():
        there = np.asarray(columns["caption_tokens"]) > 0
        said = [str(text) if kept else "" for text, kept in zip(columns["said"], there, strict=True)]
        right = [name if kept else "" for name, kept in zip(names, there, strict=True)]
        same = np.array([normalise(a) == normalise(b) for a, b in zip(said, right, strict=True)])
        found["exact_match"] = ratio(same & there, there)
        found["chrf"] = chrf_statistic(said, right)
    return found
