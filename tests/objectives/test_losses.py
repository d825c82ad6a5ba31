"""Losses against the formulas, written again in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from sensorium.data.collate import collate
from sensorium.data.rows import Example
from sensorium.objectives.causal_lm import causal_lm_loss
from sensorium.objectives.supervised import class_loss, number_loss
from sensorium.tasks.classify import balanced_weights
from tests.tiny_models import model_of, processor_of

RNG = np.random.default_rng(0)
OUTPUTS, TARGETS = RNG.normal(size=(7, 4)).astype(np.float32), np.array([0, 3, 1, 1, 2, 0, 3])


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_loss_is_the_weighted_sum_of_cross_entropies(weighted: bool, smoothing: float) -> None:
    weights = np.array([0.5, 2.0, 1.0, 3.0], dtype=np.float32) if weighted else np.ones(4, dtype=np.float32)
    logs = log_softmax(OUTPUTS)
    right = (1 - smoothing) * weights[TARGETS] * logs[np.arange(7), TARGETS]
    others = smoothing / 4 * (weights * logs).sum(1)
    found = class_loss(
        torch.from_numpy(OUTPUTS),
        torch.from_numpy(TARGETS.astype(np.float32)),  # a batch keeps classes as floats
        torch.from_numpy(weights) if weighted else None,
        smoothing,
    )
    np.testing.assert_allclose(found.item(), -(right + others).sum(), rtol=1e-5)


def test_number_loss_is_half_the_sum_of_squares() -> None:
    outputs, targets = OUTPUTS[:, :1], RNG.normal(size=7).astype(np.float32)
    found = number_loss(torch.from_numpy(outputs), torch.from_numpy(targets))
    np.testing.assert_allclose(found.item(), 0.5 * ((outputs[:, 0] - targets) ** 2).sum(), rtol=1e-5)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6))
def test_balanced_weights_are_scikit_learn_s(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    np.testing.assert_allclose(balanced_weights(np.array(counts)).numpy(), expected, rtol=1e-5)


def test_a_class_without_rows_has_a_finite_weight() -> None:
    assert torch.isfinite(balanced_weights(np.array([5, 0]))).all()


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_causal_lm_loss_is_minus_log_p_of_the_answer_s_tokens(gpt: str, smoothing: float) -> None:
    """Against the library's own forward pass over the whole text, and the formula."""
    processor = processor_of({"words": "text"}, gpt=gpt)
    model = model_of(processor, gpt=gpt)
    rows = [Example(0, {"words": "which colour is it?"}, "red"), Example(1, {"words": "shape"}, "a square")]
    expected = 0.0
    for row in rows:
        sequence = processor.sequence([row])
        with torch.no_grad():
            logs = log_softmax(model.backbone(input_ids=torch.tensor([sequence.ids])).logits[0].numpy())
        taught = [*processor.tokenizer.encode(row.target), processor.tokenizer.eos_token_id]
        start = next(i for i in range(len(sequence.ids)) if sequence.ids[i : i + len(taught)] == taught)
        for i, token in enumerate(taught):
            at = logs[start + i - 1]
            expected -= (1 - smoothing) * at[token] + smoothing * at.mean()
    found = causal_lm_loss(model, collate([processor.sequence([row]) for row in rows]), smoothing)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-4)
