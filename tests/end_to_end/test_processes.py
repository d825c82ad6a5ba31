"""A real job under two processes, each with other modalities in its rows, against one with twice the accumulation."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.torch import load_file

from sensorium.training.batches import BatchPlan
from tests.end_to_end.commands import done, new_process, sets, tiny
from tests.end_to_end.toy_language import write_recipe
from tests.small_data import mixed_table

# on CPU too, only --multi_gpu makes accelerate start several processes
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "no", "--num_processes", "2", "--dynamo_backend", "no", "--main_process_port", "0"]
WEIGHTS = ["model.safetensors", "backbone/model.safetensors"]
WEIGHTS += ["encoders/image/model.safetensors", "encoders/audio/model.safetensors"]


def test_two_processes_take_the_steps_of_one(parts: dict[str, Path], cache: Path, tmp_path: Path) -> None:
    """20 steps in fp32, everything trains, dropout on: max |Δw| ≤ 1e-4 · max |w| for every tensor."""
    data = mixed_table(tmp_path / "data", rows=48, missing=0.5)
    settings = tiny(
        parts,
        training__max_steps=20,
        training__epochs=10,
        training__micro_batch_size=2,
        training__patience="null",
        training__cache_features=False,
        training__learning_rate=0.0005,  # the default: a step amplifies rounding where gradients are nearly nothing
        model__tune_encoders=True,
        model__adapt__method="full",
        model__adapt__layers="all",
        model__fusion__from_layer=0,
        model__modality_dropout=0.2,
        data__split__validation=0,
        evaluation__baselines=False,
    )
    words = ["fit", "--data", str(data), "--target", "y", "--task", "generate", *sets(settings), "--output"]
    done(*words, tmp_path / "one")
    launched = [*LAUNCH, "-m", "sensorium.cli.main", *words, str(tmp_path / "two"), "--json"]
    said = new_process(launched, cache, timeout=240)
    assert said.code == 0, said.err[-3000:]
    assert len(said.out.splitlines()) == 1 and json.loads(said.out)["run"] == str(tmp_path / "two"), (
        "one process speaks"
    )

    start = {name: load_file(parts[name] / "model.safetensors") for name in ("llama",)}
    for file in WEIGHTS:
        one, two = (load_file(tmp_path / run / "model" / file) for run in ("one", "two"))
        assert one.keys() == two.keys()
        for name in one:
            if name.endswith("key.bias"):  # attention does not depend on it: its gradient, and it, are rounding alone
                assert max(one[name].abs().max(), two[name].abs().max()) < 1e-6
                continue
            assert (one[name] - two[name]).abs().max() <= 1e-4 * one[name].abs().max(), f"{file}: {name}"
    trained = load_file(tmp_path / "one/model/backbone/model.safetensors")
    assert all((trained[name] - before).abs().max() > 1e-3 for name, before in start["llama"].items())
    histories = [json.loads((tmp_path / run / "history.json").read_text()) for run in ("one", "two")]
    losses = [np.array([loss for _, loss in history["losses"]]) for history in histories]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    answers = [pq.read_table(tmp_path / run / "predictions.parquet").column("after") for run in ("one", "two")]
    assert answers[0].equals(answers[1])


def test_no_row_repeats_within_an_epoch() -> None:
    """Every process's share of every step, over an epoch: each unit once."""
    for units in (7, 8, 33, 48):
        plan = BatchPlan(np.arange(units) % 5 + 1, batch_size=8, micro_batch_size=2, seed=3)
        world = 2 if plan.per_step % 2 == 0 else 1
        seen = [
            unit for rank in range(world) for part in plan.epoch(1).share(0, plan.steps, rank, world) for unit in part
        ]
        assert sorted(seen) == list(range(units))


def test_two_processes_teach_a_translator_as_one(cache: Path, tmp_path: Path) -> None:
    """Averaged weights and the chosen ones too: 8 steps, dropout on."""
    settings = {"max_steps": 8, "batch_size": 16, "micro_batch_size": 8, "learning_rate": 5e-4}
    done("fit", write_recipe(tmp_path, "one", 100, **settings))
    launched = [*LAUNCH, "-m", "sensorium.cli.main", "fit", str(write_recipe(tmp_path, "two", 100, **settings))]
    said = new_process(launched, cache, timeout=240)
    assert said.code == 0, said.err[-3000:]
    one, two = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("one", "two"))
    for name in one:
        if "both.bias" in name:  # keys' half: attention does not depend on it, rounding alone moves it
            continue
        assert (one[name] - two[name]).abs().max() <= 1e-3 * one[name].abs().max() + 1e-6, name
