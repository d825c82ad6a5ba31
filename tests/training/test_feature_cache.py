"""The store of computed features: same bits however it was interrupted, each content once, within its budget."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import RunError
from sensorium.training.feature_cache import Features, MappedFeatures, cached_features, feature_key, weights_hash

WIDTH = 3


class Compute:
    """Row → (row's content modulo 4, WIDTH) numbers that tell the content; dies at call ``dies_at``."""

    def __init__(self, contents: list[str], dies_at: int = -1) -> None:
        self.contents, self.calls, self.dies_at = contents, [], dies_at

    def __call__(self, rows: list[int]) -> list[np.ndarray]:
        if len(self.calls) == self.dies_at:
            raise KeyboardInterrupt
        self.calls.append([self.contents[row] for row in rows])
        # the batch's first row leaks into each, as rounding does with a batch's size: shards must stay the same
        return [self.expected(self.contents[row]) + 1e-3 * len(rows) for row in rows]

    @staticmethod
    def expected(content: str) -> np.ndarray:
        seed = int(content, 16)
        return np.random.default_rng(seed).normal(size=(seed % 4, WIDTH)).astype(np.float32)


def contents_of(numbers: list[int]) -> list[str]:
    return [f"{number:x}" for number in numbers]


def store(folder: Path, compute: Compute, **settings: Any) -> Features:
    settings = {"dtype": torch.float32, "shard_rows": 3, "say": lambda line: None} | settings
    return cached_features(folder, "key", compute.contents, compute, **settings)


@given(numbers=st.lists(st.integers(0, 40), max_size=30), dies_at=st.integers(0, 12))
def test_interruption_changes_no_bit_and_loses_one_shard(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], dies_at: int
) -> None:
    contents, folder = contents_of(numbers), tmp_path_factory.mktemp("features")
    whole = store(folder / "whole", Compute(contents))
    first, second = Compute(contents, dies_at), Compute(contents)
    try:
        store(folder / "cut", first)
    except KeyboardInterrupt:
        assert len(first.calls) == dies_at
    again = store(folder / "cut", second)
    assert sorted(chain.from_iterable(first.calls + second.calls)) == sorted(
        set(contents)
    )  # each content once, over both sittings
    assert len(again) == len(contents) and again.lengths is not None
    for i, content in enumerate(contents):
        assert torch.equal(again[i], whole[i]) and len(again[i]) == again.lengths[i] == int(content, 16) % 4
        np.testing.assert_allclose(again[i], Compute.expected(content), atol=4e-3)


def test_order_and_repeats_of_rows_share_the_shards(tmp_path: Path) -> None:
    store(tmp_path, Compute(contents_of([5, 1, 9, 1, 7])))
    other = Compute(contents_of([9, 7, 7, 5, 1]))
    features = store(tmp_path, other)
    assert other.calls == []
    np.testing.assert_allclose(features[0], Compute.expected("9"), atol=4e-3)
    assert features.on_disk


def test_other_key_or_type_is_another_store(tmp_path: Path) -> None:
    contents = contents_of([1, 2])
    store(tmp_path, Compute(contents))
    again = Compute(contents)
    cached_features(tmp_path, "other", contents, again, dtype=torch.float32, shard_rows=3)
    store(tmp_path, again, dtype=torch.bfloat16)
    assert len(again.calls) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_are_kept_bit_for_bit_and_mapped_without_copies(tmp_path: Path, dtype: torch.dtype) -> None:
    given = [torch.randn(n, 5).to(dtype) for n in (2, 0, 4)]
    features = cached_features(tmp_path, "k", ["a", "b", "c"], lambda rows: [given[row] for row in rows], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i, tensor in enumerate(given):
            assert features[i].dtype == dtype and torch.equal(features[i], tensor)
    assert features[2].data_ptr() == features[2].data_ptr() == features[2][:1].data_ptr()
    assert isinstance(features, MappedFeatures)
    assert torch.equal(pickle.loads(pickle.dumps(features))[2], given[2])  # as a data worker gets it


def test_bf16_bits_as_uint16(tmp_path: Path) -> None:
    bits = torch.randn(3, 2).to(torch.bfloat16)
    features = cached_features(tmp_path, "k", ["a"], lambda rows: [bits.view(torch.uint16).numpy()])
    assert torch.equal(features[0], bits)


def test_over_budget_computes_anew_and_says_so(tmp_path: Path) -> None:
    contents, said = contents_of([7, 11, 15, 7, 19, 23]), []
    compute = Compute(contents)
    features = store(tmp_path, compute, budget_bytes=200, say=said.append, shard_rows=2)
    assert not features.on_disk and features.lengths is None and len(features) == 6
    (line,) = said
    assert line.startswith(
        "cached features would take 0.00 GB, training.cache_gigabytes allows 0.00: features are computed"
    )
    assert len(compute.calls) == 1  # the shard that told the size
    for i, content in enumerate(contents):
        np.testing.assert_allclose(features[i], Compute.expected(content), atol=4e-3)
        assert torch.equal(features[i], features[i])
    assert compute.calls[1:] == [[content] for content in contents]  # one row a call; the second look is kept
    with pytest.raises(IndexError):
        features[6]


def test_keeps_only_so_many_bytes_computed() -> None:
    from sensorium.training.feature_cache import ComputedFeatures

    compute = Compute(contents_of([3, 7, 11]))
    features = ComputedFeatures(compute, 3, torch.float32, keep_bytes=2 * 3 * WIDTH * 4)
    for i in (0, 1, 0, 2, 0, 1):
        features[i]
    assert compute.calls == [["3"], ["7"], ["b"], ["7"]]


def test_full_disk_computes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sensorium.training import feature_cache

    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    said: list[str] = []
    assert not store(tmp_path, Compute(contents_of(list(range(20)))), say=said.append).on_disk
    assert "GB are free in" in said[0]


def test_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    contents = contents_of([1, 2, 3, 5, 6, 7])
    whole = [tensor.clone() for tensor in store(tmp_path, Compute(contents))]  # type: ignore[attr-defined]
    for path, keep in zip(sorted(tmp_path.rglob("*.safetensors")), (20, 3), strict=True):
        path.write_bytes(path.read_bytes()[:keep])
    again = Compute(contents)
    features = store(tmp_path, again)
    assert len(again.calls) == 2
    assert all(torch.equal(features[i], tensor) for i, tensor in enumerate(whole))


def test_missing_shard_is_one_line(tmp_path: Path) -> None:
    features = pickle.loads(pickle.dumps(store(tmp_path, Compute(contents_of([1, 2])))))
    next(tmp_path.rglob("*.safetensors")).unlink()
    with pytest.raises(RunError, match="cached features is missing or damaged; run the same command again"):
        features[0]


def test_several_at_once_share_the_work(tmp_path: Path) -> None:
    """Threads hold separate locks, as processes do; every shard is in place for each when its call returns."""
    contents = contents_of(list(range(60)))
    computes = [Compute(contents) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda compute: store(tmp_path, compute), computes))
    assert sorted(content for compute in computes for call in compute.calls for content in call) == sorted(contents)
    assert all(torch.equal(results[0][i], r[i]) for r in results for i in range(60))
    assert not list(tmp_path.rglob("*.lock"))


def test_progress_counts_unique_rows(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    store(tmp_path, Compute(contents_of([4, 4, 5, 6, 7])), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 4), (1, 4)]


def test_wrong_shapes_are_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 arrays for 1 rows"):
        cached_features(tmp_path, "k", ["a"], lambda rows: [torch.zeros(1, 2)] * 2)
    with pytest.raises(ValueError, match="one width"):
        cached_features(tmp_path, "k", ["a", "b"], lambda rows: [torch.zeros(1, 2), torch.zeros(1, 3)])


def test_keys_follow_weights_and_settings() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    before = weights_hash(layer)
    assert (
        feature_key(before, size=128, pool=2)
        == feature_key(before, pool=2, size=128)
        != feature_key(before, size=64, pool=2)
    )
    with torch.no_grad():
        layer.bias[0] += 1
    assert weights_hash(layer) != before
