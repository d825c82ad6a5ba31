"""How alike pictures look to an encoder, and the critic that tells real ones."""

from __future__ import annotations

import numpy as np
import torch
from transformers import ViTConfig, ViTModel

from sensorium.models.drawing.critic import Critic
from sensorium.models.drawing.perceptual import Perceptual
from sensorium.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig

HALF = (0.5, 0.5, 0.5)


def encoder() -> EfficientNetLite:
    torch.manual_seed(0)
    stages = [(1, 3, 1, 1, 8), (1, 3, 2, 2, 12), (1, 3, 2, 2, 16)]
    return EfficientNetLite(EfficientNetLiteConfig(hidden_size=16, num_classes=0, stem_channels=8, stages=stages))


def test_the_distance_is_the_formula_over_the_last_state_of_each_resolution() -> None:
    model = Perceptual(encoder(), HALF, HALF)
    first, second = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        given = model(first, second).numpy()
        states = [
            [s.numpy() for s in model.encoder(x, output_hidden_states=True).hidden_states[1:]] for x in (first, second)
        ]
    expected = np.zeros(2)
    for a, b in zip(*states, strict=True):
        a, b = (s / (np.linalg.norm(s, axis=1, keepdims=True) + 1e-3) for s in (a, b))
        expected += ((a - b) ** 2).sum(1).mean((1, 2)) / 3
    assert np.allclose(given, expected, atol=1e-5)


def test_equal_pictures_are_no_distance_apart_and_the_batch_does_not_matter() -> None:
    model = Perceptual(encoder(), HALF, HALF).train()
    pictures = torch.rand(4, 3, 32, 32) * 2 - 1
    assert not model.encoder.training
    assert torch.allclose(model(pictures, pictures), torch.zeros(4), atol=1e-6)
    whole = model(pictures, pictures.flip(0))
    single = torch.cat([model(pictures[i : i + 1], pictures[3 - i : 4 - i]) for i in range(4)])
    assert torch.allclose(whole, single, atol=1e-5)


def test_gradients_reach_the_pictures_and_not_the_encoder() -> None:
    model = Perceptual(encoder(), HALF, HALF)
    picture = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
    model(picture, torch.zeros(1, 3, 32, 32)).sum().backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.encoder.parameters())


def test_an_encoder_of_one_size_sees_pictures_at_that_size() -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = Perceptual(ViTModel(ViTConfig(image_size=32, patch_size=8, **small)), HALF, HALF)
    assert model(torch.zeros(2, 3, 64, 64), torch.ones(2, 3, 64, 64)).shape == (2,)


def test_each_side_of_the_critic_teaches_its_own_part_alone() -> None:
    torch.manual_seed(0)
    critic = Critic(width=8, layers=2).eval()  # spectral norms stand still
    real, made = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16, requires_grad=True)
    critic(real, made, 0.0).sum().backward()
    assert made.grad is None or not made.grad.any()
    alone = [p.grad.clone() for p in critic.parameters()]
    critic.zero_grad()
    critic(real, made, 3.0).sum().backward()
    assert all(torch.allclose(p.grad, before, atol=1e-5) for p, before in zip(critic.parameters(), alone, strict=True))
    given = made.grad.clone()
    made.grad = None
    (-3.0 * critic.layers(made)).flatten(1).mean(1).sum().backward()
    assert torch.allclose(given, made.grad, atol=1e-6)


def test_the_critic_learns_to_tell_and_pushes_pictures_towards_the_real_ones() -> None:
    torch.manual_seed(0)
    critic = Critic(width=8, layers=2)
    real, made = torch.ones(4, 3, 16, 16), torch.full((4, 3, 16, 16), -0.5)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    first = critic(real, made, 0.0).mean().item()
    for _ in range(40):
        optimizer.zero_grad()
        critic(real, made, 0.0).mean().backward()
        optimizer.step()
    assert critic(real, made, 0.0).mean().item() < 0.5 * first
    moved = made.clone().requires_grad_()
    critic(real, moved, 1.0).sum().backward()
    better = made - 0.1 * moved.grad.sign()
    with torch.no_grad():
        assert critic.layers(better).mean() > critic.layers(made).mean()  # nearer to passing
