"""People in the report of a recommend run: titles and pictures stand where indices were."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from sensorium.data.interactions import Entities, Histories, Interactions
from sensorium.evaluation.ranking_table import RankingMeasured
from sensorium.jobs.ranking_page import people, title


def picture() -> bytes:
    page = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(page, "PNG")
    return page.getvalue()


def test_a_person_is_shown_with_titles_pictures_and_the_held_out_item():
    items = Entities(
        ["i0", "i1", "i2"],
        {"name": "text", "photo": "image"},
        {"name": ["Lamp", None, "Chair"], "photo": [picture(), None, b"broken"]},
    )
    users = Entities(
        ["ann", "bob"], {"age": "number", "city": "category"}, {"age": [31.0, None], "city": ["Bern", None]}
    )
    none = np.zeros(0)
    inter = Interactions(users, items, none.astype(int), none.astype(int), none, none)
    cases = RankingMeasured(
        ranks={"after": np.array([2, 3])},
        top={"after": np.array([[2, 0, -1], [1, 0, -1]])},
        users=np.array([0, 1]),
        targets=np.array([0, 2]),
        popularity=np.ones(3, dtype=int),
    )
    test = Histories(np.array([[-1, 1], [-1, -1]]), np.zeros((2, 2)), np.zeros((2, 2)), np.array([0, 1]))
    ann, bob = sorted(people(inter, cases, test), key=lambda person: person.user)
    assert (ann.about, ann.history, ann.held_out, ann.place) == ("age 31, city Bern", ["i1"], "Lamp", 1)
    assert [one.title for one in ann.recommended] == ["Chair", "Lamp"]
    assert ann.recommended[1].picture is not None and ann.recommended[1].picture.data == picture()
    assert (bob.about, bob.history, bob.held_out, bob.place, bob.rank) == ("", [], "Chair", None, 3)
    assert title(items, 1) == "i1"
