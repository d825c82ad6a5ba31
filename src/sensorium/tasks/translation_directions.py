"""Which of a translator's directions is meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sensorium.errors import DataError

SIDES = ("from", "into")


def chosen_direction(directions: Sequence[str], source: str | None, target: str | None) -> tuple[str, str]:
    """Source and target tags as the translator writes them; what is left open must follow from the rest.

    Args:
        directions: as "en-de". source, target: tags in whatever case, or None.

    Raises:
        DataError: a tag is not known (those known are named), the direction was not learnt, or several are possible.
    """
    pairs = [(a, b) for a, _, b in (direction.partition("-") for direction in directions)]
    for side, tag in ((0, source), (1, target)):
        known = list(dict.fromkeys(pair[side] for pair in pairs))
        if tag is not None and _plain(tag) not in map(_plain, known):
            raise DataError(
                f"this run does not translate {SIDES[side]} {tag.strip() or 'nothing'}", mend=_near(tag, known)
            )
    fitting = [
        (a, b)
        for a, b in pairs
        if (source is None or _plain(a) == _plain(source)) and (target is None or _plain(b) == _plain(target))
    ]
    if len(fitting) == 1:
        return fitting[0]
    told = ", ".join(directions[:20]) + (", …" if len(directions) > 20 else "")
    if not fitting:
        raise DataError(f"{source} into {target} was not learnt", mend=f"directions: {told}")
    raise DataError("the direction is not clear", mend=f"name the language from and into which to translate: {told}")


def _near(tag: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(_plain(tag), [_plain(one) for one in known], n=1, cutoff=0.5)
    return f"known: {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")


def _plain(tag: str) -> str:
    return tag.strip().lower().replace("_", "-")
