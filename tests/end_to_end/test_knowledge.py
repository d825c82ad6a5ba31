"""A knowledge graph as prior: its loss falls in a fit, and items are what their entities say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sensorium.jobs.ranking.parts import build_recommender
from sensorium.jobs.ranking.rankings import open_shop
from sensorium.models.ranking.recommender import Recommender
from sensorium.objectives.knowledge import LOSSES
from sensorium.recipe import Recipe
from sensorium.run import Run
from sensorium.training.progress import make_progress
from tests.end_to_end.commands import call, done

FAMILIES, EACH = 4, 6
ALONE = FAMILIES * EACH - 1  # an item that is no entity
COLD = 0  # an item that nobody has touched


def graph(folder: Path, kind: str) -> Path:
    """Users who keep to one family of items each; which item is of which family stands in the graph alone."""
    rng = np.random.default_rng(0)
    items = [item for item in range(FAMILIES * EACH) if item != COLD]
    lines = ["user_id,item_id,timestamp"]
    for user in range(40):
        mine = [item for item in items if item % FAMILIES == user % FAMILIES]
        lines += [f"u{user},i{item},{1000 * step + user}" for step, item in enumerate(rng.permutation(mine)[:5])]
    (folder / "seen.csv").write_text("\n".join(lines) + "\n")
    (folder / "items.csv").write_text("\n".join(["item_id", *(f"i{i}" for i in range(FAMILIES * EACH))]) + "\n")
    told = [f"i{i},of,family{i % FAMILIES}" for i in range(FAMILIES * EACH) if i != ALONE]
    (folder / "graph.csv").write_text("\n".join(["head,relation,tail", *told]) + "\n")
    raw = {
        "task": "recommend",
        "data": {
            "source": str(folder / "seen.csv"),
            "interactions": {"items": {"source": "items.csv"}, "knowledge": {"triples": "graph.csv"}},
        },
        "recommender": {
            "width": 16, "layers": 1, "history": 10, "dropout": 0.0, "knowledge": kind, "knowledge_weight": 1.0,
            "identity_dropout": 0.3, "transitions": "never",
        },
        "training": {"epochs": 40, "batch_size": 8, "learning_rate": 0.01, "patience": None},
        "evaluation": {"baselines": False, "bootstrap": 100},
        "tracking": [],
        "output": str(folder / "run"),
    }  # fmt: skip
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def loss_of(model: Recommender, kind: str, triples: np.ndarray) -> float:
    """Mean over triples and over every other family as the wrong tail."""
    assert model.tower.entities is not None and model.relations is not None
    families = np.unique(triples[:, 2])
    rows = [(h, r, t, w) for h, r, t in triples.tolist() for w in families.tolist() if w != t]
    heads, relations, tails, wrong = torch.tensor(rows).T
    entity, relation = model.tower.entities, model.relations
    with torch.no_grad():
        total = LOSSES[kind](entity(heads), relation(relations), entity(tails), entity(wrong))
    return float(total) / len(rows)


@pytest.mark.parametrize("kind", ["transe", "distmult"])
def test_the_loss_of_the_triples_falls_and_entities_carry_items(kind: str, tmp_path: Path) -> None:
    path = graph(tmp_path, kind)
    done("fit", path)
    recipe = Recipe.load(path)
    shop = open_shop(recipe)
    first = build_recommender(shop, recipe, make_progress(quiet=True)).model
    model = Recommender.open(tmp_path / "run" / "model")
    knowledge = shop.inter.knowledge
    assert knowledge is not None
    before, after = (loss_of(one, kind, knowledge.triples) for one in (first, model))
    assert after < 0.7 * before
    losses = [loss for _, loss in Run(tmp_path / "run").read_json("history.json")["losses"]]
    assert losses[-1] < 0.8 * losses[0]
    # what an item's vector owes to its entity is gone when knowledge is withheld; one that is no entity owes nothing
    names = {name: i for i, name in enumerate(shop.inter.items.names)}
    owed = (model.item_vectors() - model.item_vectors(frozenset({"knowledge"}))).norm(dim=1)
    assert owed[names[f"i{ALONE}"]] == 0
    assert all(owed[place] > 1e-3 for name, place in names.items() if name != f"i{ALONE}")
    # an item that nobody has touched is among its family by the graph alone
    vectors = torch.nn.functional.normalize(model.item_vectors(frozenset({"identity"})), dim=1)
    like = {name: float(vectors[place] @ vectors[names[f"i{COLD}"]]) for name, place in names.items()}
    del like[f"i{COLD}"], like[f"i{ALONE}"]
    family = [value for name, value in like.items() if int(name[1:]) % FAMILIES == COLD % FAMILIES]
    others = [value for name, value in like.items() if int(name[1:]) % FAMILIES != COLD % FAMILIES]
    assert np.mean(family) > np.mean(others) + 0.2


def test_a_negative_weight_is_refused(tmp_path: Path) -> None:
    path = graph(tmp_path, "transe")
    said = call("fit", path, "--set", "recommender.knowledge_weight=-1")
    assert said.code == 2 and "knowledge_weight" in said.line
