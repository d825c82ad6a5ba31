"""Training units of pretraining: what an epoch reads, and what is drawn anew in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.collate import Sequence
from sensorium.data.text.masking import sentinel_names
from sensorium.data.text.mixing import Mixture
from sensorium.data.text.stream import tokenised
from sensorium.jobs.pretraining.data import PartTokens
from sensorium.jobs.pretraining.parts import Start
from sensorium.jobs.pretraining.readers import Captions, Following, Foretold, Masked, Replaying
from sensorium.jobs.pretraining.units import Units, text_readers
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import PretrainingRecipe, SplitRecipe

TEXTS = [f"One cat saw {n} birds. Two birds saw the cat. They all went home number {n}." for n in range(30)]
TOKENIZER = train_tokenizer(TEXTS, 500, ["<pad>", "<s>", "</s>", "<mask>", *sentinel_names()])
BERT = train_tokenizer(TEXTS, 420, ["<pad>", "<cls>", "<sep>", "<mask>"])
WINDOW = 48


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


def readers(cache: Path, *objectives: str, causal: bool = True, **more: object) -> dict:  # type: ignore[type-arg]
    tokenizer = TOKENIZER if causal else BERT
    start = Start("gpt2" if causal else "bert", tokenizer, WINDOW, None)
    tokens = PartTokens(tokenised(TEXTS, "texts", tokenizer, cache), None, SplitRecipe())
    return text_readers(tokens, PretrainingRecipe(objectives=dict.fromkeys(objectives, 1.0)), start, 0, **more)  # type: ignore[arg-type]


class Numbers:
    """A reader of ``n`` sequences that tells what was asked of it."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: tuple[int, int]) -> Sequence:
        return Sequence([*key], [], [], [], [], [])

    def units(self, index: int) -> np.ndarray:
        return np.array([index])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(0, 5))
def test_every_reader_is_read_once_an_epoch(sizes: list[int], epoch: int) -> None:
    units = Units({str(i): Numbers(size) for i, size in enumerate(sizes)})
    assert len(units) == max(sizes)
    items = [units[(epoch, unit)] for unit in range(len(units))]
    for i, size in enumerate(sizes):
        read = [item.sequences[str(i)].ids for item in items if str(i) in item.sequences]
        assert read == [[epoch, place] for place in range(size)]
        assert units.shares[str(i)] == pytest.approx(len(read) / len(units))


def test_what_is_replayed_has_its_share() -> None:
    mixed = Replaying(Numbers(30), Numbers(7), Mixture(30, 7, 0.25))
    assert len(mixed) == 40
    again = [mixed.mixture(0, index)[0] for index in range(40)]
    assert sum(again) == 10 and all(mixed[(3, index)].ids == [3, mixed.mixture(3, index)[1]] for index in range(40))


def test_causal_windows_teach_every_token_but_the_first_of_a_document(cache: Path) -> None:
    reader = readers(cache, "causal_lm")["causal_lm"]
    assert isinstance(reader, Foretold)
    taught = sum(len(reader[(0, i)].answers) for i in range(len(reader)))
    documents = [len(TOKENIZER(text, add_special_tokens=False).input_ids) + 2 for text in TEXTS]
    assert taught == sum(documents) - len(documents)
    assert max(len(reader[(0, i)].ids) for i in range(len(reader))) <= WINDOW


@pytest.mark.parametrize("causal", [True, False])
def test_masks_follow_from_epoch_and_place(cache: Path, causal: bool) -> None:
    reader = readers(cache, "masked_lm", causal=causal)["masked_lm"]
    assert isinstance(reader, Masked)
    assert reader[(3, 1)] == reader[(3, 1)]
    assert len({tuple(reader[(epoch, 1)].ids) for epoch in range(6)}) > 3
    assert all(len(reader[(epoch, i)].ids) <= WINDOW for epoch in range(5) for i in range(len(reader)))
    shown = sum(len(reader[(0, i)].branches) for i in range(len(reader)))
    hidden = sum(len(reader[(0, i)].answers) for i in range(len(reader)))
    assert 0.05 < hidden / shown < 0.45


@pytest.mark.parametrize("causal", [True, False])
def test_pairs_of_sentences(cache: Path, causal: bool) -> None:
    reader = readers(cache, "next_sentence", causal=causal)["next_sentence"]
    assert isinstance(reader, Following) and len(reader) == 2 * len(TEXTS)
    tokenizer = TOKENIZER if causal else BERT
    for epoch in range(2):
        made = [reader[(epoch, place)] for place in range(len(reader))]
        assert sum(pair.targets[0] for pair in made) == (len(made) if causal else len(made) / 2)
    true, wrong = reader.pair(5, True), reader.pair(5, False)
    said = [tokenizer.decode(pair.ids, skip_special_tokens=True) for pair in (true, wrong)]
    document = int(reader.units(5)[0])
    assert said[0] in TEXTS[document] and said[1] not in TEXTS[document]
    assert true.targets == [1.0] and wrong.targets == [0.0] and max(true.branches) == 1


def test_a_rows_texts_are_drawn_in_training_alone() -> None:
    texts = [[np.array([10, 11]), np.array([20, 21, 22])]] * 8
    common = {
        "texts": texts, "between": np.array([7]), "begin": 1, "end": 2, "features": torch.randn(8, 3),
        "groups": np.arange(8), "rows": np.arange(8) * 2, "column": "picture",
    }  # fmt: skip
    whole, training = Captions(**common, room=9), Captions(**common, room=9, drawn=0)  # type: ignore[arg-type]
    assert whole[(0, 3)].ids == [1, 10, 11, 7, 20, 21, 22, 2] == whole[(4, 3)].ids
    read = {tuple(training[(epoch, row)].ids) for epoch in range(6) for row in range(8)}
    assert read == {(1, 10, 11, 2), (1, 20, 21, 22, 2), (1, 10, 11, 7, 20, 21, 22, 2)}
    assert Captions(**common, room=5)[(0, 0)].ids == [1, 10, 11, 7, 2]  # type: ignore[arg-type]
    assert whole.units(3).tolist() == [6]
