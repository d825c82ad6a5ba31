"""A pretrained GPT that ranks: fitted, copied away from its parts, asked; and what is refused, in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sensorium.models.ranking.recommender import Recommender
from tests.end_to_end.commands import call, command, done, new_process

WORDS = ("red", "blue", "green", "circle", "square", "what", "is", "it", "yes", "no")


def shop(folder: Path, parts: dict[str, Path], **recommender: Any) -> Path:
    """A recipe of 24 users who each go round the items, which have titles."""
    lines = ["user_id,item_id,timestamp"]
    for user in range(24):
        lines += [f"u{user},i{(user + step) % 10},{1_000_000 + 1000 * step + user}" for step in range(8)]
    (folder / "seen.csv").write_text("\n".join(lines) + "\n")
    titles = [f"i{i},{WORDS[i]} {WORDS[(3 * i + 1) % 10]}" if i != 4 else "i4," for i in range(10)]
    (folder / "items.csv").write_text("\n".join(["item_id,title", *titles]) + "\n")
    items = {"source": "items.csv", "inputs": {"title": "text"}}
    raw = {
        "task": "recommend",
        "data": {"source": str(folder / "seen.csv"), "interactions": {"items": items}},
        "model": {"text": str(parts["bert"]), "adapt": {"method": "lora", "rank": 4, "layers": 2}},
        "recommender": {"backbone": str(parts["llama"]), "width": 16, "history": 10, "dropout": 0.0, **recommender},
        "training": {"epochs": 25, "batch_size": 8, "learning_rate": 0.01, "patience": None, "precision": "fp32"},
        "evaluation": {"baselines": False, "bootstrap": 100},
        "tracking": [],
        "output": str(folder / "run"),
    }
    raw["training"]["attention"] = "sdpa"
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_it_learns_and_stands_alone(tmp_path: Path, parts: dict[str, Path]) -> None:
    away = {name: tmp_path / "parts" / name for name in parts}
    shutil.copytree(parts["llama"].parent, tmp_path / "parts")
    fitted = done("fit", shop(tmp_path, away, transitions="never"), "--json")
    assert "lora, fp32, sdpa attention; items enter at layer 2" in " ".join(fitted.err.split())
    found = json.loads(fitted.out)
    after, before = (found["metrics"][when]["ndcg@10"]["value"] for when in ("after", "before"))
    assert after > 0.8 > before + 0.2  # each follows the one before it: there is something to learn
    model = tmp_path / "run" / "model"
    assert (model / "adapter" / "adapter_config.json").is_file() and (model / "backbone" / "config.json").is_file()
    opened = Recommender.open(model)
    assert set(opened.config.shapes) == {"title", "title by the GPT"} and opened.config.gpt["entry"] == 2
    card = (model / "README.md").read_text(encoding="utf-8")
    assert f"- GPT: `{away['llama']}`" in card and "tuned by lora" in card
    shutil.rmtree(tmp_path / "parts")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    (tmp_path / "empty").mkdir()
    words = command("recommend", tmp_path / "elsewhere", "--history", "i3; i4; i5", "--top", "3", "--because", "--json")
    said = new_process(words, tmp_path / "empty")
    assert said.code == 0, said.err
    first = json.loads(said.out)["items"][0]
    assert first["item"] == "i6"
    reasons = [one["name"] for one in first["reasons"]]
    assert reasons[0] == f"{WORDS[5]} {WORDS[6]}" and "title by the GPT" in reasons  # i5, what came last, speaks for it


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["recommender.backbone=no-such-gpt"], "recommender.backbone: no-such-gpt"),
        (["recommender.history=4096"], "reads 2,048 positions, and a history takes 4,097; at most 2,047"),
        (["model.adapt.method=prefix", "model.fusion.from_layer=0"], "set lora"),
        (["model.fusion.from_layer=3"], "model.fusion.from_layer: 3: items would enter above layer 2"),
    ],
)
def test_what_cannot_rank_is_refused(tmp_path: Path, parts: dict[str, Path], settings: list[str], line: str) -> None:
    sets = [word for one in settings for word in ("--set", one)]
    said = call("fit", shop(tmp_path, parts), *sets)
    assert said.code == 2 and line in said.line
    assert not (tmp_path / "run").exists()
