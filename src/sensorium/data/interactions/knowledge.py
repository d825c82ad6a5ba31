"""Knowledge graphs: a table of triples, and which entity each item is."""

from __future__ import annotations

import numpy as np

from sensorium.data.interactions.arrays import KnowledgeGraph
from sensorium.data.interactions.checks import InteractionReport, read_ids
from sensorium.data.tables import Source
from sensorium.errors import DataError


def read_knowledge(
    triples: Source, links: Source | None, items: list[str], report: InteractionReport
) -> KnowledgeGraph:
    """The graph of ``triples`` (head, relation, tail) for ``items``, by the table ``links`` (item, entity) or by name.

    Columns go by those names, or are the first three (two). Triples with an empty cell are left out and counted.

    Raises:
        DataError: there are fewer columns, or no triple is left.
    """
    (heads, head_names, _), (relations, relation_names, _), (tails, tail_names, _) = _columns(
        triples, ("head", "relation", "tail"), "data.interactions.knowledge.triples"
    )
    whole = (heads >= 0) & (relations >= 0) & (tails >= 0)
    report.add("incomplete_triples", int((~whole).sum()), "{n} triples have an empty cell: left out")
    if not whole.any():
        raise DataError("there are no whole triples", where=triples.name, mend="give head, relation and tail a row")
    index = {name: i for i, name in enumerate(head_names)}
    to_entity = np.array([index.setdefault(name, len(index)) for name in tail_names] or [0], dtype=np.int64)
    found = np.stack([heads, relations, to_entity[np.maximum(tails, 0)]], axis=1)[whole]
    entity_of = {name: name for name in items}
    if links is not None:
        (of, item_names, _), (which, entity_names, _) = _columns(
            links, ("item", "entity"), "data.interactions.knowledge.links"
        )
        pairs = zip(of.tolist(), which.tolist(), strict=True)
        entity_of = {}
        for item, entity in pairs:
            if item >= 0 and entity >= 0:
                entity_of.setdefault(item_names[item], entity_names[entity])
    of_item = np.array([index.get(entity_of.get(name, ""), -1) for name in items], dtype=np.int64)
    missing = int((of_item < 0).sum())
    report.add("items_without_entity", missing, "{n} items are no entity of the knowledge graph: kept, without it")
    return KnowledgeGraph(list(index), relation_names, found, of_item)


def _columns(source: Source, names: tuple[str, ...], where: str) -> list[tuple[np.ndarray, list[str], int]]:
    columns = source.table.column_names
    chosen = list(names) if set(names) <= set(columns) else columns[: len(names)]
    if len(chosen) < len(names):
        raise DataError(
            f"there are {len(columns)} columns instead of {len(names)}",
            where=f"{where}, {source.name}",
            mend=f"give columns {', '.join(names)}",
        )
    return [read_ids(source.table.column(name)) for name in chosen]
