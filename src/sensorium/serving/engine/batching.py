"""Continuous batching: requests join and leave a running batch at token granularity (Yu et al. 2022, Orca).

The event loop queues requests and reads answers; one thread decodes media and tokenises; one runs the model, turn after
turn: read a bounded piece of the next prompt, then take one step with all running answers.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.data.messages import Message
from sensorium.models.backbone import PROMPT_METHODS, causal_lm
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor
from sensorium.models.sequences import end_of_turn
from sensorium.models.turns import context_length
from sensorium.recipe import AdaptRecipe
from sensorium.serving.engine.answers import Job, Reply
from sensorium.serving.engine.batch import Decoder, Features, make_decoder
from sensorium.serving.engine.choosing import Chooser
from sensorium.serving.engine.grammars import Vocabulary
from sensorium.serving.engine.prefixes import Prefixes
from sensorium.serving.engine.prompts import Prompt, Prompts
from sensorium.serving.protocols import BadGrammar, Draining, Expired, Full, Sampling

log = logging.getLogger(__name__)
MIB = 1 << 20


@dataclass(frozen=True)
class EngineSettings:
    """What an engine may take.

    Attributes:
        places: answers that run together at the most.
        queue: requests that wait at the most; beyond, they are refused.
        context: tokens of a prompt and its answer together; the model's own context where that is less.
        chunk: tokens of a prompt that are read between two steps of running answers.
        prefix_bytes, feature_bytes: of the caches of prompts' starts and of encoded pictures and sounds.
    """

    places: int = 16
    queue: int = 64
    context: int = 2048
    chunk: int = 256
    prefix_bytes: int = 256 * MIB
    feature_bytes: int = 64 * MIB


class BatchingEngine:
    """``protocols.Engine`` over a ``MultimodalGPT`` whose task is to answer in words. ``close`` ends its threads."""

    def __init__(self, model: MultimodalGPT, processor: Processor, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        adapt = AdaptRecipe(**model.config.adapt)
        taken = adapt.virtual_tokens if adapt.method in PROMPT_METHODS else 0  # they stand before every prompt
        self.context = min(self.settings.context, context_length(model) - taken)
        self._model = model.eval()
        self._tokenizer = copy.deepcopy(processor.tokenizer)  # the preparing thread switches settings of its own
        self._ends = frozenset({self._tokenizer.eos_token_id, end_of_turn(self._tokenizer)} - {None})
        outputs = len(causal_lm(model.backbone).get_output_embeddings().weight)
        self._vocabulary = Vocabulary(self._tokenizer, outputs, sorted(self._ends))
        self._prompts = Prompts(processor, self.context)
        self._features = Features(self._model, self.settings.feature_bytes)
        self._prefixes = Prefixes(self.settings.prefix_bytes)
        self._decoder = self._new_decoder()
        self._counts: Counter[str] = Counter()
        self._seconds = 1.0  # that an answer takes: a running mean
        self._wake = threading.Condition()
        self._preparing = 0
        self._waiting: deque[Job] = deque()
        self._entering: Job | None = None  # its prompt is being read
        self._running: list[Job] = []  # in the order of the decoder's places
        self._newest: list[int] = []  # the last token of each
        self._draining = self._closing = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def _new_decoder(self) -> Decoder:
        return make_decoder(self._model, self.settings.places, self.context, self._features, self._prefixes)

    # -- from the event loop -----------------------------------------------------------------------

    async def submit(
        self, messages: list[Message], sampling: Sampling, *, seconds: float | None = None, key: str = ""
    ) -> Reply:
        """See ``protocols.Engine.submit``; DataError, too, where the model takes no such input."""
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        with self._admitted():
            prompt, chooser = await asyncio.wrap_future(self._pool.submit(self._prepared, messages, sampling))
            most = min(max(sampling.max_tokens or self.context, 1), self.context - len(prompt))
            job = Job(prompt, chooser, self._tokenizer, most, Reply(len(prompt), self._notify), deadline)
            with self._wake:
                if self._closing:
                    raise Draining
                self._waiting.append(job)
                self._wake.notify()
        log.debug("request %s: %d tokens", key, len(prompt))
        return job.reply

    def _prepared(self, messages: list[Message], sampling: Sampling) -> tuple[Prompt, Chooser]:
        matcher = None if sampling.grammar is None else self._vocabulary.matcher(sampling.grammar)
        return self._prompts.make(messages), Chooser(sampling, self._vocabulary, matcher, self._ends)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """A request that is being prepared takes its place in the queue already."""
        with self._wake:
            if self._draining:
                raise Draining
            ahead = len(self._waiting) + self._preparing
            if ahead >= self.settings.queue:
                self._counts["requests_refused"] += 1
                raise Full(max(1.0, self._seconds * (1 + ahead / self._decoder.places)))
            self._preparing += 1
        try:
            yield
        finally:
            with self._wake:
                self._preparing -= 1

    async def drain(self, seconds: float) -> bool:
        """See ``protocols.Engine.drain``."""
        self._draining = True
        until = time.monotonic() + seconds
        while not self._idle():
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(0.02)
        return True

    def close(self) -> None:
        """Give up what is running and end the threads; readers get Draining."""
        with self._wake:
            self._draining = self._closing = True
            self._wake.notify()
        self._thread.join()
        self._pool.shutdown()

    def gauges(self) -> dict[str, float]:
        """See ``protocols.Engine.gauges``; sizes in bytes, prefix cache hits in tokens."""
        counted = ("tokens_generated", "prompt_tokens", "prefix_cache_hits")
        ended = ("requests_finished", "requests_cancelled", "requests_expired", "requests_refused", "requests_failed")
        return {
            "running": float(len(self._running) + (self._entering is not None)),
            "waiting": float(len(self._waiting) + self._preparing),
            "places": float(self._decoder.places),
            **{name: float(self._counts[name]) for name in (*counted, *ended)},
            "prefix_cache_bytes": float(self._prefixes.kept.bytes),
            "encoder_cache_hits": float(self._features.hits),
            "encoder_cache_misses": float(self._features.misses),
            "encoder_cache_bytes": float(self._features.kept.bytes),
            "draining": float(self._draining),
        }

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _idle(self) -> bool:
        with self._wake:
            return not (self._preparing or self._waiting or self._entering or self._running)

    # -- in the model's thread ---------------------------------------------------------------------

    @torch.inference_mode()
    def _work(self) -> None:
        while self._has_work():
            try:
                self._turn()
            except Exception:  # a defect or too little memory: the answers at work fail, and nobody waits for ever
                log.exception("the model failed; running answers are given up")
                self._give_up(RuntimeError("the model failed"))
                self._decoder = self._new_decoder()
        with self._wake:
            left, self._waiting = list(self._waiting), deque()
        for job in left:
            job.reply.put(Draining())
        self._give_up(Draining())

    def _has_work(self) -> bool:
        """Wait for work; False once the engine closes."""
        with self._wake:
            while not (self._closing or self._waiting or self._entering or self._running):
                self._wake.wait()
            return not self._closing

    def _give_up(self, why: Exception) -> None:
        given_up = [*self._running, *([self._entering] if self._entering else [])]
        self._counts["requests_failed"] += len(given_up)
        for job in given_up:
            job.reply.put(why)
        self._running, self._newest, self._entering = [], [], None

    def _turn(self) -> None:
        """Let go of whom nobody waits for; read some of the next prompts; one step for all running answers."""
        now = time.monotonic()
        with self._wake:
            self._waiting = deque(job for job in self._waiting if not self._gone(job, now))
        if self._entering is not None and self._gone(self._entering, now):
            self._entering = None
        for place in reversed(range(len(self._running))):
            if self._gone(self._running[place], now):
                self._leave(place)
        self._read(self.settings.chunk)
        self._step()

    def _gone(self, job: Job, now: float) -> bool:
        if job.reply.cancelled:
            self._counts["requests_cancelled"] += 1
            return True
        if now >= job.deadline:
            self._counts["requests_expired"] += 1
            job.reply.put(Expired())
            return True
        return False

    def _read(self, budget: int) -> None:
        while budget > 0 and (job := self._next()) is not None:
            used, logits = self._decoder.read(budget)
            budget -= used
            if logits is None:
                continue
            self._entering = None
            self._running.append(job)
            self._newest.append(0)
            self._go_on(len(self._running) - 1, logits)

    def _next(self) -> Job | None:
        """The request whose prompt is being read, or the next one where there is a place."""
        if self._entering is not None:
            return self._entering
        with self._wake:
            if not self._waiting or len(self._running) >= self._decoder.places:
                return None
            job = self._entering = self._waiting.popleft()
        job.started = time.monotonic()
        job.reply.cached_tokens = self._decoder.begin(job.prompt)
        self._counts["prompt_tokens"] += len(job.prompt)
        self._counts["prefix_cache_hits"] += job.reply.cached_tokens
        return job

    def _step(self) -> None:
        if not self._running:
            return
        logits = self._decoder.step(self._newest)
        likeliest = logits.argmax(-1).tolist()
        for place in reversed(range(len(self._running))):  # who leaves is replaced by the last, who had its turn
            self._go_on(place, logits[place], likeliest[place])

    def _go_on(self, place: int, logits: Tensor, likeliest: int | None = None) -> None:
        """One more token for an answer, by logits (vocabulary,); it leaves with its last."""
        job, scored = self._running[place], None
        try:
            if likeliest is not None and job.chooser.plain:
                self._newest[place] = likeliest
            else:
                self._newest[place], scored = job.chooser.choose(logits)
            self._counts["tokens_generated"] += 1
            job.add(self._newest[place], scored)
        except BadGrammar as error:  # it grew too complex on the way: nobody else's matter
            job.fail(error)
        if job.finish is not None:
            self._counts["requests_finished"] += 1
            weight = max(0.1, 1 / self._counts["requests_finished"])  # the mean of the first ten, then of the latest
            self._seconds += weight * (time.monotonic() - job.started - self._seconds)
            self._leave(place)

    def _leave(self, place: int) -> None:
        self._decoder.leave(place)
        job, newest = self._running.pop(), self._newest.pop()
        if place < len(self._running):
            self._running[place], self._newest[place] = job, newest
