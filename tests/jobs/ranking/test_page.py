"""People in the report of a recommend run: titles and pictures stand where indices were."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from sensorium.data.interactions.arrays import Entities, Histories, Interactions, InteractionSplits
from sensorium.data.interactions.checks import InteractionReport
from sensorium.evaluation.page_parts import data_view
from sensorium.evaluation.ranking_table import RankingMeasured
from sensorium.jobs.ranking.page import data_found, people, title
from sensorium.jobs.ranking.rankings import Shop


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


def test_findings_are_told_with_what_was_set_aside_first():
    report = InteractionReport("seen", rows=9, usable=7)
    report.add("items_without_row", 3, "{n} items have no row in the item table: kept, without attributes")
    report.add("future", 2, "{n} interactions are dated in the future: set aside")
    report.dropped.add("future")
    report.set_aside = [{"row": row} for row in (1, 2)]
    none = np.zeros(0, dtype=int)
    inter = Interactions(Entities(["u"]), Entities(["a", "b"]), none, none, none, none)
    splits = InteractionSplits(np.arange(5), np.arange(1), np.arange(1), np.zeros(2, dtype=bool), "")
    shown = data_view(data_found(Shop(inter, splits, report)))
    assert (shown["rows"], shown["quarantined"]) == (9, 2)
    assert shown["splits"] == [("train", 5), ("validation", 1), ("test", 1)]
    assert [(one["severity"], one["count"]) for one in shown["findings"]] == [
        ("quarantine", 2), ("note", 3), ("note", 2), ("note", 1),
    ]  # fmt: skip
    assert shown["findings"][0]["message"] == "2 interactions are dated in the future: set aside"
