"""From files, or a bundled name, to interactions with their items, users and knowledge graph, checked."""

from __future__ import annotations

import difflib
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from sensorium.data.interactions.arrays import Interactions
from sensorium.data.interactions.checks import InteractionReport, Sieve, k_core, read_ids, read_ratings, read_times
from sensorium.data.interactions.entities import join_entities, keep_entities
from sensorium.data.interactions.knowledge import read_knowledge
from sensorium.data.interactions.sources import InteractionSources
from sensorium.data.schema import require
from sensorium.data.sources import find, open_source
from sensorium.data.tables import Source
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe, InteractionsRecipe


def open_interactions(
    data: DataRecipe, cache: Path, now: float | None = None
) -> tuple[Interactions, InteractionReport]:
    """Open what ``data.source`` and ``data.interactions`` name, and set aside what cannot be used.

    Ids are text; users and items stand in their tables' order, then those without a row by first appearance.
    ``notes`` holds ``fingerprint`` (SHA-256 over all files) and ``name``.

    Args:
        cache: the folder of converted tables.
        now: seconds since 1970; interactions after it are dated in the future. The clock's time by default.

    Raises:
        DataError: a file or column is missing, nothing is left, or, with ``bad_rows: stop``, some row is bad.
    """
    from sensorium.data.bundled.interactions import BUNDLED_INTERACTIONS

    recipe = data.interactions or InteractionsRecipe()
    if isinstance(data.source, str) and data.source in BUNDLED_INTERACTIONS:
        sources, own = BUNDLED_INTERACTIONS[data.source](Path(cache))
        recipe = own.model_copy(update={name: getattr(recipe, name) for name in recipe.model_fields_set})
    else:
        _refuse_unknown(data.source, sorted(BUNDLED_INTERACTIONS))
        sources = _open_files(data, recipe, Path(cache))
    inter, report = assemble(
        sources, recipe, time.time() if now is None else now, data.bad_rows == "stop", data.max_rows
    )
    return inter, report


def assemble(
    sources: InteractionSources, recipe: InteractionsRecipe, now: float, stop: bool = False, max_rows: int | None = None
) -> tuple[Interactions, InteractionReport]:
    """Check and join opened tables; see ``open_interactions``."""
    source = sources.interactions
    columns = {"user": recipe.user, "item": recipe.item, "time": recipe.time}
    columns |= {key: name for key in ("rating", "review") if (name := getattr(recipe, key)) is not None}
    for key, name in columns.items():
        require(name, source.table.column_names, f"data.interactions.{key}, {source.name}")
    report = InteractionReport(source.name, len(source))
    sieve = Sieve(source, report)
    users, user_names, odd_users = read_ids(source.table.column(recipe.user))
    items, item_names, odd_items = read_ids(source.table.column(recipe.item))
    report.add(
        "ids_of_mixed_type", odd_users + odd_items, '{n} ids are written in several ways (1, 1.0, "1"): read as one'
    )
    when, rating = _check(sieve, recipe, users, items, now)
    if stop:
        sieve.refuse()
    kept = np.flatnonzero(sieve.good)
    if max_rows is not None and len(kept) > max_rows:
        kept = np.sort(np.random.default_rng(0).permutation(kept)[:max_rows])
        report.add(
            "not_chosen", int(sieve.good.sum()) - max_rows, f"{{n}} rows are left out by data.max_rows: {max_rows:,}"
        )
    if not len(kept):
        raise DataError(
            "no interactions are left", where=source.name, mend="mend the rows set aside: " + _reasons(report)
        )
    if recipe.k_core:
        core = k_core(users[kept], items[kept], recipe.k_core)
        _tell_core(report, recipe.k_core, users[kept], items[kept], core)
        kept = kept[core]
        if not len(kept):
            what = f"no interactions are left in the {recipe.k_core}-core"
            raise DataError(what, where="data.interactions.k_core", mend="lower it, or set it to 0")
    report.usable = len(kept)
    inter = _join(sources, recipe, report, kept, (users, user_names), (items, item_names))
    reviews = None
    if recipe.review is not None:
        cells = source.table.column(recipe.review).take(pa.array(kept)).to_pylist()
        reviews = [text if isinstance(text, str) and text.strip() else None for text in cells]
    inter.time, inter.rating, inter.reviews = when[kept], rating[kept], reviews
    inter.notes = {"fingerprint": sources.fingerprint(), "name": source.name, **sources.notes}
    return inter, report


# -- the interactions ------------------------------------------------------------------------------


def _check(
    sieve: Sieve, recipe: InteractionsRecipe, users: np.ndarray, items: np.ndarray, now: float
) -> tuple[np.ndarray, np.ndarray]:
    """Times and ratings (rows,), every bad row set aside."""
    table, report = sieve.source.table, sieve.report
    sieve.drop(users < 0, "missing_user", recipe.user, "there is no user", "{n} interactions name no user: set aside")
    sieve.drop(items < 0, "missing_item", recipe.item, "there is no item", "{n} interactions name no item: set aside")
    when, unit = read_times(table.column(recipe.time))
    if unit:
        report.add("times_in_other_units", len(when), f"{{n}} times are numbers past the year 5138: read as {unit}")
    reason = "the time cannot be read"
    sieve.drop(
        np.isnan(when), "unreadable_time", recipe.time, reason, "{n} interactions have no readable time: set aside"
    )
    future = "{n} interactions are dated in the future: set aside"
    sieve.drop(when > now, "future", recipe.time, "dated in the future", future)
    rating = np.full(len(when), np.nan, dtype=np.float32)
    if recipe.rating is not None:
        rating, no_number = read_ratings(table.column(recipe.rating))
        line = "{n} ratings are no numbers: set aside"
        sieve.drop(no_number, "rating_no_number", recipe.rating, "the rating is no number", line)
        if recipe.rating_range is not None:
            low, high = recipe.rating_range
            said = f"outside {low:g} to {high:g}"
            outside = (rating < low) | (rating > high)
            line = f"{{n}} ratings lie {said}: set aside"
            sieve.drop(outside, "rating_out_of_range", recipe.rating, f"the rating lies {said}", line)
    again = np.zeros(len(when), dtype=bool)
    good = np.flatnonzero(sieve.good)
    order = good[np.lexsort((good, when[good], items[good], users[good]))]
    if len(order):
        same = [np.diff(one[order]) == 0 for one in (users, items, when)]
        again[order[1:]] = np.logical_and.reduce(same)
    reason, line = "repeats an earlier row (user, item, time)", "{n} interactions repeat another: the first stays"
    sieve.drop(again, "duplicate", "", reason, line)
    return when, rating


def _tell_core(report: InteractionReport, k: int, user: np.ndarray, item: np.ndarray, core: np.ndarray) -> None:
    lost = {
        "users": len(np.unique(user)) - len(np.unique(user[core])),
        "items": len(np.unique(item)) - len(np.unique(item[core])),
        "interactions": int((~core).sum()),
    }
    for noun, count in lost.items():
        report.add(f"k_core_{noun}", count, f"{{n}} {noun} are outside the {k}-core: left out")


def _join(
    sources: InteractionSources,
    recipe: InteractionsRecipe,
    report: InteractionReport,
    kept: np.ndarray,
    users: tuple[np.ndarray, list[str]],
    items: tuple[np.ndarray, list[str]],
) -> Interactions:
    """Entities and indices in place of ids; times and ratings are still to come."""
    joined = {}
    for noun, (codes, names), table, column in (
        ("user", users, sources.users, recipe.user),
        ("item", items, sources.items, recipe.item),
    ):
        asked = getattr(recipe, f"{noun}s")
        used, at = np.unique(codes[kept], return_index=True)
        seen = [names[i] for i in used[np.argsort(at)].tolist()]
        key = (asked.key if asked else None) or column
        entities = join_entities(seen, table, key, asked.inputs if asked else None, noun, report)
        if recipe.k_core and table is not None:
            entities = keep_entities(entities, np.flatnonzero(np.isin(entities.names, seen)))
        index = entities.index()
        lookup = np.array([index.get(name, -1) for name in names], dtype=np.int64)
        joined[noun] = entities, lookup[codes[kept]]
    empty = np.zeros(0)
    inter = Interactions(joined["user"][0], joined["item"][0], joined["user"][1], joined["item"][1], empty, empty)
    if sources.triples is not None:
        inter.knowledge = read_knowledge(sources.triples, sources.links, inter.items.names, report)
    return inter


def _reasons(report: InteractionReport) -> str:
    return "; ".join(report.told.values())


# -- files -----------------------------------------------------------------------------------------


def _refuse_unknown(source: str | list[str], bundled: list[str]) -> None:
    """Raise a DataError where a plain name is neither a file nor a bundled data set."""
    if isinstance(source, str) and not any(c in source for c in "/\\*?[") and not Path(source).exists():
        near = difflib.get_close_matches(source, bundled, n=1)
        mend = f"did you mean {near[0]}?" if near else f"check the path; bundled interactions: {', '.join(bundled)}"
        raise DataError("no such file", where=f"data.source {source}", mend=mend)


def _open_files(data: DataRecipe, recipe: InteractionsRecipe, cache: Path) -> InteractionSources:
    format_ = "auto" if data.format == "interactions" else data.format
    source = open_source(data.model_copy(update={"format": format_, "root": None}), cache)
    folders = [path if path.is_dir() else path.parent for path in find(data.source)][:1]

    def beside(name: str, where: str) -> Source:
        near = folders[0] / name if folders else Path(name)
        path = near if near.exists() else Path(name).expanduser()
        if not path.exists():
            what = "no such file beside the interactions or in the working directory"
            raise DataError(what, where=f"data.interactions.{where}: {name}", mend="check the path")
        told = DataRecipe(source=str(path), bad_rows=data.bad_rows, root=data.root)
        return open_source(told, cache)

    items = beside(recipe.items.source, "items.source") if recipe.items else None
    users = beside(recipe.users.source, "users.source") if recipe.users else None
    graph = recipe.knowledge
    triples = beside(graph.triples, "knowledge.triples") if graph else None
    links = beside(graph.links, "knowledge.links") if graph and graph.links else None
    return InteractionSources(source, items, users, triples, links)
