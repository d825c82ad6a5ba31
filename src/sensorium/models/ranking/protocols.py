"""What ranking asks of a model: vectors of items and of users, whose products are the scores."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from sensorium.data.interactions.arrays import Histories


class Ranker(Protocol):
    """Scores are ``user_vectors(histories) @ item_vectors().T + item_bias()``."""

    def item_vectors(self, without: frozenset[str] = frozenset()) -> Tensor:
        """(items, width) fp32, of all items of the catalogue, in evaluation mode."""
        ...

    def item_bias(self) -> Tensor:
        """(items,) fp32; zeros where there is none."""
        ...

    def user_vectors(self, histories: Histories, without: frozenset[str] = frozenset()) -> Tensor:
        """(users, width) fp32; an empty history gives what the user's attributes alone say.

        Args:
            without: names of what is withheld: ``identity``, an input of the items (``title``), ``knowledge``,
                ``users`` (their attributes), ``gaps``, ``ratings``.
        """
        ...
