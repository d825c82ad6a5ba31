"""How every ``fit`` starts: the run's folder locked and begun, what was measured before kept, what was found in the data told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sensorium.jobs.prepare import Prepared
from sensorium.recipe import Recipe
from sensorium.run import Run, write_json
from sensorium.training.precision import Choice


@contextmanager
def begun(folder: Path, recipe: Recipe, fingerprint: str, fresh: bool, progress: Any) -> Iterator[Run]:
    """The locked run of ``recipe``, new or to be gone on with.

    Args:
        fresh: move an earlier run aside first.

    Raises:
        RunError: another process holds it, or it is another recipe's or other data's.
    """
    with Run.locked(folder) as run:
        aside = run.set_aside() if fresh else None
        if aside is not None:
            progress(f"the earlier run is now in {aside}")
        run.begin(recipe, fingerprint)
        yield run


def resumed(run: Run, recipe: Recipe) -> Recipe:
    """The recipe with the precision and attention that an earlier sitting of the run measured, where there was one."""
    earlier = run.resolved()
    if earlier is None:
        return recipe
    kept = {"precision": earlier.training.precision, "attention": earlier.training.attention}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=kept)})


def with_choice(recipe: Recipe, choice: Choice) -> Recipe:
    """The recipe with the precision and attention that were chosen."""
    chosen = {"precision": choice.precision, "attention": choice.attention}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=chosen)})


def announce_data(prepared: Prepared, run: Run, progress: Any, *, task: bool = True) -> None:
    """Show what was inferred and found, and keep it.

    Args:
        task: whether the task that follows from the schema is told too.
    """
    told = prepared.schema.lines()
    for line in [*(told if task else told[:-1]), *prepared.report.lines()]:
        progress(line)
    sizes = {part: len(getattr(prepared.splits, part)) for part in ("train", "validation", "test")}
    progress(", ".join(f"{count:,} {part}" for part, count in sizes.items()) + f" rows ({prepared.splits.method})")
    write_json(
        run.folder / "data_report.json",
        prepared.report.to_dict() | {"splits": sizes, "split_method": prepared.splits.method},
    )
    prepared.report.write_quarantine(run.folder / "quarantine.jsonl", prepared.source)
