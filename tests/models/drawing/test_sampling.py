"""Drawing: guidance, chance, rounds, what is kept, and that prompts learnt by heart come back as their pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sensorium.models.drawing.captions import caption_codes, caption_log_likelihood
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.models.drawing.guidance import DrawingSettings, guided, pick, uniforms
from sensorium.models.drawing.one_by_one import one_by_one
from sensorium.models.drawing.parallel import gumbel, redrawn, still_hidden
from sensorium.models.drawing.reading import Reading
from sensorium.models.drawing.sampling import draw_candidates
from sensorium.models.drawing.sequences import batch_of, caption, draw, dropped, edit, masked
from tests.models.drawing.small_drawer import CODES, PLACES, codes_of, drawer, words_of

ONE, ROUNDS = DrawingSettings(guidance=2.0), DrawingSettings(guidance=2.0, parallel=True, steps=4)
EITHER = pytest.mark.parametrize("how", [ONE, ROUNDS])


def draw_codes(model: DrawingGPT, *wanted: Any) -> Tensor:
    """One picture a prompt, (n, places)."""
    return draw_candidates(model, *wanted).codes


def test_guidance_is_the_formula_of_the_paper() -> None:
    logits = torch.randn(6, CODES)
    words, without = logits.numpy()[:3], logits.numpy()[3:]
    found = guided(logits, DrawingSettings(guidance=2.5))
    assert np.allclose(found, without + 2.5 * (words - without), atol=1e-6)
    assert torch.equal(guided(logits, DrawingSettings(guidance=1.0)), logits)


def test_codes_are_drawn_as_often_as_their_chances_say() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    count = 20_000
    how = DrawingSettings(temperature=0.7, top_k=3)
    drawn = pick(logits.repeat(count, 1), how, uniforms([(0, 0)], count)[0])
    kept = np.array([1.0, 0.0, -np.inf, 2.0]) / 0.7
    chances = np.exp(kept) / np.exp(kept).sum()
    assert np.allclose(np.bincount(drawn, minlength=4) / count, chances, atol=0.015)
    assert pick(logits[None], DrawingSettings(temperature=0), torch.zeros(1)).tolist() == [3]
    narrow = pick(logits.repeat(500, 1), DrawingSettings(top_p=0.5), uniforms([(0, 0)], 500)[0])
    assert set(narrow.tolist()) == {3}


@given(st.integers(1, 300), st.integers(1, 20))
def test_rounds_hide_less_each_time_and_nothing_at_the_end(asked: int, steps: int) -> None:
    hidden = left = torch.tensor([asked])
    for step in range(steps):
        left = still_hidden(torch.tensor([asked]), hidden, step, steps)
        assert left < hidden or hidden == 0
        if step + 1 < steps:
            assert left <= np.floor(asked * np.cos(np.pi / 2 * (step + 1) / steps))
        hidden = left
        if not hidden:
            break
    assert left.item() == 0


def test_gumbel_noise_has_its_mean_and_is_finite() -> None:
    noise = gumbel(uniforms([(0, 0)], 50_000))
    assert abs(float(noise.mean()) - np.euler_gamma) < 0.02 and bool(gumbel(torch.zeros(1)).isfinite().all())


def test_reading_on_equals_reading_whole() -> None:
    model, codes, words = drawer(), codes_of(3), words_of(3)
    reading = Reading(model, [draw(model.vocabulary, one, []) for one in words])
    with torch.inference_mode():
        _, whole = model(
            batch_of([draw(model.vocabulary, w, c) for w, c in zip(words, codes, strict=True)], model.vocabulary)
        )
        states = [reading.last]
        for place in range(PLACES - 1):
            ids = torch.from_numpy(codes[:, place]) + model.vocabulary.words
            states.append(reading.step(ids, torch.full_like(ids, place)))
        steps = model.code_logits(torch.stack(states, 1))
    assert torch.allclose(whole.view(3, PLACES, CODES), steps, atol=1e-5)


def test_looking_at_a_masked_picture_equals_the_masked_form() -> None:
    model, words, hidden = drawer(), words_of(1)[0], np.arange(PLACES) % 2 == 0
    codes, source = codes_of(1)[0], codes_of(1, 1)[0]
    form = masked(model.vocabulary, words, codes, hidden, source)
    begun = masked(model.vocabulary, words, [], np.zeros(0, dtype=bool), source)
    with torch.inference_mode():
        _, whole = model(batch_of([form], model.vocabulary))
        reading = Reading(model, [begun])
        ids, places = torch.from_numpy(form.ids[-PLACES:])[None], torch.arange(PLACES)[None]
        twice = [model.code_logits(reading.look(ids, places)[:, hidden]) for _ in range(2)]
    assert torch.allclose(whole, twice[0][0], atol=1e-5)
    assert torch.equal(twice[0], twice[1]), "what was looked at does not join what was read"


@EITHER
@pytest.mark.parametrize("edited", [False, True])
def test_a_picture_depends_on_its_own_words_and_seed_alone(how: DrawingSettings, edited: bool) -> None:
    model, words, seeds = drawer(), words_of(4), [3, 1, 4, 1]
    sources = torch.from_numpy(codes_of(4, 5)) if edited else None
    together = draw_codes(model, words, how, seeds, sources)
    for i in range(4):
        alone = draw_codes(
            model, words[i : i + 1], how, seeds[i : i + 1], None if sources is None else sources[i : i + 1]
        )
        assert torch.equal(alone[0], together[i])
    assert torch.equal(together, draw_codes(model, words, how, seeds, sources))
    assert not torch.equal(together, draw_codes(model, words, how, [5, 6, 7, 8], sources))
    assert together.shape == (4, PLACES) and int(together.min()) >= 0 and int(together.max()) < CODES


@settings(max_examples=15, deadline=None)
@given(st.lists(st.booleans(), min_size=PLACES, max_size=PLACES), st.integers(0, 99))
def test_what_is_kept_stays(keep: list[bool], seed: int) -> None:
    model, kept, mask = drawer(), torch.from_numpy(codes_of(1, 7)), torch.tensor([keep])
    drawn = draw_codes(model, words_of(1), DrawingSettings(steps=3, guidance=1.0), [seed], None, kept, mask)
    assert torch.equal(drawn[mask], kept[mask])


def test_a_variation_redraws_its_share_and_each_seed_its_own() -> None:
    keep = redrawn(64, 0.25, [0, 1])
    assert (~keep).sum(1).tolist() == [16, 16] and not torch.equal(keep[0], keep[1])
    assert (~redrawn(64, 0.0, [0])).sum() == 1 and not redrawn(64, 1.0, [0]).any()


def test_the_best_candidate_is_the_one_that_reads_best_as_its_words() -> None:
    model, words = drawer(), words_of(2)
    found = draw_candidates(model, words, DrawingSettings(candidates=5), [0, 1])
    for i in range(2):
        said = caption_log_likelihood(model, found.candidates[i], [words[i]] * 5)
        assert torch.allclose(said, found.all_scores[i], atol=1e-4)
        assert torch.equal(found.codes[i], found.candidates[i, int(said.argmax())])
    first = one_by_one(model, words[:1], DrawingSettings(), [(0, 2)])
    assert torch.equal(first[0], found.candidates[0, 2])


@pytest.fixture(scope="module")
def learnt() -> DrawingGPT:
    """A drawer that knows four pictures, their names and one edit each, by heart."""
    torch.manual_seed(0)
    model = drawer().train()
    v, words, codes, draws = model.vocabulary, words_of(4), codes_of(4), np.random.default_rng(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(300):
        rows = []
        for w, c, other in zip(words, codes, np.roll(codes, 1, 0), strict=True):
            hidden = draws.permutation(PLACES) < draws.integers(1, PLACES + 1)
            given_words = dropped(w, 0.1, draws)
            rows += [draw(v, given_words, c), caption(v, w, c)]
            rows += [edit(v, other, [1, 2], c), masked(v, given_words, c, hidden)]
        batch = batch_of(rows, v)
        said, drawn = model(batch)
        loss = torch.nn.functional.cross_entropy(drawn, batch.code_answers)
        loss = loss + torch.nn.functional.cross_entropy(said, batch.word_answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@EITHER
def test_what_was_learnt_by_heart_is_drawn(learnt: DrawingGPT, how: DrawingSettings) -> None:
    how = replace(how, temperature=0.1, guidance=1.5)
    assert np.array_equal(draw_codes(learnt, words_of(4), how, [0, 1, 2, 3]).numpy(), codes_of(4))


def test_edits_and_captions_learnt_by_heart_come_back(learnt: DrawingGPT) -> None:
    codes = torch.from_numpy(codes_of(4))
    edited = draw_codes(learnt, [[1, 2]] * 4, DrawingSettings(guidance=1.0), [0] * 4, codes.roll(1, 0))
    assert torch.equal(edited, codes)
    assert caption_codes(learnt, codes) == words_of(4)
