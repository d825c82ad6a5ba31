"""Losses over a catalogue against NumPy, and the sampled one against the full one."""

from __future__ import annotations

import numpy as np
import torch

from sensorium.objectives.catalogue_softmax import full_softmax, log_weights_of, sampled_softmax
from sensorium.objectives.knowledge import distmult, transe


def parts(n: int = 7, items: int = 11, width: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    users = torch.randn(n, width, generator=rng, dtype=torch.float64).float().requires_grad_()
    return users, torch.randn(items, width, generator=rng), torch.randint(items, (n,), generator=rng)


def test_the_full_softmax_is_numpys_whatever_the_chunk() -> None:
    users, items, targets = parts()
    scores = users.detach().numpy() @ items.numpy().T
    expected = (np.log(np.exp(scores).sum(1)) - scores[np.arange(7), targets.numpy()]).sum()
    whole = full_softmax(users, items, None, targets)
    (gradient,) = torch.autograd.grad(whole, users)
    for chunk in (1, 3, 7):
        found = full_softmax(users, items, None, targets, chunk)
        torch.testing.assert_close(float(found), float(expected), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.autograd.grad(found, users)[0], gradient, rtol=1e-4, atol=1e-5)


def test_with_every_item_drawn_as_often_as_expected_the_sampled_softmax_is_the_full_one() -> None:
    users, items, targets = parts()
    weights = log_weights_of(torch.full((11,), 3), torch.full((11,), 3.0))
    found = sampled_softmax(users, items, None, targets, weights, chunk=2)
    torch.testing.assert_close(found, full_softmax(users, items, None, targets))


def test_the_sampled_partition_function_is_the_full_one_in_expectation() -> None:
    """One user, whose target always stands among the candidates and counts once; other items are drawn by chance."""
    rng = np.random.default_rng(0)
    users, items, _ = parts(n=1)
    target, chances, draws = 2, np.arange(1, 12) / 66, 5
    scores = (users @ items.T)[0].detach().double().numpy()
    found = []
    for _ in range(2_000):
        drawn = np.append(rng.choice(11, draws, p=chances), target)
        candidates, counts = np.unique(drawn, return_counts=True)
        weights = log_weights_of(torch.from_numpy(counts), torch.from_numpy(draws * chances[candidates]))
        place = torch.tensor([int(np.searchsorted(candidates, target))])
        with torch.no_grad():
            loss = sampled_softmax(users, items[candidates], None, place, weights)
        found.append(np.exp(float(loss) + scores[target]))
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - np.exp(scores).sum()) < 4 * error


def test_triples_losses_are_those_of_the_papers() -> None:
    h, r, t, w = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1)).numpy()
    near, far = np.linalg.norm(h + r - t, axis=1), np.linalg.norm(h + r - w, axis=1)
    expected = np.maximum(0, 1 + near - far).sum()
    tensors = [torch.from_numpy(a) for a in (h, r, t, w)]
    np.testing.assert_allclose(float(transe(*tensors)), expected, rtol=1e-5)
    right, wrong = (h * r * t).sum(1), (h * r * w).sum(1)
    expected = (np.log1p(np.exp(-right)) + np.log1p(np.exp(wrong))).sum()
    np.testing.assert_allclose(float(distmult(*tensors)), expected, rtol=1e-5)
