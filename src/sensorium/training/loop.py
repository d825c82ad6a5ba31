"""The training loop: built parts in, tuned model and its history out.

Randomness has no state. Before each micro-batch torch's default generator is seeded from (seed, global step, index of the
micro-batch in the step), so dropout is the same in one process and in several, and after a resume; data draw from
(seed, epoch, unit). That is why no generator's state is in a checkpoint, and none needs to be.

The gradient of a step is that of the loss's sum over all its micro-batches and processes, divided once by the number of
supervised items in all of them: two processes take the same step as one with twice the accumulation.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from sensorium.errors import Interrupted, NonFiniteLoss
from sensorium.recipe import TrainingRecipe
from sensorium.training.batches import BatchPlan
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import add_up, any_process, collect, from_main
from sensorium.training.history import History, LoopState
from sensorium.training.memory import give_back, peak_memory
from sensorium.training.optim import MasterAdamW, parameter_groups, schedule
from sensorium.training.pace import is_time_to_look, steps_that_fit
from sensorium.training.protocols import Batch, Loader, Metric, Progress, Say, Task, Tracker
from sensorium.training.signals import Stop, stop_on_signals
from sensorium.training.tracking import NoTracker

CHECKPOINT_SECONDS = 300.0
WARM_STEPS = 2  # the first steps of a process are too slow to measure by

Validate = Callable[[], dict[str, float]]


def train(
    model: nn.Module,
    task: Task,
    loader: Loader,
    validate: Validate | None,
    recipe: TrainingRecipe,
    *,
    accelerator: Accelerator,
    checkpoints: Checkpoints,
    tracker: Callable[[int], Tracker],
    progress: Progress,
    metric: Metric = Metric(),  # noqa: B008 (frozen)
    new_modules: Sequence[str] = (),
    updated: Callable[[], None] | None = None,
    say: Say = print,
) -> History:
    """Tune ``model`` in place and leave its best weights in it, in evaluation mode.

    Args:
        model: built, with ``requires_grad`` set on what trains, in the type that it trains in.
        tracker: opens the curves at the step that training starts from; called in the main process only.
        validate: runs in every process on the built model; the main process's ``metric`` decides. None: no choosing.
        new_modules: name prefixes that learn at ``recipe.head_learning_rate``.
        updated: called after each step's update, in every process; what it changes belongs into the model's buffers.

    The same call with the same checkpoints goes on where the newest valid one stands, bit for bit; of a finished training
    it only loads the best weights. Each epoch's end validates; so does the last step.

    Raises:
        NonFiniteLoss: loss or gradient is not finite; the weights are those before the step.
        Interrupted: SIGINT or SIGTERM came, and a checkpoint was written.
        RecipeError: the processes cannot share a step, or nothing trains.
        RunError: a checkpoint cannot be written, or is another model's or plan's.
    """
    plan = loader.plan
    plan.check_world(accelerator.num_processes)
    model.to(accelerator.device)
    optimizer = MasterAdamW(parameter_groups(model, recipe, new_modules))
    state = LoopState(plan.signature(), planned_steps(recipe, plan.steps))
    session = _Session(
        model, task, recipe, plan, accelerator, checkpoints, tracker, metric, optimizer, state, say, updated
    )
    session.resume()
    with (
        stop_on_signals() as stop,
        progress.task("training", session.state.total, session.state.step, "step") as advance,
    ):
        while not session.over(validate, stop):
            epoch, first = divmod(session.state.step, plan.steps)
            share = plan.epoch(epoch).share(first, plan.steps, accelerator.process_index, accelerator.num_processes)
            with closing(loader.load(epoch, share)) as batches:
                for _ in range(first, plan.steps):
                    facts = session.step(list(islice(batches, plan.per_step // accelerator.num_processes)))
                    session.after_step(stop)
                    advance(1, total=session.state.total, **facts)
                    if session.state.step >= session.state.total:
                        break
        session.leave_if_asked(stop)  # a signal during the last validation: what follows waits for the same command
    return session.finish()


def planned_steps(recipe: TrainingRecipe, steps_per_epoch: int) -> int:
    """Optimiser steps that the recipe asks for; ``epochs`` may be a fraction."""
    steps = max(1, math.ceil(recipe.epochs * steps_per_epoch - 1e-9))
    return min(steps, recipe.max_steps or steps)


@dataclass
class _Session:
    """One sitting of a training: the parts, the state, and the clock."""

    model: nn.Module
    task: Task
    recipe: TrainingRecipe
    plan: BatchPlan
    accelerator: Accelerator
    checkpoints: Checkpoints
    open_tracker: Callable[[int], Tracker]
    metric: Metric
    optimizer: MasterAdamW
    state: LoopState
    say: Say
    updated: Callable[[], None] | None = None
    tracker: Tracker = field(default_factory=NoTracker)
    _wrapped: nn.Module = field(init=False)
    _mark: float = 0.0
    _saved: float = 0.0
    _timed: deque[float] = field(default_factory=lambda: deque(maxlen=200))  # seconds of this sitting's latest steps
    _steps: int = 0  # of this sitting

    # -- going on and ending -----------------------------------------------------------------------

    def resume(self) -> None:
        """Load the newest valid checkpoint, if any, and wrap the model for several processes."""
        main = self.accelerator.is_main_process
        if main:
            self.checkpoints.clean()
        else:
            self.say = _say_nothing
        name = from_main(self.accelerator, self.checkpoints.newest_valid() if main else None)
        if name is not None:
            found = LoopState.from_dict(self.checkpoints.load(name, self.model, self.optimizer))
            self.plan.check_signature(found.plan)
            self.state = found
            self.say(f"resuming at step {found.step} of {found.total}")
        best = self.state.best_step
        if best is not None and not from_main(self.accelerator, self.checkpoints.has_best(best) if main else None):
            self.state.best = self.state.best_step = None  # lost: choose anew from here on
        if main:
            self.tracker = self.open_tracker(self.state.step)
        self._wrapped = self.accelerator.prepare_model(self.model)
        self._wrapped.train()
        self._mark = self._saved = time.monotonic()

    def over(self, validate: Validate | None, stop: Stop) -> bool:
        """Validate where an epoch or the training ends; whether the training is over."""
        state = self.state
        last = state.step >= state.total
        if state.stop is None and state.step > state.validated and (last or state.step % self.plan.steps == 0):
            if validate is not None:
                self._validate(validate)
            state.validated = state.step
            if last:
                state.stop = "finished" if state.total == planned_steps(self.recipe, self.plan.steps) else "time"
            elif self.recipe.patience is not None and state.stale >= self.recipe.patience:
                state.stop = "patience"
            self._fit_time()
            self._save()
            if state.stop is None:
                self.leave_if_asked(stop)
        return state.stop is not None

    def finish(self) -> History:
        """The best weights into the model, and the history."""
        state, best = self.state, None
        self.accelerator.wait_for_everyone()
        if state.best_step is not None:
            self.checkpoints.load_best(state.best_step, self.model)
            best = {"metric": self.metric.name, "value": state.best, "step": state.best_step}
        self.model.eval()
        self.tracker.close()
        self.accelerator.free_memory()  # it keeps what it prepared, for the next seed's training too
        return History(
            steps=state.step,
            epochs=state.step / self.plan.steps,
            losses=[(int(step), loss) for step, loss in state.losses],
            validations=state.validations,
            best=best,
            seconds=state.seconds,
            samples_per_second=state.rows / state.step_seconds if state.step_seconds else 0.0,
            peak_memory=max(state.peak_memory, peak_memory(self.accelerator.device)),
            stop=state.stop or "finished",
        )

    # -- one step ----------------------------------------------------------------------------------

    def step(self, batches: list[Batch]) -> dict[str, float]:
        """Forward and backward over this process's micro-batches of one step, then one update."""
        accelerator, state, recipe = self.accelerator, self.state, self.recipe
        total, count, rows, bad = 0.0, 0, [], []
        for index, batch in enumerate(batches):
            place = index * accelerator.num_processes + accelerator.process_index
            torch.manual_seed(_seed(recipe.seed, state.step, place))
            last = index == len(batches) - 1
            with nullcontext() if last else accelerator.no_sync(self._wrapped):
                loss = self.task.loss(self._wrapped, send_to_device(batch, accelerator.device))
                accelerator.backward(loss.total)
            value = float(loss.total.detach())
            total, count = total + value, count + int(loss.count)
            rows += list(batch.rows)
            if not math.isfinite(value):  # said after the sums below: other processes wait there
                bad += list(batch.rows)
        total, items, n_rows, faults = add_up(accelerator, [total, count, len(rows), len(bad)])
        if faults or not math.isfinite(total):
            raise _non_finite("loss", state.step, collect(accelerator, bad))
        items = max(items, 1.0)
        factor = schedule(state.step, state.total, recipe.warmup, recipe.schedule)
        # DistributedDataParallel gives the mean over processes of summed gradients; the step wants their sum / items
        norm = self.optimizer.step(factor, accelerator.num_processes / items, recipe.clip_norm)
        if not math.isfinite(norm):
            raise _non_finite("gradient", state.step, collect(accelerator, rows))
        if self.updated is not None:
            self.updated()
        seconds = self._tick()
        self._steps += 1
        if self._steps > WARM_STEPS:
            self._timed.append(seconds)
        state.step += 1
        state.step_seconds += seconds
        state.rows += int(n_rows)
        speed = n_rows / max(seconds, 1e-9)
        mean = state.note_loss(total / items)
        if mean is not None:
            facts = {"loss": mean, "gradient_norm": norm, "samples_per_second": speed}
            facts["learning_rate"] = recipe.learning_rate * factor
            self.tracker.log({f"train/{key}": value for key, value in facts.items()}, state.step)
        return {"loss": total / items, "samples/s": speed}

    def after_step(self, stop: Stop) -> None:
        """Between steps: keep to the time, leave when asked, write a checkpoint when due."""
        if is_time_to_look(self.state.step):
            self._fit_time()
        if self.recipe.max_minutes and any_process(self.accelerator, self.state.seconds > self.recipe.max_minutes * 60):
            self.state.total = min(self.state.total, self.state.step)
        self.leave_if_asked(stop)
        every = self.recipe.checkpoint_every
        if self.state.step % every == 0 if every else time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self._save()

    # -- between steps -----------------------------------------------------------------------------

    def _validate(self, validate: Validate) -> None:
        state = self.state
        self._tick()
        self.model.eval()
        metrics = from_main(self.accelerator, {name: float(value) for name, value in validate().items()})
        self._wrapped.train()
        give_back()  # answering takes other sizes than learning does: what it leaves in the heap would not be used again
        state.validation_seconds += self._tick()
        place = {"step": state.step, "epoch": state.step / self.plan.steps, "seconds": state.seconds}
        state.validations.append({**place, "metrics": metrics})
        self.tracker.log({f"validation/{name}": value for name, value in metrics.items()}, state.step)
        if self.recipe.keep == "last" or self.metric.better(metrics[self.metric.name], state.best):
            state.best, state.best_step, state.stale = metrics[self.metric.name], state.step, 0
            if self.accelerator.is_main_process:
                self.checkpoints.save_best(state.step, self.model, {"metrics": metrics})
        else:
            state.stale += 1

    def leave_if_asked(self, stop: Stop) -> None:
        if any_process(self.accelerator, stop.requested):
            self._save()
            self.accelerator.wait_for_everyone()
            self.tracker.close()
            step = f"step {self.state.step} of {self.state.total}"
            raise Interrupted(f"stopped after {step}, which is saved", mend="the same command goes on from there")

    def _save(self) -> None:
        """A checkpoint by the main process; the others meet it again at the next step's sums."""
        self._tick()
        self.state.peak_memory = max(self.state.peak_memory, peak_memory(self.accelerator.device))
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.state.step, self.model, self.optimizer, self.state.to_dict())
        self._saved = time.monotonic()

    def _fit_time(self) -> None:
        """Stretch or cut the rest of the steps to ``max_minutes``; the decision is part of the state."""
        if not self.recipe.max_minutes or not self._timed or self.state.stop is not None:
            return
        ceiling = planned_steps(self.recipe, self.plan.steps)
        limit = self.recipe.max_minutes * 60
        fitting = steps_that_fit(self.state, sum(self._timed) / len(self._timed), self.plan.steps, limit, ceiling)
        before, self.state.total = self.state.total, from_main(self.accelerator, fitting)
        if self.state.total != before:
            self.say(f"{self.state.total} of {ceiling} planned steps fit into {self.recipe.max_minutes:g} minutes")

    def _tick(self) -> float:
        """Seconds since the last tick, added to the state's."""
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        self.state.seconds += seconds
        return seconds


def _seed(seed: int, step: int, index: int) -> int:
    low, high = np.random.SeedSequence([seed, step, index]).generate_state(2)
    return int(high) << 32 | int(low)


def _say_nothing(line: str) -> None:
    pass


def _non_finite(what: str, step: int, rows: list[Any]) -> NonFiniteLoss:
    shown = ", ".join(str(row) for row in rows[:16]) + (f" and {len(rows) - 16} more" if len(rows) > 16 else "")
    return NonFiniteLoss(
        f"the {what} is not finite in step {step + 1}, rows {shown}",
        mend="look at these rows, or lower training.learning_rate",
    )
