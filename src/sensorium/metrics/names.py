"""The names of all metrics, as they stand in ``metrics.json``, with their units and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["category", "number", "text", "ranking", "translation", "language", "picture", "drawing"]


@dataclass(frozen=True)
class Metric:
    """What a metric's name means.

    ``unit``: "share" lies in 0 … 1 and is shown in %; "points" lies in 0 … 100; "target" is in the target's own
    unit; "nats" are natural-log units; "decibels" are dB; "count" counts things; "plain" has none.
    """

    label: str
    higher_is_better: bool
    unit: Literal["share", "points", "target", "nats", "count", "decibels", "plain"]
    meaning: str


METRICS: dict[str, Metric] = {
    # a category
    "accuracy": Metric("accuracy", True, "share", "rows whose likeliest class is the right one"),
    "balanced_accuracy": Metric("balanced accuracy", True, "share", "recall of each class that occurs, averaged"),
    "precision_macro": Metric(
        "precision (macro)", True, "share", "right among those named a class, averaged over classes"
    ),
    "recall_macro": Metric("recall (macro)", True, "share", "found among those of a class, averaged over classes"),
    "f1_macro": Metric("F1 (macro)", True, "share", "harmonic mean of precision and recall, averaged over classes"),
    "calibration_error": Metric("calibration error", False, "share", "gap between confidence and accuracy, 15 bins"),
    # a number
    "mae": Metric("mean abs. error", False, "target", "mean absolute error"),
    "rmse": Metric("RMSE", False, "target", "root of the mean squared error"),
    "r2": Metric("R²", True, "plain", "share of the variance explained; 0 for always saying the mean"),
    # text
    "exact_match": Metric("exact match", True, "share", "answers equal but for case, spaces and the final full stop"),
    "token_f1": Metric("token F1", True, "share", "words shared with the right answer (SQuAD), averaged over rows"),
    "chrf": Metric("chrF", True, "points", "character n-grams shared with the right answers, whole corpus"),
    "bleu": Metric(
        "BLEU", True, "points", "n-grams of words shared with the references, cased, whole corpus (sacreBLEU)"
    ),
    "bleu_lowercase": Metric("BLEU, lower-cased", True, "points", "the same without regard to case"),
    "ter": Metric("TER", False, "points", "edits that turn the translation into the reference, in % of its words"),
    "log_likelihood": Metric("log-likelihood", True, "nats", "mean log P of a token of the right answer"),
    "perplexity": Metric("perplexity", False, "plain", "exp of minus the log-likelihood"),
    # language, in pretraining
    "byte_perplexity": Metric(
        "perplexity per byte", False, "plain", "the same for a byte of the text: comparable between tokenizers"
    ),
    "masked_accuracy": Metric(
        "hidden tokens named", True, "share", "hidden tokens whose likeliest answer is the right one"
    ),
    "masked_perplexity": Metric(
        "perplexity of hidden tokens", False, "plain", "exp of their mean negative log-likelihood"
    ),
    "next_sentence_accuracy": Metric(
        "next sentence", True, "share", "pairs of sentences rightly told to follow or not"
    ),
    "matching_accuracy": Metric(
        "matching", True, "share", "pairs of medium and text rightly told to belong together or not"
    ),
    **{
        f"{name}@{k}": Metric(f"{label}@{k}", True, "share", meaning)
        for name, label, meaning in (
            ("recall", "recall", "held-out items that are among the first"),
            ("text_recall", "recall of texts", "texts that are among the first for their medium"),
        )
        for k in (1, 5, 10)
    },
    # pictures
    "psnr": Metric("PSNR", True, "decibels", "peak signal to noise of rebuilt pictures, averaged over pictures"),
    "ssim": Metric("SSIM", True, "plain", "structure shared with the picture, 1 at the most (Wang et al. 2004)"),
    "perceptual_distance": Metric(
        "perceptual distance", False, "plain", "between features of the image encoder, as LPIPS without learnt weights"
    ),
    "absolute_error": Metric("mean abs. error of pixels", False, "plain", "pixels from 0 to 1"),
    "codes_used": Metric("codes used", True, "share", "of the codebook, in these pictures"),
    "code_perplexity": Metric("code perplexity", True, "count", "exp of the entropy of codes in these pictures"),
    "draw_perplexity": Metric(
        "perplexity of pictures", False, "plain", "of a code of the right picture, given its words"
    ),
    "edit_perplexity": Metric(
        "perplexity of edits", False, "plain", "of a code of the edited picture, given what it was and the instruction"
    ),
    "caption_perplexity": Metric(
        "perplexity of names", False, "plain", "of a word of the right name, given its picture"
    ),
    "cider": Metric("CIDEr", True, "plain", "captions' n-grams weighed by how rare they are, 10 at the most"),
    **{
        f"retrieval@{k}": Metric(
            f"retrieval@{k}", True, "share", "drawings whose right picture is among the first by likeness"
        )
        for k in (1, 5)
    },
    "drawing_diversity": Metric(
        "drawings apart", True, "plain", "perceptual distance between two drawings of the same words"
    ),
    "copies": Metric(
        "copies", False, "share", "drawings that share nine tenths of their codes with a training picture"
    ),
    # a ranking of all items
    **{
        f"{name}@{k}": Metric(f"{label}@{k}", True, "share", meaning)
        for name, label, meaning in (
            ("ndcg", "NDCG", "1 / log2(1 + rank) of the held-out item, averaged over cases"),
            ("hit_rate", "hit rate", "cases whose held-out item is among the first"),
            ("mrr", "MRR", "1 / rank of the held-out item, averaged over cases"),
            ("recall", "recall", "held-out items that are among the first"),
        )
        for k in (5, 10, 20)
    },
    "coverage": Metric("coverage", True, "share", "items of the catalogue that are recommended to anyone"),
    "diversity": Metric("diversity", True, "plain", "1 minus the mean cosine of the contents of a list's items"),
    "novelty": Metric("novelty", True, "plain", "mean bits of surprise: -log2 of an item's share of interactions"),
    "gini": Metric("Gini", False, "plain", "how unequally items are recommended; 0: all alike"),
    "average_popularity": Metric("mean popularity", False, "count", "training interactions of a recommended item"),
}

PRIMARY: dict[str, str] = {
    "category": "accuracy",
    "number": "mae",
    "text": "exact_match",
    "ranking": "ndcg@10",
    "language": "perplexity",
    "translation": "bleu",
    "picture": "psnr",
    "drawing": "draw_perplexity",
}
"""The metric that a verdict speaks of first, by kind of target."""
