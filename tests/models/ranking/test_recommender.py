"""The ranking model: padding, causality, order of the catalogue, what is missing, saving."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.data.interactions.arrays import Histories
from sensorium.models.ranking.config import RecommenderConfig
from sensorium.models.ranking.inputs import Sequences
from sensorium.models.ranking.item_tower import Content
from sensorium.models.ranking.recommender import Recommender

ITEMS, USERS, STEPS = 12, 3, 5


def contents() -> dict[str, Content]:
    rng = torch.Generator().manual_seed(3)
    present = torch.arange(ITEMS) != 4
    ids = torch.randint(2, 5, (ITEMS,), generator=rng)
    return {
        "title": Content(torch.randn(ITEMS, 6, generator=rng) * present[:, None], present),
        "colour": Content(ids * present, present, 5),
    }


def model(fusion: str = "tokens", known: torch.Tensor | None = None, reviews: int = 0) -> Recommender:
    torch.manual_seed(0)
    config = RecommenderConfig(
        items=ITEMS, users=USERS, width=8, layers=2, heads=2, history=STEPS, fusion=fusion,
        shapes={"title": [[ITEMS, 6], None], "colour": [[ITEMS], 5]}, user_numbers=2, user_categories=[4],
        entities=4, relations=2, reviews=[reviews, 6] if reviews else None,
    )  # fmt: skip
    built = Recommender(config)
    with torch.no_grad():
        for parameter in built.parameters():  # far from the small first weights, so that everything counts
            parameter.add_(0.3 * torch.randn(parameter.shape))
    of_item = torch.tensor([0, 1, 2, 3] + [-1] * (ITEMS - 4))
    known = torch.ones(ITEMS, dtype=torch.bool) if known is None else known
    said = Content(torch.randn(reviews, 6), torch.ones(reviews, dtype=torch.bool)) if reviews else None
    built.fill(contents(), known, of_item, torch.randn(USERS, 2), torch.randint(4, (USERS, 1)), said)
    return built.eval()


def history(steps: int = STEPS, pad: int = 0) -> Histories:
    rng = np.random.default_rng(0)
    items = rng.integers(ITEMS, size=(USERS, STEPS))[:, :steps]
    gaps = rng.uniform(0, 1e5, (USERS, STEPS)).astype(np.float32)[:, :steps]
    ratings = rng.integers(1, 6, (USERS, STEPS)).astype(np.float32)[:, :steps]
    left = ((0, 0), (pad, 0))
    return Histories(
        np.pad(items, left, constant_values=-1),
        np.pad(gaps, left),
        np.pad(ratings, left, constant_values=np.nan),
        np.arange(USERS),
    )


@pytest.mark.parametrize("pad", [1, 3])
def test_padding_on_the_left_changes_nothing(pad: int) -> None:
    built = model()
    shown, padded = (built.states(Sequences.of(h))[:, -1] for h in (history(2), history(2, pad)))
    torch.testing.assert_close(shown, padded, atol=1e-5, rtol=0)


def test_what_comes_later_changes_no_earlier_prediction() -> None:
    built, whole = model(), history()
    states = built.states(Sequences.of(whole))
    for steps in range(1, STEPS):  # a prefix foretells in a longer history what it foretells alone
        torch.testing.assert_close(states[:, steps], built.user_vectors(history(steps)), atol=1e-5, rtol=0)
    changed = history()
    changed.items[:, -1] = (changed.items[:, -1] + 1) % ITEMS
    changed.gaps[:, -1], changed.ratings[:, -1] = 9e6, 1.5
    other = built.states(Sequences.of(changed))
    torch.testing.assert_close(states[:, :-1], other[:, :-1], atol=1e-6, rtol=0)
    assert (states[:, -1] - other[:, -1]).abs().max() > 1e-3


def test_an_empty_history_says_what_the_attributes_say() -> None:
    built, empty = model(), history(0)
    vectors = built.user_vectors(empty)
    assert vectors.shape == (USERS, 8) and not torch.allclose(vectors[0], vectors[1])
    without = built.user_vectors(empty, frozenset({"users"}))
    visitors = built.user_vectors(Histories(empty.items, empty.gaps, empty.ratings, np.full(USERS, -1)))
    torch.testing.assert_close(without, visitors)


def test_the_order_of_the_catalogue_does_not_matter() -> None:
    built, other = model(), model()
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(1))  # the new item i is the old order[i]
    place = order.argsort()
    with torch.no_grad():
        for name, tensor in other.tower.state_dict().items():
            if len(tensor) == ITEMS and name.split(".")[-1] in ("values", "present", "known", "of_item"):
                tensor.copy_(tensor[order].clone())
        other.tower.identity.weight.copy_(built.tower.identity.weight[order])
    moved = history()
    moved.items[:] = place.numpy()[moved.items]
    scores = built.user_vectors(history()) @ built.item_vectors().T
    torch.testing.assert_close(scores[:, order], other.user_vectors(moved) @ other.item_vectors().T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", ["tokens", "concat", "weighted", "attention"])
def test_items_with_anything_missing_have_finite_vectors(fusion: str) -> None:
    built = model(fusion)
    nothing = frozenset({"title", "colour", "identity", "knowledge"})
    for without in (frozenset[str](), frozenset({"title"}), nothing):
        vectors = built.item_vectors(without)
        assert vectors.shape == (ITEMS, 8) and vectors.isfinite().all()
    torch.testing.assert_close(vectors, vectors[:1].expand(ITEMS, -1))  # with nothing left all are alike


def test_an_item_that_training_does_not_hold_is_its_content_alone() -> None:
    known = torch.arange(ITEMS) != 7
    built = model(known=known)
    before = built.item_vectors()
    with torch.no_grad():
        built.tower.identity.weight[7] += 1
    torch.testing.assert_close(before, built.item_vectors())
    assert not torch.allclose(before[7], built.item_vectors(frozenset({"title"}))[7])


def test_some_items_are_the_same_alone_as_among_all() -> None:
    built, some = model(), torch.tensor([3, 11, 4])
    torch.testing.assert_close(built.tower(some), built.item_vectors()[some])


def test_vectors_of_some_items_are_their_rows_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    made.take_transitions(np.random.default_rng(0).normal(size=(ITEMS, ITEMS)).astype(np.float32), 0.5, 1.0)
    whole = made.item_vectors()
    for without in (frozenset[str](), frozenset({"transitions"}), frozenset({"identity"})):
        torch.testing.assert_close(made.item_vectors(without, [3, 0]), made.item_vectors(without)[[3, 0]])
    monkeypatch.setattr("sensorium.models.ranking.recommender.ITEMS_TOGETHER", 2)
    torch.testing.assert_close(made.item_vectors(), whole)


def test_first_weights_hold_all_items_for_about_as_likely() -> None:
    torch.manual_seed(0)
    built = Recommender(RecommenderConfig(items=500, users=3, width=64)).eval()
    scores = built.user_vectors(history()) @ built.item_vectors().T
    assert scores.abs().max() < 1.5


def test_a_new_process_gives_the_same_vectors(tmp_path: Path) -> None:
    built = model()
    built.save_pretrained(tmp_path)
    code = (
        "import sys, torch; from sensorium.models.ranking.recommender import Recommender;"
        "m = Recommender.from_pretrained(sys.argv[1]).eval(); torch.save(m.item_vectors(), sys.argv[1] + '/out')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert torch.equal(torch.load(tmp_path / "out", weights_only=True), built.item_vectors())
    again = Recommender.from_pretrained(tmp_path).eval()
    assert torch.equal(again.user_vectors(history()), built.user_vectors(history()))


def reviewed(*said: int) -> Histories:
    """``history`` of which the first user's steps have these reviews."""
    found = history()
    found.reviews = np.full(found.items.shape, -1)
    found.reviews[0] = said
    return found


def test_a_review_is_read_after_its_item_was_foretold() -> None:
    built = model(reviews=3)
    states, other = (built.states(Sequences.of(reviewed(*said))) for said in ((-1, 0, 1, 2, -1), (-1, 0, 1, 0, -1)))
    # the fourth item is foretold from what stands before it: positions 0 to 3; its own review counts from there on
    torch.testing.assert_close(states[:, :4], other[:, :4], atol=1e-6, rtol=0)
    assert ((states[0, 4:] - other[0, 4:]).abs().amax(1) > 1e-3).all()
    torch.testing.assert_close(states[1:], other[1:], atol=1e-6, rtol=0)  # nor is it anybody else's


def test_no_review_and_a_review_that_is_withheld_are_the_same_missing_one() -> None:
    built = model(reviews=3)
    silent, unknown = built.user_vectors(reviewed(-1, -1, -1, -1, -1)), built.user_vectors(history())
    torch.testing.assert_close(silent, unknown)
    torch.testing.assert_close(built.user_vectors(reviewed(0, 1, 2, 0, 1), frozenset({"reviews"})), silent)
    assert not torch.allclose(built.user_vectors(reviewed(0, 1, 2, 0, 1)), silent)


def test_two_readers_of_a_text_are_withheld_together() -> None:
    shapes = {"title": [[ITEMS, 6], None], "title by the GPT": [[ITEMS, 4], None]}
    built = Recommender(RecommenderConfig(items=ITEMS, users=1, width=8, shapes=shapes, identity=False)).eval()
    made = {
        name: Content(torch.randn(*shape[0]), torch.ones(ITEMS, dtype=torch.bool)) for name, shape in shapes.items()
    }
    nothing = torch.zeros(1, 0)
    built.fill(made, torch.ones(ITEMS, dtype=torch.bool), None, nothing, nothing.long())
    both = built.item_vectors(frozenset({"title"}))
    torch.testing.assert_close(both, both[:1].expand(ITEMS, -1))
    assert not torch.allclose(*built.item_vectors(frozenset({"title by the GPT"}))[:2])


def test_vectors_come_in_parts_so_that_a_crowd_times_a_catalogue_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.models.ranking.recommender.TOGETHER", 2)
    built = model()
    whole = built.user_vectors(history())
    matrix = np.random.default_rng(0).normal(size=(ITEMS, ITEMS)).astype(np.float32)
    built.take_transitions(matrix, 0.5, 2.0)
    parts = list(built.user_vectors_by_parts(history()))
    assert [part.shape for part in parts] == [(2, 8 + ITEMS), (1, 8 + ITEMS)]
    met = np.zeros((USERS, ITEMS))
    for user, row in enumerate(history().items):
        for age, item in enumerate(row[::-1]):
            met[user, item] += 0.5**age
    scores = torch.cat(parts) @ built.item_vectors().T
    expected = whole @ built.item_vectors(frozenset({"transitions"})).T + 2.0 * torch.from_numpy(met @ matrix).float()
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)


def test_a_model_that_was_saved_before_there_were_reviews_opens(tmp_path: Path) -> None:
    import json

    built = model()
    built.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("gpt", "adapt", "reviews"):
        config.pop(key, None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(Recommender.open(tmp_path).user_vectors(history()), built.user_vectors(history()))
