"""Objectives of pre-training against the formulas, written again in NumPy, in fp64 to 1e-6."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.objectives.causal_lm import token_loss
from sensorium.objectives.contrastive import contrastive_loss, similarities
from sensorium.objectives.loss import IGNORED
from sensorium.objectives.masked_lm import hidden_places, masked_lm_loss
from sensorium.objectives.matching import matching_loss, pairs
from sensorium.objectives.next_sentence import next_sentence_likelihood, next_sentence_loss

seeds = st.integers(0, 2**31)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def tokens(seed: int, shape: tuple[int, ...] = (3, 5), vocabulary: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Logits (…, vocabulary) and targets (…), some of them not supervised."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(vocabulary, size=shape)
    return rng.normal(scale=3, size=(*shape, vocabulary)), np.where(rng.random(shape) < 0.4, IGNORED, targets)


def summed(logits: np.ndarray, targets: np.ndarray) -> float:
    """−Σ log P one token at a time."""
    return -sum(
        float(log_softmax(logits[place])[targets[place]])
        for place in np.ndindex(targets.shape)
        if targets[place] != IGNORED
    )


@given(seeds)
def test_token_and_masked_losses_sum_over_supervised_places_alone(seed: int) -> None:
    logits, targets = tokens(seed)
    for loss in (token_loss, masked_lm_loss):
        found = loss(torch.from_numpy(logits), torch.from_numpy(targets))
        assert found.count == (targets != IGNORED).sum()
        np.testing.assert_allclose(float(found.total), summed(logits, targets), atol=1e-6, rtol=0)


@given(seeds)
def test_logits_at_hidden_places_alone_give_the_same_loss_and_gradient(seed: int) -> None:
    logits, targets = (torch.from_numpy(x) for x in tokens(seed))
    logits.requires_grad_()
    places = hidden_places(targets)
    (whole,) = torch.autograd.grad(masked_lm_loss(logits, targets).total, logits)
    part = masked_lm_loss(logits.flatten(0, 1)[places], targets.flatten()[places])
    assert part.count == len(places)
    torch.testing.assert_close(torch.autograd.grad(part.total, logits)[0], whole)


def test_a_batch_that_hides_nothing_adds_nothing() -> None:
    found = masked_lm_loss(torch.randn(1, 2, 3, requires_grad=True), torch.full((1, 2), IGNORED))
    assert (found.count, float(found.total)) == (0, 0.0)
    found.total.backward()


def test_bf16_logits_are_summed_in_fp32() -> None:
    logits, targets = tokens(0, (200,))
    rounded = torch.from_numpy(logits).bfloat16()
    found = token_loss(rounded, torch.from_numpy(targets))
    assert found.total.dtype == torch.float32
    np.testing.assert_allclose(float(found.total), summed(rounded.double().numpy(), targets), rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_mixes_in_the_mean_over_the_vocabulary(smoothing: float) -> None:
    logits, targets = tokens(1, (9,))
    kept = targets != IGNORED
    logs = log_softmax(logits[kept])
    expected = -((1 - smoothing) * logs[np.arange(kept.sum()), targets[kept]] + smoothing * logs.mean(1)).sum()
    found = token_loss(torch.from_numpy(logits), torch.from_numpy(targets), smoothing)
    np.testing.assert_allclose(float(found.total), expected, atol=1e-6, rtol=0)


@given(seeds, st.integers(1, 20))
def test_binary_heads_are_the_logistic_loss(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    outputs, targets = rng.normal(scale=4, size=n), rng.integers(2, size=n)
    p = 1 / (1 + np.exp(-outputs))
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum()
    for loss in (next_sentence_loss, matching_loss):
        found = loss(torch.from_numpy(outputs), torch.from_numpy(targets))
        assert found.count == n
        np.testing.assert_allclose(float(found.total), expected, atol=1e-6, rtol=1e-9)


@given(seeds)
def test_the_likelihood_of_next_sentences_is_a_sum_of_sentences(seed: int) -> None:
    """N pairs; each sentence's probability is the product of its tokens'."""
    logits, targets = tokens(seed)
    per_sentence = [np.exp(-summed(logits[i], targets[i])) for i in range(3)]
    found = next_sentence_likelihood(torch.from_numpy(logits), torch.from_numpy(targets), pairs=3)
    np.testing.assert_allclose(float(found.total) / found.count, -np.mean(np.log(per_sentence)), atol=1e-6, rtol=0)


def vectors(seed: int, n: int = 6, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), rng.normal(size=(n, width))


@given(seeds, st.floats(-1, 6))
def test_the_contrastive_loss_is_that_of_clip(seed: int, log_scale: float) -> None:
    left, right = vectors(seed)
    scale = min(np.exp(log_scale), 100.0)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right)]
    scores = scale * unit[0] @ unit[1].T
    ways = [-np.diag(log_softmax(table)).sum() for table in (scores, scores.T)]
    found = contrastive_loss(
        torch.from_numpy(left), torch.from_numpy(right), torch.tensor(log_scale, dtype=torch.float64)
    )
    assert found.count == 6
    np.testing.assert_allclose(float(found.total), sum(ways) / 2, atol=1e-6, rtol=1e-9)


@given(seeds)
def test_items_of_one_group_are_no_negatives_of_each_other(seed: int) -> None:
    left, right = vectors(seed)
    groups = np.array([0, 0, 1, 2, 2, 2])
    scores = similarities(*map(torch.from_numpy, (left, right)), torch.zeros(()).double()).numpy()
    expected = 0.0
    for i in range(6):
        others = [j for j in range(6) if j == i or groups[j] != groups[i]]
        expected -= scores[i, i] - np.log(np.exp(scores[i, others]).sum())
        expected -= scores[i, i] - np.log(np.exp(scores[others, i]).sum())
    log_scale = torch.zeros((), dtype=torch.float64)
    found = contrastive_loss(torch.from_numpy(left), torch.from_numpy(right), log_scale, torch.from_numpy(groups))
    np.testing.assert_allclose(float(found.total), expected / 2, atol=1e-6, rtol=0)


@given(seeds, st.lists(st.integers(0, 3), min_size=1, max_size=8), st.booleans())
def test_wrong_pairs_are_wrong_and_every_item_has_its_own(seed: int, numbers: list[int], hard: bool) -> None:
    torch.manual_seed(seed)
    n, groups = len(numbers), torch.tensor(numbers)
    made = pairs(torch.randn(n, n), groups, hard)
    right = made.matches == 1
    assert made.left[right].tolist() == made.right[right].tolist() == list(range(n))
    wrong = ~right
    assert (groups[made.left[wrong]] != groups[made.right[wrong]]).all()
    alone = len(set(numbers)) == 1
    assert int(wrong.sum()) == (0 if alone else 2 * n)
    if not alone:
        assert made.left[wrong][:n].tolist() == made.right[wrong][n:].tolist() == list(range(n))


def test_hard_negatives_come_by_the_softmax_of_their_scores() -> None:
    scores = torch.zeros(4, 4)
    scores[0] = torch.tensor([9.0, 2.0, 1.0, 0.0])
    torch.manual_seed(0)
    drawn = [int(pairs(scores).right[4]) for _ in range(4_000)]  # of the first left item
    expected = np.exp([2.0, 1.0, 0.0]) / np.exp([2.0, 1.0, 0.0]).sum()
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], expected, atol=4 * 0.5 / np.sqrt(len(drawn)))
    assert np.ptp(np.bincount([int(pairs(scores, hard=False).right[4]) for _ in range(3_000)])[1:]) < 200
