"""What an answer is made of: its text, where it stops, how it is drawn, how likely it was, which form it keeps."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
import torch

from sensorium.data.collate import collate
from sensorium.data.messages import Message
from sensorium.data.rows import Example
from sensorium.models.decoding import DecodingSettings, generate
from sensorium.serving.engine.batching import BatchingEngine
from sensorium.serving.engine.grammars import grammar_of_choices, grammar_of_schema
from sensorium.serving.protocols import Piece, Sampling
from tests.serving.dialogues import alone, conversation, picture, talker, user
from tests.serving.engine.test_batching import running, wait

FUSION = {"kind": "tokens", "from_layer": 0}
QUESTION = [user(("image", picture(1)), "what is it? red blue green")]


async def pieces(engine: BatchingEngine, messages: list[Message], sampling: Sampling) -> list[Piece]:
    return [piece async for piece in await engine.submit(messages, sampling)]


def said(found: list[Piece]) -> str:
    return "".join(piece.text for piece in found)


def test_pieces_are_the_decoded_tokens_and_count_them() -> None:
    model, processor = talker(**FUSION)
    rng = np.random.default_rng(7)
    asked = [conversation(rng) for _ in range(8)]

    async def crowd(engine: BatchingEngine) -> list[list[Piece]]:
        return await asyncio.gather(*(pieces(engine, messages, Sampling(max_tokens=40)) for messages in asked))

    with running(model, processor) as engine:
        for messages, found in zip(asked, wait(crowd(engine)), strict=True):
            ids = alone(model, processor, messages, 40)
            assert said(found) == processor.tokenizer.decode(ids, skip_special_tokens=True)
            assert sum(piece.count for piece in found) == len(ids)
            assert [piece.finish for piece in found[:-1]] == [None] * (len(found) - 1)
            assert found[-1].finish == "length"


def test_a_stop_text_that_spans_tokens_ends_the_answer_and_no_part_of_it_is_said() -> None:
    with running(*talker(**FUSION)) as engine:
        free = said(wait(pieces(engine, QUESTION, Sampling(max_tokens=40))))
        assert len(free) > 12
        for start, stop in ((4, 9), (8, 11), (0, 3)):
            told = wait(pieces(engine, QUESTION, Sampling(max_tokens=40, stop=("never said", free[start:stop]))))
            assert said(told) == free[: free.index(free[start:stop])]
            assert told[-1].finish == "stop"
        began = wait(pieces(engine, QUESTION, Sampling(max_tokens=40, stop=(free[-3:] + "more",))))
        assert said(began) == free and began[-1].finish == "length"  # what was held back is said at the end


def test_sampling_follows_its_seed_and_nobody_elses() -> None:
    model, processor = talker(**FUSION)
    how = Sampling(max_tokens=12, temperature=1.5, top_p=0.9, seed=5)
    batch = collate([processor.sequence([Example(0, {"messages": QUESTION}, None)], answering=True)])
    expected = generate(model, batch, {2}, DecodingSettings(12, temperature=1.5, top_p=0.9, seed=5))[0]

    async def ids(engine: BatchingEngine, sampling: Sampling) -> list[int]:
        reply = await engine.submit(QUESTION, sampling)
        async for _ in reply:
            pass
        return reply.ids

    async def crowd(engine: BatchingEngine) -> list[list[int]]:
        other = [Sampling(max_tokens=12, temperature=1.5, seed=seed) for seed in (6, -(2**63) + 1, 2**62 + 3)]
        return await asyncio.gather(
            *(ids(engine, sampling) for sampling in [how, *other, how, Sampling(max_tokens=12)])
        )

    with running(model, processor) as engine:
        told = wait(crowd(engine))
    assert told[0] == told[4] == expected
    assert len({tuple(each) for each in told}) == 5
    assert told[5] == alone(model, processor, QUESTION, 12)


def test_log_probabilities_are_the_models_own() -> None:
    model, processor = talker(**FUSION)
    with running(model, processor) as engine:
        found = wait(pieces(engine, QUESTION, Sampling(max_tokens=10, top_logprobs=3)))
        plain = wait(pieces(engine, QUESTION, Sampling(max_tokens=10, top_logprobs=0)))
    scored = [token for piece in found for token in piece.tokens]
    ids = alone(model, processor, QUESTION, 10)
    assert len(scored) == len(ids) == sum(len(piece.tokens) for piece in plain)
    assert b"".join(token.data for token in scored).decode("utf-8", "replace") == processor.tokenizer.decode(ids)
    sequence = processor.sequence([Example(0, {"messages": QUESTION}, None)], answering=True)
    start = len(sequence.ids)
    sequence.ids += ids
    sequence.positions = list(range(len(sequence.ids)))
    sequence.branches = [0] * len(sequence.ids)
    with torch.no_grad():
        likelihoods = model.logits(model.hidden_states(collate([sequence]))[0, start - 1 : -1]).log_softmax(-1)
    for token, id_, row in zip(scored, ids, likelihoods, strict=True):
        assert token.logprob == pytest.approx(float(row[id_]), abs=1e-3)
        assert [top.logprob for top in token.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-3)
        assert token.top[0].data == token.data  # greedy


def test_an_answer_keeps_a_json_schema_and_choices_under_any_sampling() -> None:
    schema = {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "blue"]},
            "sure": {"type": "boolean"},
            "n": {"maximum": 9, "type": "integer", "minimum": 0},
        },
        "required": ["colour", "sure", "n"],
        "additionalProperties": False,
    }
    choices = ["red circle", "red", 'a "blue" square', "grün 🦊"]

    async def crowd(engine: BatchingEngine) -> list[list[Piece]]:
        form, one_of = grammar_of_schema(schema), grammar_of_choices(choices)
        hows = [
            Sampling(max_tokens=100, temperature=t, seed=s, grammar=g)
            for g in (form, one_of)
            for t, s in ((0, 0), (2, 1), (2, 2))
        ]
        return await asyncio.gather(*(pieces(engine, QUESTION, how) for how in [*hows, Sampling(max_tokens=5)]))

    model, processor = talker(**FUSION)
    with running(model, processor) as engine:
        *formed, free = wait(crowd(engine))
    for found in formed[:3]:
        told = json.loads(said(found))
        assert set(told) == {"colour", "sure", "n"} and told["colour"] in ("red", "blue") and 0 <= told["n"] <= 9
    assert all(said(found) in choices for found in formed[3:])
    assert all(found[-1].finish == "stop" for found in formed)
    assert said(free) == processor.tokenizer.decode(alone(model, processor, QUESTION, 5))


def test_the_next_turn_of_a_conversation_reads_only_what_is_new() -> None:
    async def asked(engine: BatchingEngine) -> tuple[int, int, int]:
        first = await engine.submit(QUESTION, Sampling(max_tokens=2))
        async for _ in first:
            pass
        again = await engine.submit(QUESTION, Sampling(max_tokens=2))
        async for _ in again:
            pass
        other = await engine.submit([user(("image", picture(2)), "what is it? red blue green")], Sampling(max_tokens=2))
        async for _ in other:
            pass
        return again.prompt_tokens - again.cached_tokens, other.cached_tokens, first.cached_tokens

    with running(*talker(**FUSION)) as engine:
        new, of_another_picture, at_first = wait(asked(engine))
    assert 1 <= new <= 16 and of_another_picture == at_first == 0
