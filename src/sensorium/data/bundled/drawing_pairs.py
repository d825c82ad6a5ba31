"""``emoji-draw``: names with pictures, and pictures with what becomes of them, for drawing, editing and captioning.

Held out are combinations (profession × skin tone × gender that no training row shows, each of whose parts some do) and
whole concepts. Both are held out as pictures: an edit that starts from or leads to one is no training row either.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium.data.bundled.phrases import EDITS
from sensorium.data.readers.chunks import MEDIA, Chunk, from_values

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
READ = ("id", "concept", "name", "group", "subgroup", "skin_tone", "gender", "direction", "picture")
COLUMNS = ("id", "name", "concept", "group", "skin_tone", "gender", "change", "kind", "split", "held_out")
TEST_CONCEPTS, CONCEPTS_BEFORE, VALIDATION_CONCEPTS = 0.1, 0.2, 0.03  # shares of all concepts, see ``_held_concepts``
EVERY = ("train", "validation", "test")

Picture = Mapping[str, Any]  # a row of the asset's tables


def read_pictures(folder: Path) -> list[dict[str, Any]]:
    """All pictures, those with skin tones behind those without: ``READ``, picture as PNG bytes."""
    rows: list[dict[str, Any]] = []
    for name in ("emoji", "variants"):
        rows += pq.read_table(folder / f"{name}.parquet", columns=list(READ), use_threads=False).to_pylist()
    return [row | {"picture": row["picture"]["bytes"]} for row in rows]


# -- what is held out ------------------------------------------------------------------------------


def parts(pictures: Sequence[Picture], seed: int = 0) -> list[tuple[str, str]]:
    """(split, held_out) of each picture: ``train`` with "", else ``concept`` or ``combination``; same in, same out.

    Of each concept of a single person that comes with several genders and five tones, two combinations of tone and
    gender are tested and one is validated on. They share neither tone nor gender, so that for each the same concept
    trains with the tone and another gender, and with the gender and another tone.
    """
    concepts = _held_concepts(pictures)
    combinations = _held_combinations([one for one in pictures if one["concept"] not in concepts], seed)
    found = []
    for one in pictures:
        combined = combinations.get((one["concept"], one["skin_tone"], one["gender"]), "")
        of_concept = concepts.get(one["concept"], "")
        found.append(
            (of_concept or combined or "train", "concept" if of_concept else "combination" if combined else "")
        )
    return found


def _held_concepts(pictures: Sequence[Picture]) -> dict[str, str]:
    """Concept -> part. All that are tested are among the test concepts of ``emoji-ask`` at seed 0, and those that are
    validated on among its validation concepts, so that both can be compared on the same pictures."""
    plain = [one["concept"] for one in pictures if not one["skin_tone"]]
    keys = np.random.default_rng([0, 8]).random(3 * len(plain))[::3]  # three questions a picture
    first: dict[str, float] = {}
    for concept, key in zip(plain, keys, strict=True):
        first.setdefault(concept, float(key))
    order = sorted(first, key=lambda concept: first[concept])
    sizes = np.array([plain.count(concept) for concept in order])
    middle = (np.cumsum(sizes) - sizes / 2) / len(plain)
    held = dict.fromkeys((order[i] for i in np.flatnonzero(middle < TEST_CONCEPTS)), "test")
    after = (middle >= CONCEPTS_BEFORE) & (middle < CONCEPTS_BEFORE + VALIDATION_CONCEPTS)
    return held | dict.fromkeys((order[i] for i in np.flatnonzero(after)), "validation")


def _held_combinations(pictures: Sequence[Picture], seed: int) -> dict[tuple[str, str, str], str]:
    """(concept, skin tone, gender) -> part."""
    shown: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    looks: dict[str, set[bytes]] = defaultdict(set)
    for one in pictures:
        if one["skin_tone"] in TONES and one["subgroup"].startswith("person"):
            shown[one["concept"]][one["gender"]].add(one["skin_tone"])
            looks[one["concept"]].add(one["picture"])
    held = {}
    for number, (concept, genders) in enumerate(sorted(shown.items())):
        distinct = len(looks[concept]) >= sum(len(tones) for tones in genders.values())
        if len(genders) < 2 or any(len(tones) < len(TONES) for tones in genders.values()) or not distinct:
            continue
        rng = np.random.default_rng([seed, 21, number])
        people, tones = rng.permutation(sorted(genders)), rng.permutation(TONES)
        for part, person, tone in zip(("test", "test", "validation"), people, tones, strict=False):
            held[concept, str(tone), str(person)] = part
    return held


# -- edits -----------------------------------------------------------------------------------------


def edits(pictures: Sequence[Picture], seed: int = 0) -> list[tuple[int, int, str, str]]:
    """(source, target, what changes, instruction): numbers of pictures that differ in one thing and not in pixels.

    From every picture without a tone to each tone; from one with a tone to none and to one other; to one other gender;
    to the other direction. Pictures whose concept, tone, gender and direction are another's too take no part.
    """
    keys = [_key(one) for one in pictures]
    told = Counter(keys)
    place = {key: number for number, key in enumerate(keys) if told[key] == 1}
    genders: dict[str, set[str]] = defaultdict(set)
    for one in pictures:
        genders[one["concept"]].add(one["gender"])
    found = []
    for number, one in enumerate(pictures):
        if keys[number] not in place:  # families and flags: several pictures that differ in something else
            continue
        rng = np.random.default_rng([seed, 22, number])
        others = [tone for tone in ("", *TONES) if tone != one["skin_tone"]]
        if one["skin_tone"] in TONES:
            others = ["", others[1 + int(rng.integers(len(others) - 1))]]
        people = [gender for gender in sorted(genders[one["concept"]]) if gender != one["gender"] and "+" not in gender]
        changes = [("skin_tone", tone) for tone in others]
        changes += [("gender", people[int(rng.integers(len(people)))])] if people else []
        changes += [("direction", "" if one["direction"] else "right")]
        for change, value in changes:
            other = place.get(_key({**one, change: value}))
            if other is not None and pictures[other]["picture"] != one["picture"]:
                said = EDITS[change][value]
                found.append((number, other, change, said[int(rng.integers(len(said)))]))
    return found


def _key(one: Picture) -> tuple[str, ...]:
    """What tells a picture from its variants."""
    return (one["concept"], one["group"], one["subgroup"], one["skin_tone"], one["gender"], one["direction"])


def edit_part(source: tuple[str, str], target: tuple[str, str]) -> tuple[str, str] | None:
    """(split, held_out) of an edit: the target's, where the source is no further held out; else None, left out."""
    if EVERY.index(source[0]) > EVERY.index(target[0]):
        return None
    return target


# -- as a table ------------------------------------------------------------------------------------


def chunks(folder: Path, seed: int = 0) -> Iterator[Chunk]:
    """The table: ``prompt``, ``picture`` and ``source`` (null where nothing is edited) beside ``COLUMNS``."""
    pictures = read_pictures(folder)
    given = parts(pictures, seed)
    told: list[tuple[str, int, int | None, str, tuple[str, str]]] = [
        (one["name"], number, None, "", part) for number, (one, part) in enumerate(zip(pictures, given, strict=True))
    ]
    for source, target, change, said in edits(pictures, seed):
        part = edit_part(given[source], given[target])
        if part is not None:
            told.append((said, target, source, change, part))
    for start in range(0, len(told), 512):
        rows = told[start : start + 512]
        columns = {
            "prompt": from_values([row[0] for row in rows]),
            "picture": _pictures([pictures[row[1]]["picture"] for row in rows]),
            "source": _pictures([None if row[2] is None else pictures[row[2]]["picture"] for row in rows]),
        }
        for name in COLUMNS[:6]:
            columns[name] = pa.array([pictures[row[1]][name] for row in rows], pa.large_string())
        columns["change"] = pa.array([row[3] for row in rows], pa.large_string())
        columns["kind"] = pa.array(["edit" if row[3] else "draw" for row in rows], pa.large_string())
        for place, name in enumerate(("split", "held_out")):
            columns[name] = pa.array([row[4][place] for row in rows], pa.large_string())
        yield Chunk(0, columns, len(rows))


def _pictures(data: list[bytes | None]) -> pa.Array:
    return pa.array([None if one is None else {"bytes": one, "path": None} for one in data], MEDIA)
