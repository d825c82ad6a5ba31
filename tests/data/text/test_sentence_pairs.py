"""Next-sentence pairs: balance, documents that do not mix, wrong ones that are wrong, room."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.text.sentence_pairs import cut, sentence_pairs
from sensorium.data.text.stream import Corpus, inside
from sensorium.errors import DataError
from sensorium.recipe import SplitRecipe
from tests.data.text.test_stream import corpus_of, tokenizer

SPLIT = SplitRecipe(validation=0.2, test=0.2)


def story(number: int, sentences: int) -> str:
    return " ".join(f"Story {number} says {i}." for i in range(sentences))


def told(ids: np.ndarray) -> tuple[int, int]:
    """Story and sentence of a sentence of ``story``."""
    words = tokenizer().decode(ids).strip(". ").split()
    return int(words[1]), int(words[3])


@settings(max_examples=15)  # each writes shards and syncs them
@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=20), st.integers(150, 900), st.integers(0, 3), st.integers(0, 3)
)
def test_half_follow_and_half_are_of_another_document(
    tmp_path_factory: Any, counts: list[int], shard: int, seed: int, epoch: int
) -> None:
    counts = [2, 3, *counts]
    corpus = corpus_of([story(i, count) for i, count in enumerate(counts)], tmp_path_factory.mktemp("cache"), shard)
    pairs = sentence_pairs(corpus, 1_000, SPLIT, seed=seed)
    assert len(pairs) == sum(count - 1 for count in counts)
    made = [pairs[(epoch, index)] for index in range(len(pairs))]
    assert abs(sum(pair.follows for pair in made) - len(made) / 2) <= 0.5
    for index, pair in enumerate(made):
        (story_1, at_1), (story_2, at_2) = told(pair.first), told(pair.second)
        assert pair.documents == (story_1, story_2)
        assert at_2 > 0  # a wrong one, too, is a second sentence
        assert (story_1, at_1 + 1) == (story_2, at_2) if pair.follows else story_1 != story_2
        assert pairs[(epoch + 1, index)].follows is not pair.follows
        again = sentence_pairs(corpus, 1_000, SPLIT, seed=seed)[(epoch, index)]
        assert again.second.tolist() == pair.second.tolist()
    firsts = sorted(told(pair.first) for pair in made)
    assert firsts == [(i, k) for i, count in enumerate(counts) for k in range(count - 1)]


def test_pairs_keep_to_their_part_and_open_where_they_are_read(tmp_path: Path) -> None:
    corpus = corpus_of([story(i, 4) for i in range(80)], tmp_path)
    for part in ("train", "validation", "test"):
        pairs = pickle.loads(pickle.dumps(sentence_pairs(corpus, 40, SPLIT, part)))
        mine = set(
            np.concatenate([inside(corpus.shard(i), part, SPLIT) + corpus.firsts[i] for i in range(corpus.shards)])
        )
        seen = {number for index in range(len(pairs)) for number in pairs[(0, index)].documents}
        assert seen and seen <= mine and len(pairs) == 3 * len(mine)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(2, 60))
def test_the_longer_sentence_gives_way(first: int, second: int, room: int) -> None:
    left, right = cut(first, second, room)
    assert 1 <= left <= first and 1 <= right <= second
    assert left + right == min(room, first + second)
    assert left == first or left >= right - 1
    assert right == second or right >= left - 1


def test_what_is_kept_is_what_meets(tmp_path: Path) -> None:
    corpus = corpus_of([story(i, 3) for i in range(9)], tmp_path)
    whole, short = sentence_pairs(corpus, 1_000, SPLIT), sentence_pairs(corpus, 6, SPLIT)
    for index in range(len(whole)):
        one, two = whole[(0, index)], short[(0, index)]
        assert one.first.tolist()[-len(two.first) :] == two.first.tolist()
        assert one.second.tolist()[: len(two.second)] == two.second.tolist()
        assert len(two.first) + len(two.second) == 6


@pytest.mark.parametrize("texts", [["One. Two. Three."], ["one", "two"], ["One. Two.", "three"]])
def test_too_few_sentences_are_refused(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(DataError, match="fewer than two documents have two sentences; leave next_sentence out"):
        sentence_pairs(corpus_of(texts, tmp_path), 40, SPLIT)


def test_equal_documents_have_no_wrong_sentences(tmp_path: Path) -> None:
    pairs = sentence_pairs(corpus_of(["One. Two."] * 3, tmp_path), 40, SPLIT)
    with pytest.raises(DataError, match="fewer than two documents have two sentences"):
        _ = [pairs[(0, index)] for index in range(3)]


def test_a_tokenizer_that_marks_the_start_of_every_text_is_refused(tmp_path: Path) -> None:
    made = corpus_of(["One. Two.", "Three. Four."], tmp_path)
    without = Corpus(made.folder, made.firsts, made.tokens, made.begin, made.end, sentences=False)
    with pytest.raises(DataError, match="do not part at sentences; leave next_sentence out"):
        sentence_pairs(without, 40, SPLIT)
