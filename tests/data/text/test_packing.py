"""Packed windows: coverage, boundaries, and a loss that packing does not change; mixing two streams."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.text.mixing import Mixture
from sensorium.data.text.packing import Windows, best_fit, packed
from sensorium.data.text.stream import Corpus
from sensorium.errors import DataError
from sensorium.objectives.causal_lm import token_loss
from sensorium.recipe import SplitRecipe
from sensorium.training.batches import BatchPlan, PlannedLoader
from tests.data.text.test_stream import corpus_of
from tests.models.small import VOCABULARY, tiny_gpt

SPLIT = SplitRecipe(validation=0.2, test=0.2)
documents = st.lists(st.text("ab c.", min_size=1, max_size=90), min_size=1, max_size=25)


@given(st.lists(st.integers(1, 12), max_size=60))
def test_best_fit_loses_nothing_and_overfills_nothing(lengths: list[int]) -> None:
    order, bounds = best_fit(np.array(lengths, dtype=np.int64), 12)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    sums = [sum(lengths[p] for p in order[a:b]) for a, b in pairwise(bounds)]
    assert all(0 < total <= 12 for total in sums)
    assert sum(total <= 6 for total in sums) <= 1  # two half-empty windows would have been one


@settings(max_examples=15)  # each writes shards and syncs them
@given(texts=documents, size=st.integers(3, 40), shard=st.integers(60, 400), overlap=st.integers(0, 1))
def test_every_token_is_covered_once_and_pieces_are_what_stands_in_the_documents(
    tmp_path_factory: Any, texts: list[str], size: int, shard: int, overlap: int
) -> None:
    corpus = corpus_of([text + "x" for text in texts], tmp_path_factory.mktemp("cache"), shard)
    windows = packed(corpus, size, SPLIT, overlap=overlap)
    seen: Counter[tuple[int, int]] = Counter()
    cut = dict.fromkeys(range(len(corpus)), 0)
    for window, length in zip(windows, windows.lengths):
        assert len(window.ids) == len(window.positions) == len(window.branches) == length <= size
        for branch, number in enumerate(window.documents):
            piece = window.ids[window.branches == branch]
            assert window.positions[window.branches == branch].tolist() == list(range(len(piece)))
            document = corpus.document(int(number)).tolist()
            (start,) = [s for s in starts(len(document), size, overlap) if cut_of(document, s, size) == piece.tolist()
                        and not seen[int(number), s + overlap]][:1]  # fmt: skip
            seen.update((int(number), place) for place in range(start + overlap, start + len(piece)))
            cut[int(number)] += 1
    expected = {(n, place) for n in range(len(corpus)) for place in range(overlap, len(corpus.document(n)))}
    assert set(seen) == expected and set(seen.values()) == {1}
    for number, pieces in cut.items():  # nothing is cut that would fit
        assert pieces == len(starts(len(corpus.document(number)), size, overlap))


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where pieces of a document begin, one after the other."""
    found = [0]
    while found[-1] + size < length:
        found.append(found[-1] + size - overlap)
    return found


def cut_of(document: list[int], start: int, size: int) -> list[int]:
    return document[start : start + size]


def long_and_short(folder: Path, count: int = 60) -> Corpus:
    rng = np.random.default_rng(0)
    return corpus_of([" ".join(["word"] * int(n)) + f" {i}" for i, n in enumerate(rng.integers(1, 12, count))], folder)


def test_windows_are_nearly_full_and_parts_do_not_mix(tmp_path: Path) -> None:
    corpus = corpus_of([f"text {i} " + "word " * (i % 9) for i in range(400)], tmp_path, 20_000)
    found = {part: packed(corpus, 48, SPLIT, part) for part in ("train", "validation", "test")}
    sets = [{int(d) for window in windows for d in window.documents} for windows in found.values()]
    assert set.union(*sets) == set(range(400)) and sum(map(len, sets)) == 400
    assert found["train"].lengths.mean() > 0.95 * 48


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packing_does_not_change_a_document_s_loss(tmp_path: Path, gpt: str, attention: str) -> None:
    """Each document alone against the same in windows: positions that begin anew and no mask, as transformers packs."""
    corpus, model = long_and_short(tmp_path), tiny_gpt(gpt, attention)
    in_windows = dict.fromkeys(range(len(corpus)), 0.0)
    with torch.no_grad():
        for window in packed(corpus, 64, SPLIT):
            ids = torch.from_numpy(window.ids % VOCABULARY)
            positions = torch.from_numpy(window.positions)
            logits = model(input_ids=ids[None], position_ids=positions[None], use_cache=False).logits[0]
            sources = torch.from_numpy(window.sources)
            for source in sources:
                number = int(window.documents[window.branches[source]])
                in_windows[number] += float(token_loss(logits[source : source + 1], ids[source + 1 : source + 2]).total)
        for number in range(len(corpus)):
            ids = torch.from_numpy(corpus.document(number) % VOCABULARY)
            assert len(ids) <= 64
            alone = token_loss(model(input_ids=ids[None]).logits[0, :-1], ids[1:])
            assert in_windows[number] / alone.count == pytest.approx(float(alone.total) / alone.count, abs=1e-5)


def test_a_neighbour_changes_nothing(tmp_path: Path) -> None:
    corpus, model = long_and_short(tmp_path), tiny_gpt("llama")
    window = next(w for w in packed(corpus, 64, SPLIT) if len(w.documents) > 2)
    ids, positions = torch.from_numpy(window.ids % VOCABULARY)[None], torch.from_numpy(window.positions)[None]
    other = torch.where(torch.from_numpy(window.branches)[None] == 0, (ids + 1) % VOCABULARY, ids)
    with torch.no_grad():
        one, two = (model(input_ids=i, position_ids=positions, use_cache=False).logits[0] for i in (ids, other))
    rest = torch.from_numpy(window.branches) != 0
    torch.testing.assert_close(one[rest], two[rest], atol=1e-6, rtol=0)
    assert not torch.allclose(one[~rest], two[~rest])


def test_the_plan_is_kept_and_is_the_same_after_pickling(tmp_path: Path) -> None:
    corpus = long_and_short(tmp_path)
    one = packed(corpus, 32, SPLIT, "train")
    plans = sorted(path.stat().st_mtime_ns for path in one.folder.rglob("*.npy"))
    again: Windows = pickle.loads(pickle.dumps(packed(corpus, 32, SPLIT, "train")))
    assert sorted(path.stat().st_mtime_ns for path in one.folder.rglob("*.npy")) == plans
    for a, b in zip(one, again):
        np.testing.assert_array_equal(a.ids, b.ids)
    assert packed(corpus, 40, SPLIT, "train").folder != one.folder
    other = SPLIT.model_copy(update={"seed": 9})
    assert packed(corpus, 32, other, "train").folder != one.folder


def test_a_part_without_documents_is_refused(tmp_path: Path) -> None:
    corpus = corpus_of(["one"], tmp_path)
    empty = [part for part in ("train", "validation", "test") if not any_of(corpus, part)]
    assert len(empty) == 2
    with pytest.raises(DataError, match=f"data.split: no document is left for {empty[0]}; add documents"):
        packed(corpus, 32, SPLIT, empty[0])


def any_of(corpus: Corpus, part: str) -> bool:
    try:
        return bool(len(packed(corpus, 32, SPLIT, part)))
    except DataError:
        return False


class Reading:
    """Windows as units, for the loader."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __getitem__(self, key: tuple[int, int]) -> np.ndarray:
        return self.windows[key[1]].ids


def as_rows(found: list[np.ndarray]) -> list[list[int]]:
    return [ids.tolist() for ids in found]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_training_goes_on_in_mid_stream_with_the_very_windows_that_are_left(
    tmp_path: Path, workers: int, world: int
) -> None:
    """From a step number alone, for any number of workers and processes."""
    windows = packed(long_and_short(tmp_path, 200), 32, SPLIT, "train")
    plan = BatchPlan(windows.lengths, 8, 4, seed=3)
    loader = PlannedLoader(Reading(windows), as_rows, plan, workers)  # type: ignore[arg-type]
    whole = list(PlannedLoader(Reading(windows), as_rows, plan).load(1, plan.epoch(1).share(0, plan.steps, 0, 1)))  # type: ignore[arg-type]
    at = plan.steps // 2
    rest = [list(loader.load(1, plan.epoch(1).share(at, plan.steps, rank, world))) for rank in range(world)]
    woven = [batch for together in zip(*rest) for batch in together]
    assert woven == whole[at * plan.per_step :]


# -- mixing ----------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 40), st.floats(0, 0.9), st.integers(0, 5))
def test_mixing_keeps_every_main_unit_and_replays_the_share(main: int, replay: int, share: float, seed: int) -> None:
    mixture = Mixture(main, replay, share, seed)
    counts = np.zeros(replay, dtype=int)
    for epoch in range(3):
        found = [mixture(epoch, unit) for unit in range(len(mixture))]
        assert sorted(number for replayed, number in found if not replayed) == list(range(main))
        again = [number for replayed, number in found if replayed]
        assert abs(len(again) - share * len(found)) <= 0.51
        np.add.at(counts, again, 1)
        assert found == [Mixture(main, replay, share, seed)(epoch, unit) for unit in range(len(mixture))]
    assert np.ptp(counts) <= 1  # none comes again before all came


def test_nothing_to_replay_is_refused() -> None:
    with pytest.raises(DataError, match=r"pretraining\.replay: there is nothing to replay"):
        Mixture(3, 0, 0.5)
