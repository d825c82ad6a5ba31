"""Figures of rebuilt pictures against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sensorium.metrics import pictures


def noisy(seed: int, n: int = 3, size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    first = draws.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    second = np.clip(first + draws.normal(0, 20, first.shape), 0, 255).astype(np.uint8)
    return first, second


def test_psnr_and_ssim_are_scikit_images() -> None:
    first, second = noisy(0)
    told = [peak_signal_noise_ratio(a, b) for a, b in zip(first, second, strict=True)]
    assert np.allclose(pictures.psnr(first, second), told, atol=1e-4)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    told = [
        structural_similarity(a, b, channel_axis=2, data_range=255, **gaussian)
        for a, b in zip(first, second, strict=True)
    ]
    assert np.allclose(pictures.ssim(first, second), told, atol=5e-3)


def test_equal_pictures_are_a_hundred_decibels_and_alike() -> None:
    first, _ = noisy(1)
    assert pictures.psnr(first, first).tolist() == [100.0] * 3
    assert np.allclose(pictures.ssim(first, first), 1) and not pictures.absolute_error(first, first).any()


@given(st.integers(0, 2**31), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_codes_are_counted_as_often_as_pictures_are_drawn(seed: int, n: int) -> None:
    draws = np.random.default_rng(seed)
    codes, counts = draws.integers(0, 7, (n, 4)), draws.integers(0, 3, n)
    counts[0] = 1
    flat = np.concatenate([np.tile(row, count) for row, count in zip(codes, counts, strict=True)])
    shares = np.array([np.mean(flat == code) for code in range(7)])
    shares = shares[shares > 0]
    assert pictures.codes_used(codes, 7).of(counts) == pytest.approx(len(shares) / 7)
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert pictures.code_perplexity(codes, 7).of(counts) == pytest.approx(expected)


def test_frechet_distance_is_the_formula() -> None:
    draws = np.random.default_rng(0)
    real, made = draws.normal(0, 1, (200, 5)), draws.normal(0.5, 2, (150, 5))
    first, second = np.cov(real, rowvar=False), np.cov(made, rowvar=False)
    apart = real.mean(0) - made.mean(0)
    expected = apart @ apart + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert pictures.frechet_distance(real, made) == pytest.approx(expected, rel=1e-6)
    assert pictures.frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="two pictures"):
        pictures.frechet_distance(real[:1], made)
