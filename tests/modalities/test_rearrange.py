"""Pictures moved, mirrored and recoloured without losing a pixel's sharpness."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.modalities import generator
from sensorium.modalities.image import moved, rearrange


@given(st.integers(0, 10**6), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_the_shape_stays_values_are_old_ones_and_the_seed_decides(seed: int, most: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    first, again = (rearrange(picture, generator(0, 1, seed), most) for _ in range(2))
    assert first.shape == picture.shape and first.dtype == np.uint8 and np.array_equal(first, again)
    assert set(np.unique(first)) <= set(np.unique(picture))
    if not most:  # nothing is moved: each row holds the same numbers
        assert np.array_equal(np.sort(first.reshape(12, -1), 1), np.sort(picture.reshape(12, -1), 1))


@given(st.integers(-3, 3), st.integers(-3, 3))
@settings(max_examples=30, deadline=None)
def test_each_pixel_comes_from_so_far_away_and_the_edge_goes_on(down: int, across: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    found = moved(picture, down, across)
    for i in range(6):
        for j in range(5):
            assert np.array_equal(found[i, j], picture[np.clip(i - down, 0, 5), np.clip(j - across, 0, 4)])
