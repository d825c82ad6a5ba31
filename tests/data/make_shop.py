"""Makes ``tests/data/shop``: a shop that was invented for tests, with products, pictures, customers and reviews.

    python tests/data/make_shop.py

No product, person or opinion in it is real. 40 products in five categories, each a small drawing whose shape is the
category's and whose colour is in its title; 60 customers who like one or two categories and one colour; some 500
purchases with ratings from 1 to 5 and short reviews. Everything is drawn from one seed, so that the script writes the
same files each time. Product p40 is in nobody's basket.
"""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent / "shop"
COLOURS = {"red": "#d33a2c", "blue": "#2c62d3", "green": "#2f9e44", "yellow": "#e8b90c"}
THINGS = {
    "kitchen": ("mug", "bowl"),
    "garden": ("pot", "spade"),
    "toys": ("ball", "kite"),
    "office": ("folder", "stapler"),
    "clothes": ("scarf", "hat"),
}
SAID = {
    5: ("Exactly the {colour} I hoped for.", "Love this {thing}, bought a second one."),
    4: ("A good {thing}, a little small.", "Nice {colour}, arrived quickly."),
    3: ("It is a {thing}. Nothing more.", "The {colour} fades."),
    2: ("Not what I expected of a {thing}.", "Too {colour} for my taste."),
    1: ("Broke on the first day.", "I sent the {thing} back."),
}


def make(folder: Path) -> None:
    """Write ``interactions.csv``, ``items.csv``, ``users.csv`` and ``pictures/`` into ``folder``."""
    rng = np.random.default_rng(10)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    products = [(k, thing, colour) for k, things in THINGS.items() for thing in things for colour in COLOURS]
    items = []
    for i, (category, thing, colour) in enumerate(products):
        name = f"p{i + 1:02d}"
        draw(category, COLOURS[colour], int(rng.integers(0, 5))).save(folder / "pictures" / f"{name}.png")
        price = round(float(rng.uniform(3, 60)), 2)
        items.append([name, f"{colour.capitalize()} {thing}", price, category, f"pictures/{name}.png"])
    write(folder / "items.csv", ["product", "title", "price", "category", "picture"], items)
    users, bought = [], []
    for u in range(60):
        name = f"c{u + 1:02d}"
        users.append([name, int(rng.integers(18, 80)), ("town", "village", "city")[int(rng.integers(3))]])
        kinds, hue = rng.choice(list(THINGS), rng.integers(1, 3), replace=False), rng.choice(list(COLOURS))
        liking = np.array([2.5 * (k in kinds) + 1.5 * (c == hue) for k, _, c in products[:-1]])
        basket = np.argsort(-(liking + rng.gumbel(size=len(liking))))[: rng.integers(5, 13)]
        when = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(minutes=int(rng.integers(200_000)))
        for i in rng.permutation(basket).tolist():
            _, thing, colour = products[i]
            stars = int(np.clip(round(1.5 + liking[i] + rng.normal(0, 0.8)), 1, 5))
            review = SAID[stars][int(rng.integers(2))].format(thing=thing, colour=colour) if rng.random() < 0.6 else ""
            when += timedelta(minutes=int(rng.exponential(3000)) + 1)
            bought.append([name, f"p{i + 1:02d}", when.strftime("%Y-%m-%dT%H:%M:%SZ"), stars, review])
    write(folder / "users.csv", ["customer", "age", "lives_in"], users)
    bought.sort(key=lambda row: (row[2], row[0]))
    write(folder / "interactions.csv", ["customer", "product", "bought", "stars", "review"], bought)


def draw(category: str, colour: str, turn: int) -> Image.Image:
    """A drawing of 32 × 32 pixels; ``turn`` moves it by some pixels."""
    picture = Image.new("RGB", (32, 32), "white")
    pen = ImageDraw.Draw(picture)
    box = (4 + turn, 6, 24 + turn, 26)
    match category:
        case "kitchen":
            pen.ellipse(box, fill=colour)
        case "garden":
            pen.polygon([(4 + turn, 26), (24 + turn, 26), (14 + turn, 6)], fill=colour)
        case "toys":
            pen.polygon([(14 + turn, 4), (24 + turn, 16), (14 + turn, 28), (4 + turn, 16)], fill=colour)
        case "office":
            pen.rectangle(box, fill=colour)
        case _:
            pen.rectangle((4 + turn, 13, 24 + turn, 19), fill=colour)
    return picture


def write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    make(FOLDER)
