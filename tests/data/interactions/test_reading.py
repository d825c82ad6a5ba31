"""Interactions from files: what was written comes out, and what is wrong is set aside, counted and told."""

import json
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from sensorium.data.interactions.reading import open_interactions
from sensorium.data.media import read_media
from sensorium.errors import DataError
from sensorium.recipe import DataRecipe, InteractionsRecipe
from sensorium.recipe.interactions import EntityTable, KnowledgeTable
from tests.data.make_shop import make
from tests.data.shops import NOW, recipe_of

SHOP = Path(__file__).parents[1] / "shop"
COLUMNS = {"user": "customer", "item": "product", "time": "bought", "rating": "stars", "review": "review"}


def shop_recipe(**more: object) -> DataRecipe:
    tables = {"items": EntityTable(source="items.csv"), "users": EntityTable(source="users.csv")}
    told = InteractionsRecipe(**{**COLUMNS, **tables, "rating_range": (1, 5), **more})
    return DataRecipe(source=str(SHOP / "interactions.csv"), interactions=told)


def rows_of(inter) -> list[tuple]:
    users, items = inter.users.names, inter.items.names
    return [
        (users[u], items[i], t, None if np.isnan(r) else float(r))
        for u, i, t, r in zip(inter.user, inter.item, inter.time, inter.rating, strict=True)
    ]


# -- whole data sets -------------------------------------------------------------------------------


def test_the_shop_with_pictures_and_reviews(tmp_path):
    inter, report = open_interactions(shop_recipe(), tmp_path, NOW)
    assert report.lines() == [
        "interactions.csv: 527 interactions, 527 usable",
        "1 items of the item table are in no interaction: kept: cold items",
    ]
    assert inter.items.inputs == {"title": "text", "price": "number", "category": "category", "picture": "image"}
    assert inter.users.inputs == {"age": "number", "lives_in": "category"}
    assert len(inter) == 527 and len(inter.items) == 40 and len(inter.users) == 60
    first = (inter.users.names[inter.user[0]], inter.items.names[inter.item[0]], inter.rating[0])
    assert first == ("c09", "p02", 5) and inter.time[0] == 1710020880  # 2024-03-09T21:48:00Z
    assert inter.reviews[0] is None and inter.reviews[2] == "It is a pot. Nothing more."
    blue = inter.items.index()["p02"]
    assert inter.items.cells["title"][blue] == "Blue mug" and inter.items.cells["price"][blue] == 50.22
    data = read_media(inter.items.cells["picture"][blue], inter.items.root)
    assert data == (SHOP / "pictures" / "p02.png").read_bytes()
    assert inter.items.has_row.all() and len(inter.notes["fingerprint"]) == 64


def test_the_script_makes_the_shop_again(tmp_path):
    from PIL import Image

    make(tmp_path)
    for name in ("interactions.csv", "items.csv", "users.csv"):
        assert (tmp_path / name).read_bytes() == (SHOP / name).read_bytes()
    pictures = sorted(path.name for path in (SHOP / "pictures").iterdir())
    assert pictures == sorted(path.name for path in (tmp_path / "pictures").iterdir()) and len(pictures) == 40
    for name in pictures:
        ours, theirs = (np.asarray(Image.open(folder / "pictures" / name)) for folder in (tmp_path, SHOP))
        assert np.array_equal(ours, theirs)


def test_formats_agree(tmp_path):
    rows = [("a", "x", 1000, 3.0), ("b", "y", 2000, None), ("a", "y", 3000, 5.0)]
    names = ("user_id", "item_id", "timestamp", "rating")
    lines = "\n".join(",".join("" if c is None else str(c) for c in row) for row in rows) + "\n"
    recipe_of(tmp_path, lines)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(dict(zip(names, row))) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist([dict(zip(names, row)) for row in rows]), tmp_path / "t.parquet")
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        recipe = DataRecipe(
            source=str(tmp_path / name), format="interactions", interactions=InteractionsRecipe(rating="rating")
        )
        assert rows_of(open_interactions(recipe, tmp_path / "cache", NOW)[0]) == rows


@pytest.mark.parametrize(
    "times",
    [
        [1700000000, 1700000060],
        [1700000000000, 1700000060000],
        ["2023-11-14T22:13:20", "2023-11-14 22:14:20"],
        ["2023-11-14T23:13:20+01:00", "2023-11-14T22:14:20Z"],
        ["1700000000", "2023-11-14T22:14:20"],
        [np.datetime64("2023-11-14T22:13:20"), np.datetime64("2023-11-14T22:14:20")],
    ],
    ids=["seconds", "milliseconds", "iso", "zones", "mixed", "datetimes"],
)
def test_times_in_every_form(tmp_path, times):
    table = pa.table({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": times})
    pq.write_table(table, tmp_path / "t.parquet")
    inter, report = open_interactions(DataRecipe(source=str(tmp_path / "t.parquet")), tmp_path / "cache", NOW)
    assert inter.time.tolist() == [1700000000, 1700000060]
    assert ("times_in_other_units" in report.findings) == (times[0] == 1700000000000)


# -- what is wrong with rows -----------------------------------------------------------------------

BAD = {
    "duplicate": ("a,x,1,3", "{n} interactions repeat another: the first stays"),
    "future": ("b,x,1999999999,3", "{n} interactions are dated in the future: set aside"),
    "unreadable_time": ("b,x,soon,3", "{n} interactions have no readable time: set aside"),
    "missing_user": (",x,5,3", "{n} interactions name no user: set aside"),
    "missing_item": ("b, ,5,3", "{n} interactions name no item: set aside"),
    "rating_out_of_range": ("b,x,5,6", "{n} ratings lie outside 1 to 5: set aside"),
    "rating_no_number": ("b,x,5,good", "{n} ratings are no numbers: set aside"),
    "malformed": ("b,x,5,3,4,5", "{n} lines are malformed: left out"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_are_set_aside_and_told(tmp_path, kind):
    line, told = BAD[kind]
    text = f"a,x,1,3\n{line}\nb,y,2,\n"
    inter, report = open_interactions(recipe_of(tmp_path, text, rating_range=(1, 5)), tmp_path / "cache", NOW)
    assert rows_of(inter) == [("a", "x", 1, 3.0), ("b", "y", 2, None)]
    assert report.findings == {kind: 1} and report.lines()[1:] == [told.format(n=1)]
    assert report.usable == 2 and len(report.set_aside) == 1
    assert report.set_aside[0]["file"] == "t.csv row 2" and report.set_aside[0]["reason"]
    assert report.set_aside[0]["row"] == (None if kind == "malformed" else 1)
    report.write_quarantine(tmp_path / "quarantine.jsonl")
    assert [json.loads(one) for one in (tmp_path / "quarantine.jsonl").read_text().splitlines()] == report.set_aside
    json.dumps(report.to_dict())
    with pytest.raises(DataError, match=r"t\.csv row 2.*bad_rows: quarantine"):
        open_interactions(recipe_of(tmp_path, text, "stop", rating_range=(1, 5)), tmp_path / "cache", NOW)


def test_a_row_with_two_faults_is_counted_once(tmp_path):
    _, report = open_interactions(recipe_of(tmp_path, "a,x,1,3\n,x,soon,bad\n"), tmp_path / "cache", NOW)
    assert report.findings == {"missing_user": 1} and len(report.set_aside) == 1


def test_same_item_again_is_no_duplicate(tmp_path):
    inter, report = open_interactions(recipe_of(tmp_path, "a,x,1,3\na,x,2,3\nb,x,1,3\n"), tmp_path / "cache", NOW)
    assert len(inter) == 3 and report.findings == {}


def test_ids_of_mixed_type_are_one(tmp_path):
    rows = [(1, 7), ("1", "7.0"), (1.0, "8"), (" 1", 8), ("01", 7)]
    lines = [{"user_id": u, "item_id": i, "timestamp": t} for t, (u, i) in enumerate(rows)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pq.write_table(pa.table({"item_id": [7.0, 8.0], "title": ["seven", "eight"]}), tmp_path / "items.parquet")
    told = InteractionsRecipe(items=EntityTable(source="items.parquet", inputs={"title": "text"}))
    recipe = DataRecipe(source=str(tmp_path / "t.jsonl"), interactions=told)
    inter, report = open_interactions(recipe, tmp_path / "cache", NOW)
    assert inter.users.names == ["1", "01"] and inter.items.names == ["7", "8"]  # 01 is a code
    assert inter.user.tolist() == [0, 0, 0, 0, 1] and inter.item.tolist() == [0, 0, 1, 1, 0]
    assert report.findings["ids_of_mixed_type"] == 5 and inter.items.cells["title"] == ["seven", "eight"]


# -- tables beside the interactions ----------------------------------------------------------------


def test_items_without_row_untouched_and_repeated(tmp_path):
    (tmp_path / "items.csv").write_text("id,title,price\nx,first,1\nz,never,2\nx,second,3\n,nobody,4\n")
    told = EntityTable(source="items.csv", key="id", inputs={"title": "text", "price": "number"})
    inter, report = open_interactions(recipe_of(tmp_path, "a,y,1,\na,x,2,\n", items=told), tmp_path / "cache", NOW)
    assert inter.items.names == ["x", "z", "y"] and inter.item.tolist() == [2, 0]
    assert inter.items.cells == {"title": ["first", "never", None], "price": [1.0, 2.0, None]}
    assert inter.items.has_row.tolist() == [True, True, False]
    assert report.findings == {
        "item_rows_without_id": 1,
        "duplicate_item_rows": 1,
        "items_without_row": 1,
        "items_untouched": 1,
    }


def test_pictures_that_cannot_be_read_are_missing_and_told(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "x.png").write_bytes((SHOP / "pictures" / "p01.png").read_bytes())
    (tmp_path / "secret.png").write_bytes(b"not yours")
    (tmp_path / "shop" / "items.csv").write_text("item_id,picture\nx,x.png\ny,gone.png\nz,../secret.png\nw,\n")
    lines = "a,x,1,\na,y,2,\na,z,3,\na,w,4,\n"
    told = EntityTable(source="items.csv", inputs={"picture": "image"})
    recipe = recipe_of(tmp_path / "shop", lines, items=told)
    inter, report = open_interactions(recipe, tmp_path / "cache", NOW)
    assert inter.items.cells["picture"] == ["x.png", None, None, None]
    assert report.findings == {"item_media_unreadable": 2} and inter.items.has_row.all()
    assert "gone.png" in report.lines()[-1]


def test_the_knowledge_graph_and_its_links(tmp_path):
    (tmp_path / "kg.csv").write_text("head,relation,tail\nm1,by,ann\nm2,by,ann\nann,from,rome\nm1,,x\n")
    (tmp_path / "link.csv").write_text("item,entity\nx,m1\ny,m2\n")
    graph = KnowledgeTable(triples="kg.csv", links="link.csv")
    lines = "a,x,1,\na,y,2,\na,z,3,\n"
    inter, report = open_interactions(recipe_of(tmp_path, lines, knowledge=graph), tmp_path / "cache", NOW)
    known = inter.knowledge
    named = [(known.entities[h], known.relations[r], known.entities[t]) for h, r, t in known.triples]
    assert named == [("m1", "by", "ann"), ("m2", "by", "ann"), ("ann", "from", "rome")]
    assert [known.entities[e] if e >= 0 else None for e in known.of_item] == ["m1", "m2", None]
    assert report.findings == {"incomplete_triples": 1, "items_without_entity": 1}


def test_without_links_items_are_entities_by_name(tmp_path):
    (tmp_path / "kg.tsv").write_text("from\twhat\tto\nx\tlike\ty\n")
    graph = KnowledgeTable(triples="kg.tsv")
    inter, _ = open_interactions(recipe_of(tmp_path, "a,y,1,\na,x,2,\n", knowledge=graph), tmp_path / "cache", NOW)
    assert [inter.knowledge.entities[e] for e in inter.knowledge.of_item] == ["y", "x"]


# -- the core --------------------------------------------------------------------------------------


def test_k_core_is_iterative_and_told(tmp_path):
    # c and z hold one another up until z falls; then c has one left, and falls too
    lines = "a,x,1,\na,y,2,\nb,x,3,\nb,y,4,\nc,z,5,\nc,x,6,\n"
    inter, report = open_interactions(recipe_of(tmp_path, lines, k_core=2), tmp_path / "cache", NOW)
    assert inter.users.names == ["a", "b"] and inter.items.names == ["x", "y"] and len(inter) == 4
    assert report.findings == {"k_core_users": 1, "k_core_items": 1, "k_core_interactions": 2}
    with pytest.raises(DataError, match="no interactions are left in the 9-core"):
        open_interactions(recipe_of(tmp_path, lines, k_core=9), tmp_path / "cache", NOW)


def test_k_core_takes_items_out_of_the_table(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\nz,zed\ny,why\nw,double\nx,ex\n")
    lines = "a,x,1,\na,y,2,\nb,x,3,\nb,y,4,\nc,z,5,\nc,x,6,\n"
    told = EntityTable(source="items.csv", inputs={"title": "text"})
    inter, _ = open_interactions(recipe_of(tmp_path, lines, k_core=2, items=told), tmp_path / "cache", NOW)
    assert inter.items.names == ["y", "x"] and inter.items.cells["title"] == ["why", "ex"]
    assert inter.item.tolist() == [1, 0, 1, 0]


# -- what cannot be read at all --------------------------------------------------------------------

REFUSED = {
    "a wrong column": ({"user": "user"}, "did you mean user_id?"),
    "a wrong rating": ({"rating": "ratings"}, "did you mean rating?"),
    "no item table": ({"items": EntityTable(source="none.csv")}, "items.source: none.csv: no such file"),
    "a wrong key": ({"items": EntityTable(source="t.csv", key="item")}, "did you mean item_id?"),
    "a wrong input": (
        {"items": EntityTable(source="t.csv", inputs={"ratin": "number"})},
        "items.inputs, t.csv: there is no column ratin; did you mean rating?",
    ),
    "a wrong type": (
        {"items": EntityTable(source="t.csv", inputs={"user_id": "number"})},
        "data.interactions.items.inputs.user_id: no cell is a number",
    ),
    "one column of triples": ({"knowledge": KnowledgeTable(triples="one.csv")}, "1 columns instead of 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_in_one_line(tmp_path, case):
    columns, line = REFUSED[case]
    (tmp_path / "one.csv").write_text("head\nm1\n")
    with pytest.raises(DataError) as raised:
        open_interactions(recipe_of(tmp_path, "a,x,1,3\n", **columns), tmp_path / "cache", NOW)
    assert line in str(raised.value) and "\n" not in str(raised.value)


def test_nothing_left_says_why(tmp_path):
    with pytest.raises(DataError, match=r"no interactions are left.*1 interactions name no user"):
        open_interactions(recipe_of(tmp_path, ",x,1,3\n"), tmp_path / "cache", NOW)


def test_an_unknown_name_is_told_the_near_one(tmp_path):
    with pytest.raises(DataError, match="did you mean movielens-100k"):
        open_interactions(DataRecipe(source="movielens-10k"), tmp_path, NOW)


def test_the_fingerprint_is_of_all_files(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\nx,ex\n")
    told = EntityTable(source="items.csv", inputs={"title": "text"})
    recipe = recipe_of(tmp_path, "a,x,1,\n", items=told)
    prints = {open_interactions(recipe, tmp_path / "cache", NOW)[0].notes["fingerprint"] for _ in range(2)}
    assert len(prints) == 1
    (tmp_path / "items.csv").write_text("item_id,title\nx,other\n")
    assert open_interactions(recipe, tmp_path / "cache", NOW)[0].notes["fingerprint"] not in prints


def test_max_rows_takes_a_fixed_choice(tmp_path):
    recipe = recipe_of(tmp_path, "".join(f"a,i{i},{i},\n" for i in range(20)))
    recipe.max_rows = 5
    one, report = open_interactions(recipe, tmp_path / "cache", NOW)
    two, _ = open_interactions(recipe, tmp_path / "cache", NOW)
    assert len(one) == 5 and rows_of(one) == rows_of(two) and report.findings == {"not_chosen": 15}


@pytest.mark.long
def test_a_million_rows_are_read_in_bounded_time_and_memory(tmp_path):
    rng = np.random.default_rng(0)
    rows = 1_000_000
    table = pa.table(
        {
            "user_id": rng.integers(0, 50_000, rows),
            "item_id": [f"i{i}" for i in rng.integers(0, 20_000, rows)],
            "timestamp": rng.integers(10**9, 1_700_000_000, rows),
            "rating": rng.integers(1, 6, rows),
        }
    )
    csv.write_csv(table, tmp_path / "t.csv")
    told = InteractionsRecipe(rating="rating", rating_range=(1, 5), k_core=5)
    peak, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    inter, _ = open_interactions(DataRecipe(source=str(tmp_path / "t.csv"), interactions=told), tmp_path / "cache", NOW)
    spent = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    print(f"{len(inter):,} interactions: {spent:.1f} s, {grown:.0f} MiB more")
    assert len(inter) > 990_000 and spent < 60 and grown < 800
