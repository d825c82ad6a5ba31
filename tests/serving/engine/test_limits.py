"""What an engine refuses and gives up, and the bounds that it keeps."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest

from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.errors import DataError, MediaError
from sensorium.models.turns import context_length
from sensorium.serving.engine.batching import BatchingEngine
from sensorium.serving.engine.grammars import grammar_of_choices
from sensorium.serving.protocols import BadGrammar, Draining, Expired, Full, Sampling, TooLong
from tests.serving.dialogues import alone, conversation, picture, talker, user
from tests.serving.engine.test_batching import SMALL, running, wait
from tests.tiny_models import model_of, processor_of

TOKENS = {"kind": "tokens", "from_layer": 2}
HELLO = [user("what is it?")]
SHORT, LONG = Sampling(max_tokens=2), Sampling(max_tokens=200)


class Held:
    """The model stands still before each turn, until it is let go for some turns."""

    def __init__(self, engine: BatchingEngine) -> None:
        self.turns, inner = threading.Semaphore(0), engine._turn

        def turn() -> None:
            self.turns.acquire()
            inner()

        engine._turn = turn  # type: ignore[method-assign]

    def go(self, turns: int = 10_000) -> None:
        self.turns.release(turns)


async def finished(reply: object) -> str | None:
    """Why an answer ended, after reading all of it."""
    return [piece.finish async for piece in reply][-1]  # type: ignore[attr-defined]


def test_a_full_queue_refuses_with_an_estimate_and_opens_again() -> None:
    async def asked(engine: BatchingEngine, held: Held) -> None:
        replies = [await engine.submit(HELLO, SHORT) for _ in range(3)]
        with pytest.raises(Full) as refused:
            await engine.submit(HELLO, SHORT)
        assert 1 <= refused.value.seconds < 60
        held.go()
        assert [await finished(reply) for reply in replies] == ["length"] * 3
        assert await finished(await engine.submit(HELLO, SHORT)) == "length"

    with running(*talker(**TOKENS), replace(SMALL, queue=3)) as engine:
        wait(asked(engine, Held(engine)))
        assert engine.gauges()["requests_refused"] == 1


def test_who_goes_away_frees_the_place_at_the_next_token() -> None:
    async def asked(engine: BatchingEngine, held: Held) -> None:
        running_one, waiting_one = await engine.submit(HELLO, LONG), await engine.submit(HELLO, LONG)
        held.go(5)
        async for _ in running_one:
            break  # leaving the loop is leaving for good, once the iterator is gone
        running_one.cancel()
        waiting_one.cancel()
        last = await engine.submit(HELLO, SHORT)
        held.go(4)  # turns left from before, at the most one to let go and enter, one for the second token
        assert await finished(last) == "length"
        assert await engine.drain(10)

    with running(*talker(**TOKENS), replace(SMALL, places=1)) as engine:
        held = Held(engine)
        wait(asked(engine, held))
        held.go()
        gauges = engine.gauges()
    assert gauges["requests_cancelled"] == 2 and gauges["requests_finished"] == 1


def test_leaving_the_iteration_cancels() -> None:
    async def asked(engine: BatchingEngine) -> None:
        pieces = aiter(await engine.submit(HELLO, LONG))
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        async for _ in await engine.submit(HELLO, LONG):
            break
        assert await engine.drain(10)

    with running(*talker(**TOKENS)) as engine:
        wait(asked(engine))
        assert engine.gauges()["requests_cancelled"] == 2


def test_a_grammar_that_grows_too_complex_ends_its_own_answer_alone() -> None:
    async def asked(engine: BatchingEngine) -> None:
        constrained = await engine.submit(HELLO, Sampling(max_tokens=50, grammar=grammar_of_choices(["red " * 20])))
        plain = await engine.submit(HELLO, Sampling(max_tokens=20))

        def give_up(size: int) -> None:
            raise BadGrammar("too complex")

        engine._waiting[0].chooser.matcher.allowed = give_up  # type: ignore[union-attr,method-assign,assignment]
        held.go()
        with pytest.raises(BadGrammar):
            await finished(constrained)
        assert await finished(plain) == "length"

    with running(*talker(**TOKENS)) as engine:
        held = Held(engine)
        wait(asked(engine))


def test_a_deadline_ends_running_and_waiting_answers() -> None:
    async def asked(engine: BatchingEngine, held: Held) -> None:
        replies = [await engine.submit(HELLO, LONG, seconds=0.2) for _ in range(3)]
        unhurried = await engine.submit(HELLO, SHORT)
        held.go(2)
        await asyncio.sleep(0.3)
        held.go()
        for reply in replies:
            with pytest.raises(Expired):
                await finished(reply)
        assert await finished(unhurried) == "length"

    with running(*talker(**TOKENS), replace(SMALL, places=2)) as engine:
        wait(asked(engine, Held(engine)))
        assert engine.gauges()["requests_expired"] == 3


def test_draining_ends_what_was_taken_and_takes_nothing_new() -> None:
    async def asked(engine: BatchingEngine, held: Held) -> None:
        replies = [await engine.submit(HELLO, SHORT) for _ in range(6)]
        assert not await engine.drain(0.05)
        with pytest.raises(Draining):
            await engine.submit(HELLO, SHORT)
        held.go()
        assert await engine.drain(20)
        assert [await finished(reply) for reply in replies] == ["length"] * 6

    with running(*talker(**TOKENS)) as engine:
        wait(asked(engine, Held(engine)))


def test_an_engine_that_closes_leaves_nobody_waiting() -> None:
    async def asked() -> None:
        engine = BatchingEngine(*talker(**TOKENS), replace(SMALL, places=1))
        held = Held(engine)
        replies = [await engine.submit(HELLO, LONG) for _ in range(2)]
        held.go(3)
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        while not engine._closing:
            await asyncio.sleep(0.01)
        held.go()
        await closing
        for reply in replies:
            with pytest.raises(Draining):
                await finished(reply)

    wait(asked())


def test_a_model_that_fails_fails_its_answers_and_goes_on() -> None:
    async def asked(engine: BatchingEngine) -> None:
        broken, engine._decoder.step = engine._decoder, None  # type: ignore[method-assign,assignment]
        with pytest.raises(RuntimeError, match="the model failed"):
            await finished(await engine.submit(HELLO, LONG))
        assert await finished(await engine.submit(HELLO, SHORT)) == "length"
        assert engine._decoder is not broken

    with running(*talker(**TOKENS)) as engine:
        wait(asked(engine))


def test_a_history_that_does_not_fit_is_refused_and_one_that_just_fits_is_answered() -> None:
    model, processor = talker(**TOKENS)

    async def asked(engine: BatchingEngine) -> None:
        fitting = next(n for n in range(100) if len(engine._prompts.make([user("x" * n)])) == engine.context - 1)
        reply = await engine.submit([user("x" * fitting)], Sampling())
        assert await finished(reply) == "length"
        assert len(reply.ids) == engine.context - reply.prompt_tokens == 1
        for much in (fitting + 1, 100_000):
            with pytest.raises(TooLong) as refused:
                await engine.submit([user("x" * much)], SHORT)
            assert refused.value.tokens >= refused.value.limit == engine.context

    with running(model, processor, replace(SMALL, context=64)) as engine:
        wait(asked(engine))


def test_turns_are_never_left_out_to_make_a_history_fit() -> None:
    turns = [user("what is it? " * 4), Message("assistant", (TextPart("red"),))]

    async def sizes(engine: BatchingEngine, *pairs: int) -> list[int]:
        return [(await engine.submit([*turns * count, *HELLO], SHORT)).prompt_tokens for count in pairs]

    with running(*talker(**TOKENS), replace(SMALL, context=2048)) as engine:
        none, some, twice = wait(sizes(engine, 0, 20, 40))
        assert twice - some == some - none > 500
    with running(*talker(**TOKENS), replace(SMALL, context=512)) as engine, pytest.raises(TooLong):
        wait(sizes(engine, 40))


def test_slots_grow_with_the_longest_answer_and_keep_all() -> None:
    model, processor = talker(**TOKENS)
    asked = [[user("red blue " * 100, ("image", picture(1)), "green " * 60)], HELLO, [user(("image", picture(2)))]]
    counts = [30, 300, 8]

    async def answer(engine: BatchingEngine, place: int) -> list[int]:
        reply = await engine.submit(asked[place], Sampling(max_tokens=counts[place]))
        await finished(reply)
        return reply.ids

    async def crowd(engine: BatchingEngine) -> list[list[int]]:
        return await asyncio.gather(*(answer(engine, place) for place in range(3)))

    with running(model, processor, replace(SMALL, context=2000, chunk=64)) as engine:
        told = wait(crowd(engine))
        assert engine._decoder.slots.bytes < 2000 / 1000 * 4 * 2 * 5 * 2 * 1000 * 8 * 4  # type: ignore[attr-defined]
    assert told == [alone(model, processor, messages, count) for messages, count in zip(asked, counts, strict=True)]


@pytest.mark.parametrize("reference", [{"bytes": b"no picture"}, "tests/conftest.py", {"path": "/etc/hostname"}, b""])
def test_media_that_cannot_be_read_are_refused_and_no_file_is_opened(reference: object) -> None:
    message = Message("user", (MediaPart("image", "image_url", reference),))
    with running(*talker(**TOKENS)) as engine:
        with pytest.raises(MediaError):
            wait(engine.submit([message], SHORT))
        assert engine.gauges()["waiting"] == 0


def test_a_sense_that_the_model_lacks_is_refused() -> None:
    processor = processor_of({"words": "text"}, fusion=TOKENS)
    with running(model_of(processor), processor) as engine, pytest.raises(DataError, match="takes no picture"):
        wait(engine.submit([user(("image", picture(0)), "what is it?")], SHORT))


def test_a_grammar_that_does_not_compile_is_refused() -> None:
    with running(*talker(**TOKENS)) as engine, pytest.raises(BadGrammar):
        wait(engine.submit(HELLO, Sampling(grammar="nonsense {")))


def test_a_long_prompt_is_read_in_pieces_between_steps() -> None:
    happened: list[int] = []  # tokens of a prompt that were read; 0: a step of running answers

    async def asked(engine: BatchingEngine) -> None:
        reply = await engine.submit(HELLO, Sampling(max_tokens=60))
        pieces = aiter(reply)
        await anext(pieces)
        decoder = engine._decoder
        read, step = decoder.read, decoder.step

        def noted_read(budget: int) -> object:
            used, logits = read(budget)
            happened.append(used)
            return used, logits

        def noted_step(tokens: list[int]) -> object:
            happened.append(0)
            return step(tokens)

        decoder.read, decoder.step = noted_read, noted_step  # type: ignore[method-assign,assignment]
        await finished(await engine.submit([user("what is it? " * 20)], SHORT))
        reply.cancel()

    with running(*talker(**TOKENS)) as engine:
        wait(asked(engine))
    between = "".join("r" * (n > 0) or "s" for n in happened)
    assert max(happened) <= SMALL.chunk and between.count("r") >= 4
    assert "rr" not in between


@pytest.mark.parametrize("kind", ["tokens", "cross_attention"])
def test_caches_stay_within_their_bytes_and_every_slot_returns(kind: str) -> None:
    model, processor = talker(kind=kind, from_layer=1)
    settings = replace(SMALL, prefix_bytes=60_000, feature_bytes=2_000)

    async def asked(engine: BatchingEngine) -> None:
        rng = np.random.default_rng(3)
        most = {"prefix_cache_bytes": 0.0, "encoder_cache_bytes": 0.0}
        for burst in range(6):
            asked = [
                [user(("image", picture(100 + burst * 6 + i)), "red " * int(rng.integers(1, 20)))] for i in range(6)
            ]
            await asyncio.gather(*[finished(await engine.submit(messages, SHORT)) for messages in asked])
            for name in most:
                most[name] = max(most[name], engine.gauges()[name])
        assert 0 < most["prefix_cache_bytes"] <= settings.prefix_bytes
        assert 0 < most["encoder_cache_bytes"] <= settings.feature_bytes
        assert await engine.drain(10)

    with running(model, processor, settings) as engine:
        wait(asked(engine))
        assert engine._decoder._running == []  # type: ignore[union-attr]
        slots = engine._decoder.slots.bytes  # type: ignore[union-attr]
        assert slots == 4 * 2 * 5 * 2 * 256 * 8 * 4  # layers, keys and values, slots, heads, tokens, head width, bytes


def test_a_model_that_runs_whole_is_served_too_one_at_a_time() -> None:
    model, processor = talker(method="prefix", kind="tokens")
    assert model.stack is None
    rng = np.random.default_rng(5)
    asked = [conversation(rng, turns=1) for _ in range(4)]
    expected = [alone(model, processor, messages, 5) for messages in asked]

    async def answer(engine: BatchingEngine, messages: list[Message]) -> list[int]:
        reply = await engine.submit(messages, Sampling(max_tokens=5))
        await finished(reply)
        return reply.ids

    async def crowd(engine: BatchingEngine) -> list[list[int]]:
        return await asyncio.gather(*(answer(engine, messages) for messages in asked))

    with running(model, processor, replace(SMALL, context=100_000)) as engine:
        assert engine.context == context_length(model) - 4  # virtual tokens stand before every prompt
        assert wait(crowd(engine)) == expected
        assert engine.gauges()["places"] == 1
