"""What a translator sees: features of pictures by a frozen encoder, of a column at once or of a few pictures in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import MediaError, RecipeError
from sensorium.jobs.cell_features import cell_encoder, cell_features
from sensorium.modalities import image
from sensorium.recipe import FusionRecipe, Recipe

MOST_POSITIONS = 4  # of a picture beside the one that sums it up: quarters, or fewer where the recipe asks for fewer


def picture_fusion(recipe: Recipe) -> FusionRecipe:
    """How many positions a picture has for a translator."""
    return FusionRecipe(kind="tokens", tokens=min(recipe.model.fusion.tokens, MOST_POSITIONS))


def picture_features(cells: Sequence[Any], recipe: Recipe, root: Path | None, progress: Any) -> tuple[Tensor, Tensor]:
    """Features of a column of pictures, kept by content.

    Returns:
        (rows, positions, width) fp32, zeros where ``present`` (rows,) bool is False: no picture, or one that is broken.
    """
    found = cell_features("picture", "image", _asked(recipe), cells, recipe, root, progress, picture_fusion(recipe))
    shape = next(iter(found.values())).shape if found else (1, 1)
    values, present = torch.zeros(len(cells), *shape), torch.zeros(len(cells), dtype=torch.bool)
    for row, features in found.items():
        values[row], present[row] = features, True
    return values, present


class PictureReader:
    """Pictures given while translating: the encoder is opened with the first one."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._cells: list[Any] = []
        self._compute: Any = None

    def __call__(self, pictures: Sequence[Path | bytes | None]) -> tuple[Tensor, Tensor] | None:
        """Features (pictures, positions, width) and which are there (pictures,); None where none is.

        Raises:
            MediaError: a picture cannot be read; a path is named.
        """
        there = [i for i, picture in enumerate(pictures) if picture is not None]
        if not there:
            return None
        if self._compute is None:
            asked, model = _asked(self.recipe), self.recipe.model
            self._compute, _ = cell_encoder(
                "picture", "image", asked, model, self._cells, None, picture_fusion(self.recipe)
            )
        self._cells[:] = [_bytes(pictures[i]) for i in there]
        found = torch.stack(self._compute(list(range(len(there)))))
        values, present = torch.zeros(len(pictures), *found.shape[1:]), torch.zeros(len(pictures), dtype=torch.bool)
        values[there], present[there] = found, True
        return values, present


def _asked(recipe: Recipe) -> str:
    if recipe.model.image is None:
        raise RecipeError("pictures need an encoder", where="model.image", mend="name one, or leave out the pictures")
    return recipe.model.image


def _bytes(picture: Path | bytes | None) -> dict[str, Any]:
    """A cell as tables hold media. MediaError names the path."""
    place = str(picture) if isinstance(picture, Path) else ""
    try:
        data = picture.read_bytes() if isinstance(picture, Path) else picture or b""
        image.header(data)
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror})", where=place, mend="give the path of a picture") from None
    except MediaError as error:
        raise MediaError(error.what, where=place, mend=error.mend) from None
    return {"bytes": data, "path": None}
