"""Randomness from (seed, epoch, index) alone."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensorium.modalities import generator

numbers = st.integers(0, 2**40)


@given(numbers, numbers, numbers)
def test_the_same_triple_draws_the_same(seed: int, epoch: int, index: int) -> None:
    first = generator(seed, epoch, index).random(4)
    generator(seed, epoch, index + 1).random(9)
    assert np.array_equal(first, generator(seed, epoch, index).random(4))


def test_neighbours_draw_differently() -> None:
    triples = [(s, e, i) for s in range(6) for e in range(6) for i in range(6)]
    drawn = np.array([generator(*triple).random(200) for triple in triples])
    assert len(np.unique(drawn[:, 0])) == len(triples)
    between = np.corrcoef(drawn)[np.triu_indices(len(triples), 1)]
    assert np.abs(between).max() < 0.4


def test_another_process_draws_the_same() -> None:
    code = "from sensorium.modalities import generator; print(generator(1, 2, 3).integers(1 << 60))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(found) == generator(1, 2, 3).integers(1 << 60)
