"""A SIMULATED shop of real pictures: 600 emoji, and 800 made-up users whose tastes follow colour and shape.

Nobody ever made these choices. Every picture belongs to a hidden family, told from its pixels alone: the colour that
dominates and the silhouette. Each user likes two or three families and picks items by a softmax over family and
popularity, so that one draw in five or so is noise. An item has a dozen interactions, too few to learn it by heart;
who sees the pictures can tell which items belong together. Names, groups and families are withheld.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sensorium import assets
from sensorium.data.interactions.sources import InteractionSources
from sensorium.data.readers.chunks import MEDIA, Chunk, from_values
from sensorium.data.tables import build
from sensorium.recipe import InteractionsRecipe
from sensorium.recipe.interactions import EntityTable
from sensorium.run import sha256_file

ITEMS, USERS = 600, 800
EACH = (7, 13)  # interactions of a user, the upper end left out
LIKING, POPULARITY = 3.5, 0.7  # logit of a liked family; standard deviation of items' own logits
RATED = 0.3  # share of interactions that come with a rating
START, DAY = 1_704_067_200, 86_400  # 2024-01-01 UTC, seconds
VIVID = 0.15  # mean saturation below which a picture is grey
HUES = np.array([0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 0])  # of 12 bins from red: red, yellow, green, blue, violet
GREY, SHAPES = 5, 4
NOTE = "simulated: real emoji pictures, made-up users whose choices follow hidden families of colour and shape"


def emoji_taste(cache: Path, seed: int = 0) -> tuple[InteractionSources, InteractionsRecipe]:
    """The tables and what they mean; the same seed gives the same bytes."""
    path = assets.locate("emoji") / "emoji.parquet"
    print_ = f"{sha256_file(path)} emoji-taste 1 {seed}"
    names = ["emoji-taste"]
    items = build(lambda: _items(path, seed), "emoji-taste", f"{print_} items", cache, names=names, kind="taste-items")
    inter = build(lambda: _interactions(path, seed), "emoji-taste", print_, cache, names=names, kind="taste")
    recipe = InteractionsRecipe(
        rating="rating",
        rating_range=(1, 5),
        items=EntityTable(source="emoji-taste", key="item_id", inputs={"picture": "image"}),
    )
    return InteractionSources(inter, items, notes={"simulated": NOTE}), recipe


def family_of(png: bytes) -> int:
    """The hidden family of a picture: 4 × colour (red, yellow, green, blue, violet, grey) + shape.

    Shape: 0 wide, 1 tall, 2 full (ink on more than half of the square), 3 slight.
    """
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    ink = np.asarray(picture)[..., 3] > 127
    if not ink.any():
        return SHAPES * GREY + 3
    hue, saturation, value = np.moveaxis(np.asarray(picture.convert("RGB").convert("HSV"), dtype=np.int64), -1, 0)
    strength = np.where(ink, saturation * value, 0)
    if strength.sum() < VIVID * 255**2 * ink.sum():
        colour = GREY
    else:
        bins = HUES[hue * 12 // 256]
        colour = int(np.bincount(bins.ravel(), weights=strength.ravel(), minlength=GREY).argmax())
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    aspect = (columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1)
    shape = 0 if aspect > 1.2 else 1 if aspect < 0.85 else 2 if ink.mean() > 0.5 else 3
    return SHAPES * colour + shape


def chosen(path: Path, seed: int) -> tuple[list[str], list[bytes], np.ndarray]:
    """Ids, pictures and hidden families of the catalogue: as even over families as the pictures allow."""
    table = pq.read_table(path, columns=["id", "picture"])
    ids = table.column("id").to_pylist()
    pictures = [cell["bytes"] for cell in table.column("picture").to_pylist()]
    family = np.array([family_of(picture) for picture in pictures])
    order = np.random.default_rng([seed, 11]).permutation(len(ids))
    turn = np.zeros(len(ids), dtype=np.int64)  # how many of its family come before it
    for one in np.unique(family):
        mine = order[family[order] == one]
        turn[mine] = np.arange(len(mine))
    taken = np.sort(order[np.argsort(turn[order], kind="stable")][:ITEMS])
    return [ids[i] for i in taken], [pictures[i] for i in taken], family[taken]


def _items(path: Path, seed: int) -> Iterator[Chunk]:
    ids, pictures, _ = chosen(path, seed)
    cells = pa.array([{"bytes": picture, "path": None} for picture in pictures], MEDIA)
    yield Chunk(0, {"item_id": from_values(ids), "picture": cells}, len(ids))


def _interactions(path: Path, seed: int) -> Iterator[Chunk]:
    ids, _, family = chosen(path, seed)
    rng = np.random.default_rng([seed, 12])
    popular = rng.normal(0, POPULARITY, len(ids))
    families = np.unique(family)
    told: dict[str, list[object]] = {name: [] for name in ("user_id", "item_id", "rating", "timestamp")}
    for user in range(USERS):
        liked = np.isin(family, rng.choice(families, rng.integers(2, 4), replace=False))
        # The largest of logits with Gumbel noise are draws from their softmax, none twice.
        drawn = np.argsort(-(LIKING * liked + popular + rng.gumbel(size=len(ids))))[: rng.integers(*EACH)]
        drawn = rng.permutation(drawn)
        times = START + np.cumsum(rng.exponential(DAY, len(drawn))).astype(np.int64) + int(rng.integers(200 * DAY))
        ratings = np.where(liked[drawn], rng.integers(4, 6, len(drawn)), rng.integers(1, 4, len(drawn)))
        given = rng.random(len(drawn)) < RATED
        told["user_id"] += [f"user-{user + 1}"] * len(drawn)
        told["item_id"] += [ids[i] for i in drawn]
        told["rating"] += [int(r) if has else None for r, has in zip(ratings, given, strict=True)]
        told["timestamp"] += times.tolist()
    yield Chunk(0, {name: from_values(values) for name, values in told.items()}, len(told["user_id"]))
