"""BLEU, chrF and TER of translations, by sacreBLEU, in sums over sentences so that bootstrapping is one product.

BLEU (Papineni et al. 2002; Post 2018) with sacreBLEU's defaults: exponential smoothing, ``13a`` tokens, cased; beside it
the lower-cased figure, the nearest to what papers about Multi30k report. Languages written without spaces are cut into
characters (``char``), Chinese as sacreBLEU's ``zh`` cuts it. chrF2 (Popović 2015); TER (Snover et al. 2006) in % of the
reference's words, fewer is better. ``signatures`` says all of that in sacreBLEU's own form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.metrics import generation
from sensorium.metrics.statistic import Statistic, divide, mean, same_length, values

ORDERS = 4
UNSPACED = ("ja", "th", "lo", "km", "my", "bo")  # no spaces between words


def translation_scores(
    hypotheses: Sequence[str], references: Sequence[str], language: str | None = None
) -> dict[str, float]:
    """``bleu``, ``bleu_lowercase``, ``chrf``, ``ter`` in points and ``exact_match`` in 0 … 1; arguments as of ``statistics``."""
    return values(statistics(hypotheses, references, language))


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False, language: str | None = None
) -> float:
    """Corpus BLEU in points, what training validates by."""
    return bleu_statistic(hypotheses, references, lowercase, language).value


def statistics(
    hypotheses: Sequence[str], references: Sequence[str], language: str | None = None
) -> dict[str, Statistic]:
    """Every metric as a statistic over sentences.

    Args:
        hypotheses: n translations, detokenised; empty ones are translations too.
        references: n right ones, one each.
        language: tag of the language translated into, which decides how BLEU cuts words.

    Raises:
        ValueError: no sentences, or lengths that differ.
    """
    same_length(hypotheses=hypotheses, references=references)
    said, right = [str(one) for one in hypotheses], [str(one) for one in references]
    return {
        "bleu": bleu_statistic(said, right, False, language),
        "bleu_lowercase": bleu_statistic(said, right, True, language),
        "chrf": generation.chrf_statistic(said, right),
        "ter": ter_statistic(said, right),
        "exact_match": mean([generation.normalise(s) == generation.normalise(r) for s, r in zip(said, right)]),
    }


def bleu_statistic(
    hypotheses: Sequence[str], references: Sequence[str], lowercase: bool = False, language: str | None = None
) -> Statistic:
    """BLEU over sums (…, 10): words said, words wanted, n-grams in both by order, n-grams said by order."""
    from sacrebleu.metrics import BLEU

    # The counts have no public name in sacreBLEU; the tests hold them to its public corpus scores.
    metric = BLEU(lowercase=lowercase, tokenize=tokens_of(language), force=True)
    counts = metric._extract_corpus_statistics(list(hypotheses), [list(references)])
    return Statistic(np.array(counts, dtype=np.float64).reshape(len(hypotheses), 2 + 2 * ORDERS), bleu_of_sums)


def ter_statistic(hypotheses: Sequence[str], references: Sequence[str]) -> Statistic:
    """TER over sums (…, 2): edits, words wanted."""
    from sacrebleu.metrics import TER

    counts = np.array(TER()._extract_corpus_statistics(list(hypotheses), [list(references)]), dtype=np.float64)
    return Statistic(counts.reshape(len(hypotheses), 2), _edit_rate)


def tokens_of(language: str | None) -> str:
    """sacreBLEU's name of the way in which text of a language is cut into words."""
    base = (language or "").lower().replace("_", "-").split("-")[0]
    return "zh" if base in ("zh", "cmn", "yue") else "char" if base in UNSPACED else "13a"


def signatures(language: str | None = None) -> dict[str, str]:
    """Metric: sacreBLEU's signature, which makes the figure one that others can make again."""
    from sacrebleu.metrics import BLEU, CHRF, TER

    found = {}
    for name, metric in (
        ("bleu", BLEU(tokenize=tokens_of(language))),
        ("bleu_lowercase", BLEU(lowercase=True, tokenize=tokens_of(language))),
        ("chrf", CHRF()),
        ("ter", TER()),
    ):
        metric.corpus_score(["."], [["."]])  # counts the references, one here
        found[name] = str(metric.get_signature())
    return found


def bleu_of_sums(sums: np.ndarray) -> np.ndarray:
    """BLEU in points (…,) from summed counts (…, 10), smoothed as mteval-v13a and sacreBLEU's ``exp`` do it.

    An order without a match counts as half, a quarter, … of one n-gram; where nothing matches, or no hypothesis has four
    words, the score is 0.
    """
    length, wanted = sums[..., 0], sums[..., 1]
    both, said = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    missed = (both == 0) & (said > 0)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), both)
    precision = divide(smoothed, said)
    scored = np.asarray((said > 0).all(-1) & (both > 0).any(-1))
    logs = np.log(np.where(scored[..., None], precision, 1.0)).mean(-1)
    brevity = np.minimum(0.0, 1.0 - divide(wanted, length, empty=1.0))
    return np.where(scored, 100 * np.exp(logs + brevity), 0.0)


def _edit_rate(sums: np.ndarray) -> np.ndarray:
    """TER in points; of empty references alone 0 where nothing is said, else 100."""
    edits, words = sums[..., 0], sums[..., 1]
    return np.where(words > 0, 100 * divide(edits, words), np.where(edits > 0, 100.0, 0.0))
