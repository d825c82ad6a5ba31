"""The loop: interruption and resume, accumulation, bad numbers, choosing the best, keeping to the time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sensorium.errors import Interrupted, NonFiniteLoss, RecipeError, RunError
from sensorium.recipe import TrainingRecipe
from sensorium.training import loop
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.loop import planned_steps
from sensorium.training.protocols import Loss, Metric
from tests.training.training_job import ROWS, TinyTask, TinyUnits, collate, make_model, run_job, same_bits, weights

RECIPE = TrainingRecipe(
    epochs=3, batch_size=8, micro_batch_size=2, learning_rate=0.02, patience=None, checkpoint_every=3
)


class Killed(Exception):
    pass


class KillsAt(TinyTask):
    """Raises in the given call of ``loss``, as a crash does, in the middle of a step."""

    def __init__(self, call: int, error: type[BaseException] = Killed) -> None:
        self.call, self.calls, self.error = call, 0, error

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Loss:
        self.calls += 1
        if self.calls == self.call:
            raise self.error
        return super().loss(model, batch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return weights(run_job(tmp_path_factory.mktemp("undisturbed"), RECIPE)[0])


def test_learns_and_reports(tmp_path: Path) -> None:
    model = make_model()
    before = weights(model)
    _, history = run_job(tmp_path, RECIPE.model_copy(update={"epochs": 12}), model)
    steps = 12 * -(-ROWS // 8)
    assert history.steps == steps and history.epochs == 12 and history.stop == "finished"
    assert [v["step"] for v in history.validations] == list(range(5, steps + 1, 5))
    values = [v["metrics"]["loss"] for v in history.validations]
    assert history.best == {"metric": "loss", "value": min(values), "step": 5 * (1 + int(np.argmin(values)))}
    assert min(values) < 0.7 * values[0]
    assert len(history.losses) == steps and history.samples_per_second > 0 and history.peak_memory > 10**7
    assert torch.equal(model.frozen.weight, before["frozen.weight"])
    assert not torch.equal(model.head.weight, before["head.weight"])
    assert not model.training


@settings(max_examples=8)
@given(call=st.integers(1, 15 * 4), second=st.integers(1, 30))
def test_killed_anywhere_twice_resumes_bit_identical(
    undisturbed: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory, call: int, second: int
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    for kill in (call, second):
        with suppress(Killed):
            run_job(folder, RECIPE, task=KillsAt(kill))
        np.random.seed(kill)  # other random states must not matter
        torch.manual_seed(kill)
    model, history = run_job(folder, RECIPE)
    assert same_bits(weights(model), undisturbed)
    assert [step for step, _ in history.losses] == list(range(1, 16))


def test_finished_training_only_loads_its_best_weights(undisturbed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    _, first = run_job(tmp_path, RECIPE)
    model, again = run_job(tmp_path, RECIPE, task=KillsAt(1), model=make_model(0))
    assert same_bits(weights(model), undisturbed) and again.validations == first.validations


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_raises(undisturbed: dict[str, torch.Tensor], tmp_path: Path, number: int) -> None:
    class Signals(TinyTask):
        calls = 0

        def loss(self, model: nn.Module, batch: dict[str, Any]) -> Loss:
            self.calls += 1
            if self.calls == 18:  # in the fifth step, the last of the first epoch
                os.kill(os.getpid(), number)
            return super().loss(model, batch)

    before = signal.getsignal(number)
    with pytest.raises(
        Interrupted, match="stopped after step 5 of 15, which is saved; the same command goes on"
    ) as caught:
        run_job(tmp_path, RECIPE.model_copy(update={"checkpoint_every": 100}), task=Signals())
    assert caught.value.exit_code == 130 and signal.getsignal(number) is before
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]
    said: list[str] = []
    model, history = run_job(tmp_path, RECIPE, said=said)
    assert said == ["resuming at step 5 of 15"]
    assert same_bits(weights(model), undisturbed)
    assert [v["step"] for v in history.validations] == [5, 10, 15]  # the one that the signal kept off came later


def test_a_signal_in_the_last_validation_is_heeded(undisturbed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    def validate() -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": 1.0}

    recipe = RECIPE.model_copy(update={"epochs": 1})
    with pytest.raises(Interrupted, match="stopped after step 5 of 5, which is saved"):
        run_job(tmp_path, recipe, validate=validate)
    _, history = run_job(tmp_path, recipe, task=KillsAt(1))  # trained already
    assert history.steps == 5


def test_damaged_newest_checkpoint_is_passed_over(undisturbed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run_job(tmp_path, RECIPE, task=KillsAt(4 * 10 + 1))
    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    assert newest.name == "step-00000010"
    with open(newest / "model.safetensors", "rb+") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\1\2\3")
    said: list[str] = []
    model, _ = run_job(tmp_path, RECIPE, said=said)
    assert said[0] == (
        "checkpoint step-00000010 is damaged (model.safetensors has another hash); trying the one before"
    )
    assert said[1] == "resuming at step 9 of 15"
    assert same_bits(weights(model), undisturbed)


def test_lost_best_snapshot_is_said_and_chosen_anew(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run_job(tmp_path, RECIPE, task=KillsAt(4 * 11))
    (tmp_path / "checkpoints" / "best-00000010" / "model.safetensors").unlink()
    said: list[str] = []
    _, history = run_job(tmp_path, RECIPE, said=said)
    assert "the best weights, of step 10, are damaged (model.safetensors is missing) and not used" in said
    assert history.best is not None and history.best["step"] == 15


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    recipe = TrainingRecipe(epochs=4, batch_size=8, learning_rate=0.02, patience=None)
    whole, _ = run_job(tmp_path / "a", recipe.model_copy(update={"micro_batch_size": 8}), make_model(dropout=0.0))
    parts, _ = run_job(
        tmp_path / "b", recipe.model_copy(update={"micro_batch_size": 8}), make_model(dropout=0.0), task=Halves()
    )
    for name, tensor in weights(whole).items():
        assert (tensor - weights(parts)[name]).abs().max() <= 1e-5 * tensor.abs().max().clamp(min=1e-3), name


class Halves(TinyTask):
    """The same rows as two forward passes: a reference for the sums."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Loss:
        logits = torch.cat(
            [
                model(
                    batch["tokens"][i : i + 1],
                    batch["mask"][i : i + 1],
                    _own_picture(batch, i),
                    batch["has_picture"][i : i + 1],
                )
                for i in range(len(batch["rows"]))
            ]
        )
        model.seen -= len(batch["rows"]) - 1
        weight = 1 + batch["labels"]
        losses = nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
        return Loss((losses * weight).sum(), int(weight.sum()))


def _own_picture(batch: dict[str, Any], i: int) -> torch.Tensor | None:
    at = int(batch["has_picture"][:i].sum())
    return batch["picture"][at : at + 1] if batch["has_picture"][i] else None


def test_one_step_is_the_closed_form(tmp_path: Path) -> None:
    """First AdamW step without clipping: w·(1 - lr·decay) - lr·sign(g), with g the gradient of sum / count."""
    recipe = TrainingRecipe(
        epochs=1, max_steps=1, batch_size=40, micro_batch_size=5, learning_rate=0.01, head_learning_rate=0.03,
        weight_decay=0.1, warmup=0, schedule="constant", clip_norm=1e9,
    )  # fmt: skip
    reference = make_model(dropout=0.0)
    loss = TinyTask().loss(reference, collate([TinyUnits()[0, row] for row in range(ROWS)]))
    (loss.total / loss.count).backward()
    model, history = run_job(tmp_path, recipe, make_model(dropout=0.0))
    assert history.losses[0][1] == pytest.approx(float(loss.total.detach()) / loss.count, rel=1e-5)
    for name, parameter in reference.named_parameters():
        if parameter.requires_grad:
            rate = 0.03 if name.startswith(("projector", "head")) else 0.01
            decay = 0.1 if parameter.dim() > 1 else 0.0
            g = parameter.grad
            assert g is not None
            expected = parameter * (1 - rate * decay) - rate * g / (g.abs() + 1e-8)
            torch.testing.assert_close(dict(model.named_parameters())[name], expected, rtol=1e-3, atol=1e-5)


def test_nan_stops_and_names_rows(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match=r"^the loss is not finite in step \d+, rows ") as caught:
        run_job(tmp_path, RECIPE, units=TinyUnits(poison=(9,)))
    named = str(caught.value).partition("rows ")[2].partition(";")[0].split(", ")
    assert "9" in named and len(named) == 2  # its micro-batch, not the whole step


def test_infinite_gradient_stops_before_the_update(tmp_path: Path) -> None:
    class Steep(TinyTask):
        def loss(self, model: nn.Module, batch: dict[str, Any]) -> Loss:
            loss = super().loss(model, batch)
            bias = model.head.bias
            return Loss(loss.total + torch.sqrt((bias - bias.detach()).sum()), loss.count)  # 0, with slope infinity

    model = make_model()
    before = weights(model)
    with pytest.raises(NonFiniteLoss, match=r"the gradient is not finite in step 1, rows "):
        run_job(tmp_path, RECIPE, model, task=Steep())
    after = weights(model)
    assert all(torch.equal(after[name], before[name]) for name in before if name != "seen")


class Scripted:
    """Validation figures as given, one a call."""

    def __init__(self, *values: float) -> None:
        self.values: Iterator[float] = iter(values)

    def __call__(self) -> dict[str, float]:
        return {"accuracy": next(self.values)}


def test_patience_stops_and_restores_the_best(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 9, "patience": 2})
    script = Scripted(0.3, 0.6, 0.5, float("nan"))
    model, history = run_job(tmp_path, recipe, validate=script, metric=Metric("accuracy", higher_is_better=True))
    assert history.stop == "patience" and history.steps == 20
    assert history.best == {"metric": "accuracy", "value": 0.6, "step": 10}
    at_ten, _ = run_job(tmp_path / "ten", recipe.model_copy(update={"max_steps": 10}), validate=None)
    # other schedules, so compare with the snapshot instead of the shorter run; the shorter run keeps its last weights
    snapshot = make_model(1)
    snapshot.load_state_dict(model.state_dict())
    Checkpoints(tmp_path / "checkpoints").load_best(10, snapshot)
    assert same_bits(weights(snapshot), weights(model)) and not same_bits(weights(model), weights(at_ten))


def test_the_last_weights_are_kept_where_that_is_asked(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"keep": "last"})
    model, history = run_job(tmp_path, recipe, validate=Scripted(0.9, 0.5, 0.1), metric=Metric("accuracy", True))
    assert history.best == {"metric": "accuracy", "value": 0.1, "step": history.steps}
    unchosen, _ = run_job(tmp_path / "other", recipe, validate=None)
    assert same_bits(weights(model), weights(unchosen))


def test_time_limit_cuts_steps_and_resume_keeps_the_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])

    class TakesASecond(KillsAt):
        def loss(self, model: nn.Module, batch: dict[str, Any]) -> Loss:
            now[0] += 0.25  # four micro-batches a step
            return super().loss(model, batch)

    recipe = RECIPE.model_copy(update={"epochs": 20, "max_minutes": 0.5, "checkpoint_every": 1})
    said: list[str] = []
    with pytest.raises(Killed):
        run_job(tmp_path, recipe, said=said, task=TakesASecond(4 * 13))
    assert "30 of 100 planned steps fit into 0.5 minutes" in said
    state = Checkpoints(tmp_path / "checkpoints")
    name = state.newest_valid()
    assert name is not None and '"total": 30' in (tmp_path / "checkpoints" / name / "state.json").read_text()
    said.clear()
    _, history = run_job(tmp_path, recipe, said=said, task=TakesASecond(0))
    assert said[0] == "resuming at step 12 of 30"
    assert history.stop == "time" and 28 <= history.steps <= 30 and history.seconds <= 30.1


def test_worker_processes_give_the_same_weights(undisturbed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    model, _ = run_job(tmp_path, RECIPE.model_copy(update={"workers": 1, "epochs": 3}))
    assert same_bits(weights(model), undisturbed)


def test_checkpoint_of_other_batches_is_refused(tmp_path: Path) -> None:
    run_job(tmp_path, RECIPE)
    with pytest.raises(RunError, match=r"other batches \(micro_batch_size 2 → 4\); set training.micro_batch_size: 2"):
        run_job(tmp_path, RECIPE.model_copy(update={"micro_batch_size": 4}))


def test_nothing_trains(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"model\.adapt: nothing trains"):
        run_job(tmp_path, RECIPE, make_model().requires_grad_(False))


def test_planned_steps() -> None:
    assert planned_steps(TrainingRecipe(epochs=2.5), 10) == 25
    assert planned_steps(TrainingRecipe(epochs=0.01), 10) == 1
    assert planned_steps(TrainingRecipe(epochs=0.3), 10) == 3  # 0.3 · 10 is a little above 3 in binary
    assert planned_steps(TrainingRecipe(epochs=9, max_steps=4), 10) == 4


def test_train_stays_readable() -> None:
    """DESIGN: the loop under 80 lines."""
    import inspect

    assert len(inspect.getsource(loop.train).splitlines()) < 80
