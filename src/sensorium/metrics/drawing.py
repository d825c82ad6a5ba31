"""How well a drawing model foretells held-out pictures and names, as ratios of sums over rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.metrics.generation import chrf_statistic, normalise
from sensorium.metrics.language import perplexity
from sensorium.metrics.statistic import Statistic, ratio

FORMS = ("draw", "edit", "caption")
DRAWN, RANK, VARIED, COPIED = "drawn", "retrieval_rank", "varied", "copied"  # columns of what was drawn
COPY = 0.9  # share of codes from which on a drawing is called a copy


def statistics(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Statistic]:
    """The figures that some columns allow.

    Args:
        columns: (n,) each: ``draw_nats``, ``edit_nats``, ``caption_nats``, Σ −log P of a picture's codes given its words,
            of an edited picture's, of a name's words given its picture; ``…_tokens``, how many there are, 0 where a row
            is of another form; ``said``, the caption, where there is one; ``drawn``, 1 where a row's words were drawn, and
            of these the right picture's place by likeness, how far two drawings are apart, and the share of codes that one
            training picture has too.
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
        consensus = cider(said, right)
        if consensus is not None:
            found["cider"] = ratio(consensus * there, there)
    there = np.asarray(columns.get(DRAWN, np.zeros(1)))
    if there.any():
        if RANK in columns:
            for k in (1, 5):
                found[f"retrieval@{k}"] = ratio((columns[RANK] <= k) * there, there)
        if VARIED in columns:
            found["drawing_diversity"] = ratio(columns[VARIED] * there, there)
        if COPIED in columns:
            found["copies"] = ratio((columns[COPIED] >= COPY) * there, there)
    return found


def cider(said: Sequence[str], right: Sequence[str]) -> np.ndarray | None:
    """CIDEr-D (Vedantam et al. 2015) of n captions (n,), 10 at the most; None where ``pycocoevalcap`` is not installed.

    How rare words are is counted in ``right``. Words are lower-cased; punctuation is left out.
    """
    try:
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        return None
    told, known = ({i: [_words(text)] for i, text in enumerate(texts)} for texts in (said, right))
    return np.asarray(Cider().compute_score(known, told)[1])


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
