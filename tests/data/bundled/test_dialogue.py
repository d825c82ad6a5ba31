"""emoji-dialogue: right answers, nothing of the test part in training, the same bytes for the same seed."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from sensorium import assets
from sensorium.data.bundled import dialogue as room
from sensorium.data.bundled.dialogue import VOICES, chunks, conversations, messages_of, read_emoji, said, sets_of
from sensorium.data.bundled.phrases import ASKED, FOLLOW_UPS, SYSTEM
from sensorium.data.messages import MediaPart, from_openai
from sensorium.data.schema import infer_schema
from sensorium.data.sources import open_source
from sensorium.data.splits import split
from sensorium.recipe import DataRecipe

COUNTS = {"train": 60, "validation": 10, "test": 40}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small emoji.parquet: 160 pictures of 80 concepts, their bytes their number."""
    rows = [
        {
            "concept": f"c{i // 2}",
            "name": f"thing {i}",
            "tags": [f"tag{'abcdefgh'[i % 8]}", "Not Said", "x"],
            "group": f"group {(i // 2) % 4}",
            "subgroup": f"sub {(i // 2) % 9}",
            "picture": {"bytes": b"%d" % i, "path": f"{i}.png"},
        }
        for i in range(160)
    ]
    folder = tmp_path / "emoji"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "emoji.parquet")
    monkeypatch.setattr(assets, "locate", lambda name: tmp_path / name)
    return folder / "emoji.parquet"


def test_parts_share_no_concept_voice_or_way_to_ask(path: Path) -> None:
    emoji = read_emoji(path)
    parts = {name: {one.concept for some in sets_of(emoji, name) for one in some} for name in room.SHARES}
    assert not parts["train"] & parts["test"] and not parts["train"] & parts["validation"]
    assert not parts["validation"] & parts["test"]
    assert set().union(*parts.values()) == {one.concept for one in emoji}
    assert not set(VOICES["train"]) & set(VOICES["test"])
    asked = {
        held: {p for phrases in (*ASKED.values(), *FOLLOW_UPS.values()) for p in getattr(phrases, held)}
        for held in VOICES
    }
    assert not asked["train"] & asked["test"]
    for name in room.SHARES:
        held = "test" if name == "test" else "train"
        for one in conversations(emoji, name, 30):
            assert one.voice in VOICES[held] and one.split == name
            shown = {data for turn in one.turns for data in turn.images}
            assert {e.concept for e in emoji if e.picture in shown} <= parts[name]


def test_every_answer_follows_from_what_was_shown_and_asked(path: Path) -> None:
    emoji = {one.picture: one for one in read_emoji(path)}
    seen: Counter[str] = Counter()
    for one in conversations(list(emoji.values()), "train", 400):
        turns, last = one.turns, one.turns[-1]
        seen[one.kind] += 1
        shown = [emoji[data] for turn in turns for data in turn.images]
        group = {True: "yes", False: "no"}
        if one.kind == "same_class":
            assert last.answer == group[shown[-1].group == shown[-2].group] and len(last.images) == 2
        elif one.kind == "as_before":
            assert last.answer == group[shown[-1].group == shown[-2].group] and len(last.images) == 1
        elif one.kind == "first_image":
            assert last.answer == shown[0].group and not last.images and len(turns) == 3
        elif one.kind in ("its_type", "its_class"):
            assert last.answer == (shown[0].subgroup if one.kind == "its_type" else shown[0].group) and not last.images
        elif one.kind == "this_one":
            before = "group" if turns[0].words in ASKED["group"].train else "subgroup"
            assert turns[0].words in ASKED[before].train and last.answer == getattr(shown[-1], before)
        elif one.kind == "tag":
            word = next(w for w in last.words.split() if w.startswith("tag"))
            assert last.answer == group[word in shown[-1].tags]
        else:
            assert last.answer == getattr(shown[-1], one.kind)
    assert len(seen) == 10 and len(set(seen.values())) == 1
    assert {kind for kind in seen if kind in FOLLOW_UPS} == set(FOLLOW_UPS)


def test_yes_and_no_come_about_equally_often(path: Path) -> None:
    told: dict[str, Counter[str]] = {}
    for one in conversations(read_emoji(path), "train", 1500):
        told.setdefault(one.kind, Counter())[one.turns[-1].answer] += 1
    for kind in ("same_class", "as_before", "tag"):
        assert 0.35 < told[kind]["yes"] / 150 < 0.65


def test_messages_are_openai_s_and_end_with_the_answer(path: Path) -> None:
    one = next(c for c in conversations(read_emoji(path), "test", 10) if c.kind == "this_one")
    for spoken in (False, True):
        told = from_openai(messages_of(one, spoken=spoken))
        assert [m.role for m in told] == ["system", *["user", "assistant"] * len(one.turns)]
        assert told[0].text == SYSTEM and told[-1].text == one.turns[-1].answer
        kinds = [[p.type for p in m.parts if isinstance(p, MediaPart)] for m in told if m.role == "user"]
        assert kinds == [["image", "audio"] if spoken else ["image"]] * 2
        assert not spoken or not any(m.text for m in told if m.role == "user")


def test_noise_is_as_loud_as_it_says(path: Path) -> None:
    one = next(iter(conversations(read_emoji(path), "train", 1)))
    clean, rate = soundfile.read(io.BytesIO(said(one, 0, None)))
    assert rate == 16_000 and 0.5 < len(clean) / rate < 10 and np.abs(clean).max() == pytest.approx(0.5, abs=1e-3)
    for decibels in (20.0, 0.0):
        noisy, _ = soundfile.read(io.BytesIO(said(one, 0, decibels)))
        scale = np.dot(noisy, clean) / np.dot(clean, clean)  # the noise is independent of the words
        noise = noisy - scale * clean
        found = 10 * np.log10(np.mean((scale * clean) ** 2) / np.mean(noise**2))
        assert found == pytest.approx(decibels, abs=1.0)


def table(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(room, "COUNTS", COUNTS)
    recipe = DataRecipe(source="emoji-dialogue")
    source = open_source(recipe, cache)
    return source, infer_schema(source, recipe)


def test_the_table(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, schema = table(path, tmp_path / "cache", monkeypatch)
    assert len(source) == 110 and schema.messages == "messages" and schema.task == "generate"
    assert (schema.group, schema.split) == ("concept", "split")
    named = infer_schema(source, DataRecipe(source="emoji-dialogue", split={"column": "split"}))  # type: ignore[arg-type]
    assert (named.group, named.split) == ("concept", "split")  # intervals are drawn over sets of concepts all the same
    assert {"kind", "asked", "needs_history", "snr", "voice"} <= set(schema.by) and schema.inputs == {}
    rows = source.table.to_pylist()
    assert Counter(row["split"] for row in rows) == COUNTS
    for row in rows:
        parts = [p for m in json.loads(row["messages"]) if m["role"] == "user" for p in m["content"]]
        sounds = [p for p in parts if p["type"] == "input_audio"]
        assert (row["asked"] == "spoken") == bool(sounds) == (row["voice"] != "none") == (row["snr"] != "typed")
        assert row["needs_history"] == ("yes" if row["kind"] in FOLLOW_UPS else "no")
        assert all(base64.b64decode(p["input_audio"]["data"])[:4] == b"fLaC" for p in sounds)
    assert 35 < sum(row["asked"] == "spoken" for row in rows) < 75


@pytest.mark.parametrize("way", [{"column": "split"}, {"group_by": "concept"}])
def test_no_split_parts_the_images_of_a_conversation(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: dict
) -> None:
    source, _ = table(path, tmp_path / "cache", monkeypatch)
    spec = DataRecipe(source="emoji-dialogue", split={**way, "test": 0.3, "seed": 3})  # type: ignore[arg-type]
    found = split(source, infer_schema(source, spec), spec.split, np.arange(len(source)))
    emoji = {one.picture: one.concept for one in read_emoji(path)}
    concepts = []
    for part in (found.train, found.validation, found.test):
        urls = [
            p["image_url"]["url"].partition(",")[2]
            for row in part
            for m in json.loads(source.table["messages"][int(row)].as_py())
            if m["role"] == "user"
            for p in m["content"]
            if p["type"] == "image_url"
        ]
        concepts.append({emoji[base64.b64decode(url)] for url in urls})
    assert (
        all(concepts)
        and not concepts[0] & concepts[1]
        and not concepts[0] & concepts[2]
        and not concepts[1] & concepts[2]
    )


def test_the_same_seed_gives_the_same_bytes(path: Path) -> None:
    few = {"train": 6, "validation": 1, "test": 3}
    one, other, another = (
        [chunk.columns["messages"].to_pylist() for chunk in chunks(path, few, seed)] for seed in (0, 0, 1)
    )
    assert one == other and one != another


@pytest.mark.real
def test_at_least_a_hundred_spoken_test_questions() -> None:
    """Of the real table as it is built for everybody, without building it."""
    emoji = read_emoji(assets.locate("emoji") / "emoji.parquet")
    test = list(conversations(emoji, "test", room.COUNTS["test"]))
    spoken = [one for one in test if np.random.default_rng([*one.seed, 14]).random() < 0.5]
    assert len(test) == 500 and len(spoken) >= 200 and len({one.concept for one in test}) >= 30
