"""Decoding with a key-value cache equals decoding without; filters and beams do what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.collate import collate
from sensorium.models.decoding import DecodingSettings, filtered, generate, stream
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.recipe import AdaptRecipe
from tests.models.small import FEATURES, sequence, tiny_model

PICTURE = torch.randn(3, FEATURES, generator=torch.Generator().manual_seed(3))
PROMPTS = [[1, 9, 9, 9, 5, 6, 7], [1, 9, 9, 9, 5]]


def prompts(model: MultimodalGPT) -> list:
    return [sequence(model, list(ids), PICTURE + i, [1, 2, 3], taught=0, row=i) for i, ids in enumerate(PROMPTS)]


def by_hand(model: MultimodalGPT, row: int, count: int) -> list[int]:
    ids = list(PROMPTS[row])
    for _ in range(count):
        hidden = model.hidden_states(collate([sequence(model, list(ids), PICTURE + row, [1, 2, 3], taught=0)]))
        ids.append(int(model.logits(hidden[0, -1]).argmax()))
    return ids[len(PROMPTS[row]) :]


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "fusion", [{"kind": "tokens"}, {"kind": "tokens", "from_layer": 2}, {"kind": "cross_attention", "from_layer": 1}]
)
def test_greedy_with_a_cache_equals_the_whole_forward(gpt: str, fusion: dict) -> None:
    model = tiny_model(gpt, **fusion)
    answers = generate(model, collate(prompts(model)), set(), DecodingSettings(max_new_tokens=6))
    with torch.no_grad():
        assert answers == [by_hand(model, 0, 6), by_hand(model, 1, 6)]


def test_a_gpt_that_runs_whole_decodes_too() -> None:
    model = tiny_model(adapt=AdaptRecipe(method="prefix", virtual_tokens=4), kind="tokens")
    answers = generate(model, collate(prompts(model)), set(), DecodingSettings(max_new_tokens=4))
    with torch.no_grad():
        assert answers == [by_hand(model, 0, 4), by_hand(model, 1, 4)]


def test_stops_end_an_answer_and_are_left_out() -> None:
    model = tiny_model(kind="tokens")
    free = generate(model, collate(prompts(model)), set(), DecodingSettings(max_new_tokens=6))[0]
    stopped = generate(model, collate(prompts(model)), {free[2]}, DecodingSettings(max_new_tokens=6))[0]
    assert stopped == free[: free.index(free[2])]


def test_a_wide_beam_finds_the_likeliest_answer_of_all() -> None:
    model = tiny_model(kind="tokens", from_layer=2)
    one = prompts(model)[:1]
    found = generate(model, collate(one), set(), DecodingSettings(max_new_tokens=2, beams=50))[0]

    def score(pair: tuple[int, int]) -> float:
        ids = [*PROMPTS[0], *pair]
        with torch.no_grad():
            logits = model.logits(
                model.hidden_states(collate([sequence(model, ids, PICTURE, [1, 2, 3], taught=0)]))[0]
            ).log_softmax(-1)
        return float(logits[6, pair[0]] + logits[7, pair[1]])

    likely = generate(model, collate(one), set(), DecodingSettings(max_new_tokens=1, beams=1))[0][0]
    rivals = [*itertools.product([likely, *range(8)], range(50))]
    assert score((found[0], found[1])) >= max(map(score, rivals)) - 1e-4


def test_sampling_follows_its_seed_and_not_its_neighbours() -> None:
    model = tiny_model(kind="tokens")
    how = DecodingSettings(max_new_tokens=6, temperature=2.0, seed=5)
    together = generate(model, collate(prompts(model)), set(), how)
    assert together == generate(model, collate(prompts(model)), set(), how)
    assert together[0] == generate(model, collate(prompts(model)[:1]), set(), how)[0]
    other = generate(model, collate(prompts(model)), set(), DecodingSettings(max_new_tokens=6, temperature=2.0, seed=6))
    assert together != other


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.floats(0.05, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_it(logits: list[float], top_p: float) -> None:
    kept = torch.isfinite(filtered(torch.tensor([logits], dtype=torch.float64), 0, top_p))[0].numpy()
    shares = np.exp(logits) / np.exp(logits).sum()
    assert shares[kept].sum() >= top_p - 1e-9
    least = np.where(kept, shares, np.inf).argmin()
    assert kept.sum() == 1 or shares[kept].sum() - shares[least] < top_p + 1e-9


def test_top_k_keeps_k() -> None:
    assert torch.isfinite(filtered(torch.arange(9.0)[None], 3, 1.0)).sum() == 3


@pytest.mark.parametrize("how", [DecodingSettings(max_new_tokens=6), DecodingSettings(6, temperature=2.0, seed=5)])
def test_a_stream_gives_the_same_tokens_one_by_one(how: DecodingSettings) -> None:
    model = tiny_model(kind="tokens", from_layer=2)
    batch = collate(prompts(model)[:1])
    [whole] = generate(model, batch, set(), how)
    tokens = stream(model, batch, set(), how)
    assert next(tokens) == whole[0]
    assert not torch.is_inference_mode_enabled()  # nor is it while the caller has its turn
    assert list(tokens) == whole[1:]
    assert list(stream(model, batch, {whole[2]}, how)) == whole[: whole.index(whole[2])]
