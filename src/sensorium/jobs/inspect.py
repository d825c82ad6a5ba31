"""``data check`` and ``data show``: what is wrong with data, and one example as the model will see it."""

from __future__ import annotations

from functools import partial
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sensorium import assets
from sensorium.data.checks.check import DataReport, check
from sensorium.data.inference import tell
from sensorium.data.media import read_media
from sensorium.data.schema import Schema
from sensorium.data.sources import open_source
from sensorium.errors import DataError
from sensorium.jobs.parts import build_processor, encoder_names, encoders_needed, resolve
from sensorium.jobs.prepare import described, look, open_data, part, prepare
from sensorium.models.processor import Processor
from sensorium.recipe import DataRecipe, Recipe
from sensorium.training.progress import make_progress


def check_data(what: Recipe | str, progress: Any = None) -> DataReport:
    """What is wrong with the data of a recipe, or with a file, whose target is then not known.

    With a recipe the splits are made too, and duplicates across them are found.
    """
    if isinstance(what, Recipe):
        looked = look(what, progress or make_progress(), stop=False)
        usable = len(looked.source) > len(looked.report.quarantined)
        return part(what, looked).report if usable else looked.report
    data = DataRecipe(source=what)
    source = open_source(data, assets.cache_root() / "tables")
    try:
        _, schema = open_data(Recipe(data=data))
    except DataError:  # no target is named: every column is looked at as an input
        told = {name: tell(name, source.table.column(name)).type for name in source.table.column_names}
        schema = Schema({name: kind for name, kind in told.items() if kind is not None}, None, "text", "generate")  # type: ignore[misc]
    return check(source, schema, partial(read_media, root=source.root), progress or make_progress(), need_target=False)


def show_example(recipe: Recipe, row: int) -> Group:
    """Row ``row`` as the model will see it: its cells, then tokens, media blocks, and what is supervised."""
    prepared = prepare(recipe)
    if not 0 <= row < len(prepared.rows):
        raise DataError(
            f"there are {len(prepared.rows)} rows, counted from 0", where=f"--row {row}", mend="choose a smaller one"
        )
    if row in prepared.report.quarantined:
        column, reason = prepared.report.quarantined[row]
        raise DataError(
            f"quarantined: {reason}", where=f"{prepared.source.place(row)}, {column}", mend="mend or drop the row"
        )
    recipe = described(recipe, prepared.schema)
    kinds = encoders_needed(recipe, prepared)
    named = {"backbone": recipe.model.backbone, **encoder_names(recipe, kinds)}
    folders = {key: resolve(name, key) for key, name in named.items()}
    processor = build_processor(recipe, prepared, kinds, folders)
    example = prepared.rows[row]
    used = next((p for p in ("train", "validation", "test") if row in getattr(prepared.splits, p)), "not used")
    cells = Table("column", "type", "cell", title=f"{prepared.source.place(row)} ({used})", title_justify="left")
    target = prepared.schema.target or "last answer"
    types: dict[str, str] = {**prepared.schema.inputs, target: "target"}
    for name, value in {**example.inputs, target: example.target}.items():
        cells.add_row(Text(name), types.get(name, "chat"), Text(_shown(value)))
    return Group(cells, tokens_table(processor, processor.sequence([example])))


def tokens_table(processor: Processor, sequence: Any) -> Group:
    """A sequence in runs of tokens: text as it is read, media as blocks, supervised runs marked."""
    inside = [] if sequence.memory else sequence.media  # cross-attention looks at them from beside
    slots = {place: item for item in inside for place in item.slots}
    taught = dict(zip(sequence.sources, sequence.answers, strict=True))
    answered = {source + 1 for source in taught}
    table = Table("places", "what", "supervised", title="as the model sees it", title_justify="left")
    start = 0
    while start < len(sequence.ids):
        kind = (id(slots.get(start)) if start in slots else 0, start in answered)
        stop = start
        while stop < len(sequence.ids) and (id(slots.get(stop)) if stop in slots else 0, stop in answered) == kind:
            stop += 1
        item = slots.get(start)
        what = _block(item) if item is not None else repr(processor.tokenizer.decode(sequence.ids[start:stop]))
        table.add_row(f"{start}–{stop - 1}", Text(what), "yes" if kind[1] else "")
        start = stop
    apart = [Text(f"beside the text: {_block(item)}") for item in sequence.media if sequence.memory or not item.slots]
    target = [Text(f"target of the head: {sequence.targets[0]:g}")] if sequence.targets else []
    return Group(table, *apart, *target, Text(f"{len(sequence.ids)} tokens, {sequence.supervised} supervised"))


def _block(item: Any) -> str:
    if item.value is None:
        return f"[{item.column}: missing, its learned vector]"
    return f"[{item.column}: {item.positions} positions from {' × '.join(map(str, item.value.shape))}]"


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "bytes" in value:
        return f"{len(value['bytes'] or b''):,} bytes {value.get('path') or ''}".strip()
    text = "(missing)" if value is None else str(value)
    return text if len(text) <= 200 else text[:199] + "…"
