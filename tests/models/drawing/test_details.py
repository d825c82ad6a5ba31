"""What an edit keeps of the picture that it was made from."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.models.drawing.details import carried


def pictures(seed: int) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [torch.rand(2, 3, 4, 4, generator=draws) * 2 - 1 for _ in range(3)]


def test_where_nothing_changed_the_source_is_left_and_where_black_became_white_the_drawing() -> None:
    _, source, rebuilt = pictures(0)
    assert torch.allclose(carried(rebuilt, source, rebuilt), source, atol=1e-6)
    white, black = torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2)
    assert torch.equal(carried(white, 0.5 * black, black), white)


@given(st.integers(0, 1000))
def test_each_place_lies_between_the_drawing_and_the_drawing_with_all_that_was_lost(seed: int) -> None:
    drawn, source, rebuilt = pictures(seed)
    found, lost = carried(drawn, source, rebuilt), source - rebuilt
    share = (found - drawn) / lost
    assert found.shape == drawn.shape and share.min() >= -1e-3 and share.max() <= 1 + 1e-3
    expected = 1 - (drawn - rebuilt).abs().mean(1) / 2  # the same share in all three colours
    assert torch.allclose(share, expected[:, None].expand_as(share), atol=1e-2)
