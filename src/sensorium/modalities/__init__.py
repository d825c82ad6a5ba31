"""The senses: from bytes and cells to arrays. One file each; none knows of tables' files or of models' widths.

Every modality decodes or cleans, augments (in training), and corrupts (in audits: severity 1 to 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]  # (array, severity, generator) -> array


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one example in one epoch: the same triple gives the same numbers, in any order of asking.

    Philox, keyed by hashing the triple (Salmon et al. 2011), so that a resumed or parallel run draws what an
    undisturbed one draws. ``seed``, ``epoch`` and ``index`` are not negative.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, index])))


def corruption(kinds: Mapping[str, Corruption], kind: str, severity: int) -> Corruption:
    """The corruption of a sense by its name. ValueError where there is none, or ``severity`` is not 1 to 5."""
    if kind not in kinds or severity not in range(1, 6):
        raise ValueError(f"no corruption {kind!r} of severity {severity}; kinds: {', '.join(kinds)}; 1 to 5")
    return kinds[kind]
