"""How well pictures are rebuilt, and how much of a codebook they use.

Figures are kept by picture, so that resampling is one matrix product; those of all pictures together (codes, Fréchet
distance) take how often each picture counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sensorium.metrics.statistic import Counted, Statistic, mean

ALIKE = 100.0  # dB: what equal pictures get


def psnr(pictures: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB (n,) of (n, height, width, 3) uint8 each; 100 for equal ones."""
    error = _apart(pictures, rebuilt)
    squared = (error**2).reshape(len(error), -1).mean(1)
    return np.minimum(-10 * np.log10(np.maximum(squared, 10 ** (-ALIKE / 10))), ALIKE)


def absolute_error(pictures: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """Mean absolute difference (n,) of pixels from 0 to 1, of (n, height, width, 3) uint8 each."""
    error = _apart(pictures, rebuilt)
    found: np.ndarray = np.abs(error).reshape(len(error), -1).mean(1)
    return found


def ssim(pictures: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """Structural similarity (n,) with Gaussian windows of 11 pixels (Wang et al. 2004), of (n, height, width, 3) uint8."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    first, second = (torch.from_numpy(p).permute(0, 3, 1, 2).float() / 255 for p in (pictures, rebuilt))
    found = structural_similarity_index_measure(second, first, data_range=1.0, reduction="none")
    return np.asarray(found.reshape(len(pictures)), dtype=np.float64)


def statistics(
    columns: Mapping[str, np.ndarray], codes: np.ndarray | None = None, codebook: int = 0
) -> dict[str, Statistic | Counted]:
    """The means of columns (n,) that are named as metrics, and of codes (n, places) what they use of the codebook."""
    found: dict[str, Statistic | Counted] = {name: mean(values) for name, values in columns.items()}
    if codes is not None:
        found["codes_used"] = codes_used(codes, codebook)
        found["code_perplexity"] = code_perplexity(codes, codebook)
    return found


def codes_used(codes: np.ndarray, codebook: int) -> Counted:
    """Share of ``codebook`` codes that occur at all in (n, places)."""

    def share(counts: np.ndarray) -> float:
        return len(np.unique(codes[counts > 0])) / codebook

    return Counted(len(codes), share)


def code_perplexity(codes: np.ndarray, codebook: int) -> Counted:
    """exp of the entropy of codes (n, places), pictures counting as often as they are drawn."""

    def perplexity(counts: np.ndarray) -> float:
        weights = np.repeat(counts, codes.shape[1])
        shares = np.bincount(codes.ravel(), weights, codebook)
        shares = shares[shares > 0] / shares.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))

    return Counted(len(codes), perplexity)


def frechet_distance(real: np.ndarray, made: np.ndarray) -> float:
    """Fréchet distance between normal distributions fitted to features (n, width) and (m, width) (Heusel et al. 2017).

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), the root's trace by the singular values of Σ₁^½ Σ₂^½.

    Raises:
        ValueError: fewer than two rows on a side.
    """
    if min(len(real), len(made)) < 2:
        raise ValueError("a spread needs two pictures at least")
    apart = real.mean(0) - made.mean(0)
    spread, other = (np.atleast_2d(np.cov(one.astype(np.float64), rowvar=False)) for one in (real, made))
    root = np.linalg.svd(_root(spread) @ _root(other), compute_uv=False).sum()
    return float(max(0.0, apart @ apart + np.trace(spread) + np.trace(other) - 2 * root))


def _root(spread: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(spread)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _apart(pictures: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    return (rebuilt.astype(np.float32) - pictures.astype(np.float32)) / 255
