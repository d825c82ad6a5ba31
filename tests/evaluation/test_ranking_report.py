"""The page of a recommend run: complete in itself, plain about popularity, and safe with hostile titles."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sensorium.evaluation.embed import Media
from sensorium.evaluation.ranking_report import Person, Suggestion, choose_people, write_ranking_report
from sensorium.evaluation.ranking_table import RankingMeasured, ranking_metrics

CASES, ITEMS = 60, 30


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    draw = np.random.default_rng(0)
    ranks = {name: draw.integers(1, ITEMS, CASES) for name in ("after", "most_popular")}
    top = {name: np.array([draw.permutation(ITEMS)[:20] for _ in range(CASES)]) for name in ranks}
    cases = RankingMeasured(
        ranks, top, np.arange(CASES), draw.integers(0, ITEMS, CASES), draw.integers(0, 50, ITEMS),
        groups={"gender": ["F", "M"] * (CASES // 2)},
    )  # fmt: skip
    metrics = ranking_metrics(cases, n_resamples=100)
    picture = Media("image", np.zeros((8, 8, 3), dtype=np.uint8))
    people = [
        Person("7", ["Heat", "<b>Alien</b>"], [Suggestion("Fargo", picture), Suggestion("<script>x</script>")], "Fargo", 1, 0),
        Person("8", [], [Suggestion("Heat", Media("image", b"no picture"))], "Sleepers", 1234),
    ]  # fmt: skip
    history = {"losses": [(1, 7.0), (2, 6.0)], "validations": [{"step": 2, "epoch": 1, "metrics": {"ndcg@10": 0.05}}]}
    path = tmp_path_factory.mktemp("run") / "report.html"
    write_ranking_report(path, cases, metrics, history, title="films", recipe_yaml="task: recommend", people=people)
    return path.read_text()


def test_it_refers_to_nothing_outside_and_shows_hostile_titles_as_text(page):
    assert "<script" not in page and "<b>Alien" not in page
    assert "&lt;script&gt;x" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_it_shows_systems_groups_curves_popularity_and_people(page):
    for said in ("most popular", "By gender", "Validation: NDCG@10", "Lorenz curve", "consumed in training", "user 7"):
        assert said in page
    assert re.search(r"<b>Fargo</b>\s*<span class=\"mark right\">✓ held out", page)
    assert "place 1,234 of all" in page
    assert "(empty)" in page


def test_a_picture_stands_beside_its_title_and_one_that_cannot_be_read_does_not(page):
    assert page.count('src="data:image/png') == 1


def test_people_are_found_and_missed_ones():
    ranks = np.array([1, 2, 50, 60, 3, 70])
    cases = RankingMeasured({"after": ranks}, {}, np.arange(6), np.zeros(6, int), np.ones(3, int))
    chosen = choose_people(cases, 4)
    assert sum(ranks[i] <= 10 for i in chosen) == 2
