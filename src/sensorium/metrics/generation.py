"""Exact match, token F1, chrF and likelihood of answers in words."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sensorium.metrics.statistic import Statistic, divide, mean, ratio, same_length, values

FINAL = ".,;:!?…。，！？、"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def summary(
    predictions: Sequence[str],
    references: Sequence[str],
    likelihoods: ArrayLike | None = None,
    tokens: ArrayLike | None = None,
) -> dict[str, float]:
    """Every metric of this file; arguments as of ``statistics``."""
    return values(statistics(predictions, references, likelihoods, tokens))


def scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """Per row (n,): ``exact_match`` 0 or 1, ``token_f1`` 0 … 1, ``chrf`` 0 … 100 (sentence level)."""
    same_length(predictions=predictions, references=references)
    pairs = list(zip(predictions, references))
    return {
        "exact_match": np.array([normalise(p) == normalise(r) for p, r in pairs], dtype=np.float64),
        "token_f1": np.array([token_f1(p, r) for p, r in pairs]),
        "chrf": _f_score(_ngram_counts(predictions, references)),
    }


def statistics(
    predictions: Sequence[str],
    references: Sequence[str],
    likelihoods: ArrayLike | None = None,
    tokens: ArrayLike | None = None,
) -> dict[str, Statistic]:
    """Every metric as a statistic over rows.

    Args:
        predictions: n answers; empty ones are answers too.
        references: n right answers.
        likelihoods: (n,) log P of the right answer in nats, NaN where unknown: those rows are left out of
            log-likelihood and perplexity, which are absent where no row is known.
        tokens: (n,) how many tokens that answer has; 1 each by default.

    Raises:
        ValueError: no rows, or lengths that differ.
    """
    same_length(predictions=predictions, references=references, likelihoods=likelihoods, tokens=tokens)  # type: ignore[arg-type]
    pairs = list(zip(predictions, references))
    found = {
        "exact_match": mean([normalise(p) == normalise(r) for p, r in pairs]),
        "token_f1": mean([token_f1(p, r) for p, r in pairs]),
        "chrf": chrf_statistic(predictions, references),
    }
    if likelihoods is not None:
        nats = np.asarray(likelihoods, dtype=np.float64)
        length = np.ones_like(nats) if tokens is None else np.asarray(tokens, dtype=np.float64)
        known = np.isfinite(nats) & (length > 0)
        if known.any():
            per_token = ratio(np.where(known, nats, 0.0), np.where(known, length, 0.0))
            found["log_likelihood"] = per_token
            found["perplexity"] = Statistic(
                per_token.rows, lambda sums: np.exp(np.minimum(-per_token.combine(sums), 700.0))
            )
    return found


def chrf_statistic(predictions: Sequence[str], references: Sequence[str]) -> Statistic:
    """chrF2 in points over the n-grams of all rows."""
    return Statistic(_ngram_counts(predictions, references), _f_score)


def normalise(text: str) -> str:
    """Unicode NFC, case folded, runs of white space as one space, final punctuation gone unless it is all there is."""
    line = " ".join(unicodedata.normalize("NFC", str(text)).casefold().split())
    return line.rstrip(FINAL + " ") or line


def token_f1(prediction: str, reference: str) -> float:
    """F1 of the words shared, counted with repetition, as SQuAD's evaluation does it (Rajpurkar et al. 2016).

    Case, punctuation and English articles do not count. Where nothing else is left on either side, the texts are
    compared as ``normalise`` gives them, so that "?" is not a right answer to "!" (SQuAD 2.0 says that it is).
    """
    said, right = _words(prediction), _words(reference)
    if not said or not right:
        return float(not said and not right and normalise(prediction) == normalise(reference))
    shared = sum((Counter(said) & Counter(right)).values())
    return 2 * shared / (len(said) + len(right))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", str(text).lower().translate(_PUNCTUATION)).split()


def _ngram_counts(predictions: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(n, 18): for orders 1 … 6 the character n-grams in the answer, in the right answer, and in both (sacreBLEU)."""
    from sacrebleu.metrics import CHRF

    # The counts have no public name in sacreBLEU; the tests hold them to its public corpus and sentence scores.
    counts = CHRF()._extract_corpus_statistics([str(p) for p in predictions], [[str(r) for r in references]])
    return np.array(counts, dtype=np.float64)


def _f_score(sums: np.ndarray) -> np.ndarray:
    """chrF2 in 0 … 100 (Popović 2015) from summed counts (…, 18); 0 where an answer or the right one is empty.

    Precision and recall are averaged over the orders that both sides have, as sacreBLEU does.
    """
    said, right, both = (sums[..., i::3] for i in range(3))
    counted = (said > 0) & (right > 0)
    orders = counted.sum(-1)
    precision = divide((divide(both, said) * counted).sum(-1), orders)
    recall = divide((divide(both, right) * counted).sum(-1), orders)
    return 100 * divide(5 * precision * recall, 4 * precision + recall)
