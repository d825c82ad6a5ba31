"""What is computed once equals what is computed anew: answers are the same with and without the caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sensorium.data.collate import collate
from sensorium.jobs import features as room
from sensorium.jobs.features import encoder_features, summaries, trunk_of
from sensorium.jobs.feed import Feed
from sensorium.jobs.job import build_task, sharing_of
from sensorium.jobs.parts import Parts, build
from sensorium.jobs.prepare import Prepared, described, prepare
from sensorium.models.initialise import fit_projectors
from sensorium.models.multimodal_gpt import GPT
from sensorium.recipe import Recipe
from sensorium.training.progress import make_progress
from tests.small_data import mixed_table, questions_table
from tests.tiny_models import part, stir

QUIET = make_progress(quiet=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("tables")
    return {
        "classify": (mixed_table(folder / "mixed", rows=21, missing=0.15), "y"),
        "generate": (questions_table(folder / "asked", rows=12), "answer"),
    }


def made(table: tuple[Path, str], **settings: Any) -> tuple[Recipe, Prepared, Parts]:
    data: dict[str, Any] = {"source": str(table[0]), "target": table[1]}
    if table[1] == "answer":
        data["inputs"] = {"picture": "image", "question": "text", "answer": "text"}
    raw = {
        "data": data,
        "model": {
            "backbone": str(part(settings.pop("gpt", "llama"))),
            "image": str(part(settings.pop("image", "vit"))),
            "audio": str(part("whisper")),
            "text": str(part("bert")) if settings.pop("text", False) else None,
            "image_size": 32,
            "fusion": {"width": 16, "heads": 4, "tokens": 4, **settings.pop("fusion")},
            "adapt": settings.pop("adapt", {"method": "lora", "layers": 2, "rank": 4}),
        },
        "training": {"precision": "fp32", "attention": "sdpa", "batch_size": 4, **settings},
        "evaluation": {"batch_size": 4, "max_new_tokens": 4},
    }
    recipe = Recipe.parse(raw)
    prepared = prepare(recipe, QUIET)
    recipe = described(recipe, prepared.schema)
    parts = build(recipe, prepared)
    stir(parts.model, 0.3)
    return recipe, prepared, parts


def feeds(recipe: Recipe, prepared: Prepared, parts: Parts, folder: Path) -> tuple[Feed, Feed]:
    """A feed that computes everything anew, and one that has all in its caches."""
    sharing, rows = sharing_of(recipe, prepared, parts), np.arange(len(prepared.source))
    plain, cached = (Feed(prepared.rows, parts.processor, 4, sharing) for _ in range(2))
    cached.cached = encoder_features(parts, prepared, recipe, rows, folder, QUIET, QUIET)
    fit_projectors(parts.model, summaries(cached.cached, prepared.splits.train))
    cached.trunk = trunk_of(parts, cached, cached.groups(rows.tolist()[::2]), recipe, folder, QUIET, QUIET)
    return plain, cached


CASES: list[tuple[str, dict[str, Any]]] = [
    ("classify", {"fusion": {"kind": "tokens", "from_layer": 0}, "text": True}),
    ("classify", {"fusion": {"kind": "tokens", "from_layer": 2}}),
    ("classify", {"fusion": {"kind": "cross_attention", "from_layer": 2}, "gpt": "gpt2", "adapt": "frozen"}),
    ("classify", {"fusion": "concat"}),
    ("classify", {"fusion": "attention", "adapt": "frozen", "text": True}),
    ("classify", {"fusion": "weighted", "adapt": "frozen", "gpt": "gpt2"}),
    ("generate", {"fusion": {"kind": "tokens", "from_layer": 2}}),
    ("generate", {"fusion": {"kind": "tokens", "from_layer": 0}, "share_media": False}),
    ("generate", {"fusion": {"kind": "cross_attention", "from_layer": 1}, "gpt": "gpt2", "adapt": "frozen"}),
]


@pytest.mark.parametrize(("task", "settings"), CASES)
def test_answers_are_the_same_with_and_without_caches(task: str, settings: dict, tables: dict, tmp_path: Path) -> None:
    settings = dict(settings)
    if isinstance(settings["fusion"], str):
        settings["fusion"] = {"kind": settings["fusion"]}
    if settings.get("adapt") == "frozen":
        settings["adapt"] = {"method": "frozen"}
    recipe, prepared, parts = made(tables[task], **settings)
    plain, cached = feeds(recipe, prepared, parts, tmp_path)
    late, frozen = parts.model.late, recipe.model.adapt.method == "frozen"
    assert (GPT in cached.cached) == (late and frozen)
    assert (cached.trunk is not None) == (not late and parts.model.trunk_depth > 0)
    asked, rows = build_task(recipe, prepared, parts), list(range(len(prepared.source)))
    one, other = (asked.predict(parts.model, feed, rows) for feed in (plain, cached))
    assert one.predictions == other.predictions and one.targets == other.targets
    np.testing.assert_allclose(one.likelihoods, other.likelihoods, atol=2e-4)
    np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-4)
    if one.probabilities is not None:
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    with torch.no_grad():  # and so is what training sees
        groups = plain.groups(rows)
        losses = [[float(asked.loss(parts.model, b).total) for b in feed.batches(groups)] for feed in (plain, cached)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4, atol=1e-4)


def test_features_are_computed_once_and_known_in_the_next_sitting(
    tables: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"fusion": {"kind": "attention"}, "adapt": {"method": "frozen"}, "text": True}
    recipe, prepared, parts = made(tables["classify"], **settings)
    rows = np.arange(len(prepared.source))
    first = encoder_features(parts, prepared, recipe, rows, tmp_path, QUIET, QUIET)
    assert sorted(first) == [GPT, "picture", "sound", "words"]

    def refuse(*_: object) -> Any:
        def compute(_: list[int]) -> Any:
            raise AssertionError("computed again")

        return compute

    recipe, prepared, parts = made(tables["classify"], **settings)
    with monkeypatch.context() as patch:
        patch.setattr(room, "encoded", refuse)
        patch.setattr(room, "_read", refuse)
        again = encoder_features(parts, prepared, recipe, rows, tmp_path, QUIET, QUIET)
    for name, features in first.items():
        for row in rows.tolist():
            one, other = features(row), again[name](row)
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)  # type: ignore[arg-type]


def test_missing_cells_have_no_features(tables: dict, tmp_path: Path) -> None:
    recipe, prepared, parts = made(tables["classify"], fusion={"kind": "concat"}, adapt={"method": "frozen"})
    rows = np.arange(len(prepared.source))
    found = encoder_features(parts, prepared, recipe, rows, tmp_path, QUIET, QUIET)
    for name, column in (("picture", "picture"), ("sound", "sound"), (GPT, "words")):
        missing = [prepared.rows[int(row)].inputs[column] is None for row in rows]
        assert [found[name](int(row)) is None for row in rows] == missing and any(missing) and not all(missing)


def test_encoders_that_train_are_not_cached(tables: dict, tmp_path: Path) -> None:
    recipe, prepared, parts = made(tables["classify"], fusion={"kind": "concat"}, cache_features=False)
    assert encoder_features(parts, prepared, recipe, np.arange(3), tmp_path, QUIET, QUIET) == {}
    feed = Feed(prepared.rows, parts.processor, 4)
    assert trunk_of(parts, feed, [[0]], recipe, tmp_path, QUIET, QUIET) is None


def test_the_trunk_on_disk_and_the_trunk_as_it_comes_are_alike(tables: dict, tmp_path: Path) -> None:
    recipe, prepared, parts = made(tables["generate"], fusion={"kind": "tokens", "from_layer": 2})
    feed = Feed(prepared.rows, parts.processor, 4, sharing_of(recipe, prepared, parts))
    groups = feed.groups(list(range(len(prepared.source))))
    assert all(len(group) == 2 for group in groups)
    trunk = trunk_of(parts, feed, groups[:3], recipe, tmp_path, QUIET, QUIET)
    assert trunk is not None and len(trunk.store) == 3
    for group in groups[:6]:
        sequence = feed.sequence(group)
        with torch.no_grad():
            expected = parts.model.trunk(collate([sequence]))[0]
        trunk.fill([sequence])
        assert sequence.trunk is not None
        torch.testing.assert_close(sequence.trunk.float(), expected, atol=1e-5, rtol=0)


def test_summaries_are_the_first_positions_of_rows_that_have_one() -> None:
    values = {0: torch.tensor([[1.0, 2.0], [9.0, 9.0]]), 1: None, 2: torch.tensor([[3.0, 4.0]])}
    found = summaries({"a": values.get, "b": lambda row: None}, np.arange(3))
    assert list(found) == ["a"] and found["a"].tolist() == [[1, 2], [3, 4]]
    assert summaries({"a": values.get}, np.arange(3), most=1)["a"].tolist() == [[1, 2]]


def test_features_do_not_depend_on_their_batch(tables: dict[str, tuple[Path, str]], tmp_path: Path) -> None:
    """Batch normalisation in training mode would give each picture its neighbours' statistics."""
    recipe, prepared, parts = made(tables["classify"], fusion={"kind": "concat"}, image="efficientnet")
    assert not any(module.training for module in parts.model.modules())
    rows = np.arange(len(prepared.source))
    before = {name: buffer.clone() for name, buffer in parts.model.encoders["image"].named_buffers()}
    cached = encoder_features(parts, prepared, recipe, rows, tmp_path, QUIET, QUIET)["picture"]
    encoder = parts.model.encoders["image"].eval()
    for row in rows[:6].tolist():
        item = parts.processor.item("picture", prepared.rows[row], None, None)
        if item.value is not None:
            with torch.inference_mode():
                alone = encoder(item.value[None], torch.zeros(1), torch.tensor([item.positions]))[0]
            torch.testing.assert_close(cached(row), alone, atol=1e-5, rtol=1e-5)
    for name, buffer in encoder.named_buffers():
        assert torch.equal(buffer, before[name]), f"{name} moved while features were computed"
