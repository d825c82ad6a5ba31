"""The model's side of answering many at once: a prompt is read in pieces, running answers take steps together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from sensorium.data.collate import Batch, MediaItem, Sequence, collate
from sensorium.models.backbone import Stack
from sensorium.models.decoding import State
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.serving.engine.bounded import Bounded
from sensorium.serving.engine.prefixes import Marks, Prefixes
from sensorium.serving.engine.prompts import Prompt
from sensorium.serving.engine.slots import Slots


class Decoder(Protocol):
    """Answers stand in places 0, 1, …; one prompt at a time is read, and then stands behind them.

    Attributes:
        places: answers that run together at the most.
    """

    places: int

    def begin(self, prompt: Prompt) -> int:
        """Take a prompt up, in place of one that is not read to its end; how many of its tokens are known already."""
        ...

    def read(self, budget: int) -> tuple[int, Tensor | None]:
        """Go on reading; (tokens' worth of work done, logits (vocabulary,) once the prompt is whole and has a place)."""
        ...

    def step(self, tokens: list[int]) -> Tensor:
        """The next token of every running answer -> logits (answers, vocabulary)."""
        ...

    def leave(self, place: int) -> None:
        """Free a place; the last answer takes it."""
        ...


def make_decoder(
    model: MultimodalGPT, places: int, context: int, features: Features, prefixes: Prefixes
) -> Together | Alone:
    """The decoder for a model: together where its layers can be run one by one, else one answer at a time."""
    stack = model.stack
    return Alone(model, features) if stack is None else Together(model, stack, places, context, features, prefixes)


class Features:
    """Encoder features of media, by content; at most ``limit`` bytes of them."""

    def __init__(self, model: MultimodalGPT, limit: int) -> None:
        self.model, self.hits, self.misses = model, 0, 0
        self.kept: Bounded[Tensor] = Bounded(limit)

    def known(self, name: bytes) -> Tensor | None:
        """Features (positions, width), where kept."""
        return self.kept.get(name)

    def of(self, item: MediaItem, name: bytes) -> MediaItem:
        """The item with its features in place of what its encoder reads; alone, so that no neighbour changes a bit."""
        if item.value is None or item.cached:
            return replace(item, cached=True)
        found = self.known(name)
        self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        if found is None:
            media = collate([Sequence([0], [0], [0], [-1], [replace(item, branch=0)], [0])]).to(self.model.device).media
            found = self.model.features(item.column, media[item.column])[0].cpu()
            self.kept.put(name, found, found.nbytes)
        return replace(item, value=found, cached=True)


# -- together --------------------------------------------------------------------------------------


@dataclass
class _Running:
    """An answer in a slot: tokens that the slot holds, their blocks' names, and what steps need of its media."""

    length: int
    marks: Marks
    frame: Sequence


@dataclass
class _Reading:
    """A prompt that is being read: ``done`` tokens are in its slot; ``items`` are encoded so far."""

    prompt: Prompt
    marks: Marks
    done: int
    items: list[MediaItem]
    batch: Batch | None = None
    projected: dict[str, Tensor] | None = None


class Together:
    """A decoder for models that run layer by layer: one forward pass a step for all running answers."""

    def __init__(
        self, model: MultimodalGPT, stack: Stack, places: int, context: int, features: Features, prefixes: Prefixes
    ) -> None:
        self.model, self.stack, self.places = model, stack, places
        self.features, self.prefixes = features, prefixes
        self.slots = Slots(len(stack.layers), places, context)
        self._running: list[_Running] = []
        self._reading: _Reading | None = None
        self._frames: tuple[Batch, dict[str, Tensor]] | None = None  # of all running; None when one joins or leaves
        self._looks = model.fusion_recipe.kind == "cross_attention"

    def begin(self, prompt: Prompt) -> int:
        marks = Marks(prompt.sequence, prompt.names)
        known = self.prefixes.fetch(self.slots, marks, len(prompt) - 1)  # the last token's logits are needed anyway
        self._reading = _Reading(prompt, marks, known, [])
        return known

    def read(self, budget: int) -> tuple[int, Tensor | None]:
        reading = self._reading
        assert reading is not None
        if reading.batch is None and not self._encoded(reading):
            return budget, None
        start, stop = reading.done, min(reading.done + budget, len(reading.prompt))
        hidden = self._pass(reading, start, stop)
        reading.done = stop
        if stop < len(reading.prompt):
            return stop - start, None
        self._join(reading)
        return stop - start, self.model.logits(self.stack.norm(hidden[0, -1]))

    def _encoded(self, reading: _Reading) -> bool:
        """Encode one medium that is neither kept nor behind a known start; whether all are there now."""
        media, names = reading.prompt.sequence.media, reading.prompt.names
        for item, name in list(zip(media, names, strict=True))[len(reading.items) :]:
            needed = self._looks or any(slot >= reading.done for slot in item.slots)
            fresh = needed and item.value is not None and self.features.known(name) is None
            reading.items.append(self.features.of(item, name) if needed else replace(item, value=None, cached=True))
            if fresh and len(reading.items) < len(media):
                return False
        batch = collate([replace(reading.prompt.sequence, media=reading.items)]).to(self.model.device)
        reading.batch, reading.projected = batch, self.model.project(batch)
        return True

    def _pass(self, reading: _Reading, start: int, stop: int) -> Tensor:
        """Run tokens ``start`` to ``stop`` - 1 of a prompt behind those in its slot: hidden states (1, tokens, width)."""
        whole, projected = reading.batch, reading.projected
        assert whole is not None and projected is not None
        cut = {name: getattr(whole, name)[:, start:stop] for name in ("input_ids", "position_ids", "branches")}
        batch = replace(whole, **cut)
        keys = torch.arange(stop, device=batch.input_ids.device)
        visible = (keys <= keys[start:, None])[None]
        hidden = self.stack.enter(batch.input_ids, batch.position_ids)
        depth, cache = len(self.stack.layers), self.slots.reading(start)
        return self.model.run_layers(self.stack, hidden, visible, batch, projected, 0, depth, cache)

    def _join(self, reading: _Reading) -> None:
        slot, length = len(self._running), len(reading.prompt)
        self.slots.enter(slot, length)
        self.prefixes.store(self.slots, slot, reading.marks, length)
        self._running.append(_Running(length, reading.marks, self._frame(reading)))
        self._reading = self._frames = None

    def _frame(self, reading: _Reading) -> Sequence:
        """A sequence of one token with the media that steps need: projected to look at, or where placeholders stand."""
        whole, projected = reading.batch, reading.projected
        assert whole is not None and projected is not None
        frame = Sequence([0], [0], [0], [-1], [], [0], memory=reading.prompt.sequence.memory)
        places = dict.fromkeys(projected, 0)
        for item in reading.items:
            value = None
            if self._looks:
                value = projected[item.column][places[item.column], : item.positions].clone()
                places[item.column] += 1
            frame.media.append(MediaItem(item.column, value, item.positions, item.slots, 0, True))
        return frame

    def step(self, tokens: list[int]) -> Tensor:
        if self._frames is None:
            frames = collate([running.frame for running in self._running]).to(self.model.device)
            seen = {n: m.values for n, m in frames.media.items() if m.values is not None} if self._looks else {}
            self._frames = frames, seen
        frames, seen = self._frames
        lengths = torch.tensor([running.length for running in self._running], device=self.model.device)
        batch = replace(
            frames,
            input_ids=torch.tensor(tokens, device=lengths.device)[:, None],
            position_ids=lengths[:, None],
        )
        visible = (torch.arange(int(lengths.max()) + 1, device=lengths.device) <= lengths[:, None])[:, None]
        hidden = self.stack.enter(batch.input_ids, batch.position_ids)
        depth, cache = len(self.stack.layers), self.slots.stepping(lengths)
        hidden = self.model.run_layers(self.stack, hidden, visible, batch, seen, 0, depth, cache)
        for running, token in zip(self._running, tokens, strict=True):
            running.length += 1
            running.marks.add(token)
        return self.model.logits(self.stack.norm(hidden[:, 0]))

    def leave(self, place: int) -> None:
        left, last = self._running[place], self._running.pop()
        self.prefixes.store(self.slots, place, left.marks, left.length)
        if last is not left:
            self.slots.move(len(self._running), place, last.length)
            self._running[place] = last
        self._frames = None


# -- alone -----------------------------------------------------------------------------------------


class Alone:
    """A decoder for models that run whole: one answer at a time, without a cache of keys and values."""

    places = 1

    def __init__(self, model: MultimodalGPT, features: Features) -> None:
        self.model, self.features = model, features
        self._prompt: Prompt | None = None
        self._state: State | None = None

    def begin(self, prompt: Prompt) -> int:
        self._prompt = prompt
        return 0

    def read(self, budget: int) -> tuple[int, Tensor | None]:
        prompt = self._prompt
        assert prompt is not None
        items = [self.features.of(item, name) for item, name in zip(prompt.sequence.media, prompt.names, strict=True)]
        batch = collate([replace(prompt.sequence, media=items)]).to(self.model.device)
        self._state = State(self.model, batch)
        return budget, self._state.prefill()[0]

    def step(self, tokens: list[int]) -> Tensor:
        assert self._state is not None
        return self._state.step(torch.tensor(tokens, device=self.model.device))

    def leave(self, place: int) -> None:
        self._state = None
