"""What every encoder must do: features of the shape asked for, a summary first, neighbours and padding of no matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sensorium.data.collate import MediaItem, Sequence, collate
from sensorium.models.encoders import TableEncoder, build_encoder
from tests.tiny_models import part

Made = tuple[nn.Module, Callable[[int], Tensor]]  # encoder, and a value by its number, later ones longer


def pictures(name: str) -> Made:
    encoder = build_encoder("image", part(name), dtype=torch.float32)
    return encoder, lambda i: torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(i))


def sounds(name: str) -> Made:
    encoder = build_encoder("audio", part(name), dtype=torch.float32)
    shape = (lambda n: (80, 10 * n)) if name == "whisper" else (lambda n: (1700 * n,))
    return encoder, lambda i: torch.randn(shape(i + 1), generator=torch.Generator().manual_seed(i))


def texts(name: str) -> Made:
    encoder = build_encoder("text", part(name), dtype=torch.float32)
    return encoder, lambda i: torch.arange(5, 7 + 2 * i)


def tables(name: str) -> Made:
    torch.manual_seed(0)
    return TableEncoder(3, [4, 5]), lambda i: torch.tensor([0.1 * i, -1.0, 0.0, float(i % 4), float(i % 5)])


ENCODERS = {
    "vit": ("image", pictures, 5),
    "whisper": ("audio", sounds, 3),
    "wav2vec2": ("audio", sounds, 3),
    "bert": ("text", texts, 3),
    "table": ("table", tables, 4),
}


@pytest.fixture(params=ENCODERS)
def made(request: pytest.FixtureRequest) -> tuple[nn.Module, Callable[[int], Tensor], int]:
    _, builder, count = ENCODERS[request.param]
    return *builder(request.param), count


def encoded(encoder: nn.Module, values: list[Tensor], counts: list[int]) -> Tensor:
    """Through collate, as the model gets it."""
    items = [MediaItem("x", value, count) for value, count in zip(values, counts, strict=True)]
    media = collate([Sequence([], [], [], [], [item], []) for item in items]).media["x"]
    with torch.no_grad():
        return encoder.eval()(media.values, media.lengths, media.counts)


def test_features_have_a_row_an_item_and_a_place_a_position(made: tuple) -> None:
    encoder, value, count = made
    found = encoded(encoder, [value(i) for i in range(3)], [count] * 3)
    assert found.shape == (3, count, encoder.width) and torch.isfinite(found).all()


def test_the_first_position_sums_the_item_up_however_many_follow(made: tuple) -> None:
    encoder, value, count = made
    alone = encoded(encoder, [value(1)], [1])
    assert alone.shape == (1, 1, encoder.width)
    torch.testing.assert_close(encoded(encoder, [value(1)], [count])[:, :1], alone, atol=1e-5, rtol=0)


def test_neighbours_and_padding_change_nothing(made: tuple) -> None:
    encoder, value, count = made
    together = encoded(encoder, [value(0), value(2)], [count, count])
    for i, number in enumerate((0, 2)):
        torch.testing.assert_close(together[i], encoded(encoder, [value(number)], [count])[0], atol=1e-5, rtol=0)


def test_order_changes_nothing_but_the_order(made: tuple) -> None:
    encoder, value, count = made
    one, other = (
        encoded(encoder, [value(0), value(2)], [count] * 2),
        encoded(encoder, [value(2), value(0)], [count] * 2),
    )
    torch.testing.assert_close(one, other.flip(0), atol=1e-5, rtol=0)


def test_different_items_have_different_features(made: tuple) -> None:
    encoder, value, count = made
    found = encoded(encoder, [value(0), value(2)], [count] * 2)
    assert (found[0, 0] - found[1, 0]).abs().max() > 1e-4


def test_a_gradient_reaches_the_encoder(made: tuple) -> None:
    encoder, value, count = made
    items = [MediaItem("x", value(1), count)]
    media = collate([Sequence([], [], [], [], items, [])]).media["x"]
    encoder.requires_grad_(True).zero_grad()
    encoder(media.values, media.lengths, media.counts).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
