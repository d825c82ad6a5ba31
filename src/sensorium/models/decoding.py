"""Answers from the GPT: greedy, sampled, by beam search, or chosen by likelihood among given ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from sensorium.data.collate import Batch
from sensorium.models.backbone import visibility
from sensorium.models.multimodal_gpt import MultimodalGPT


@dataclass(frozen=True)
class DecodingSettings:
    """How to decode.

    Attributes:
        max_new_tokens: tokens at the most.
        temperature: 0 is greedy; else logits are divided by it and sampled from.
        top_p, top_k: keep the likeliest tokens that together reach ``top_p``, and at most ``top_k`` (0: all).
        beams: more than 1 searches with so many beams (no sampling); scores divided by length ** ``length_penalty``.
        seed: of sampling; each row draws from (seed, its number in the call).
    """

    max_new_tokens: int = 32
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    beams: int = 1
    length_penalty: float = 1.0
    seed: int = 0


class State:
    """A batch that is being answered: prompt and answers so far, with a key-value cache where layers allow it."""

    def __init__(self, model: MultimodalGPT, batch: Batch) -> None:
        self.model, self.stack = model, model.stack
        self.lengths = (batch.branches >= 0).sum(1)
        self.batch = batch
        self.cache = DynamicCache() if self.stack is not None else None
        self.visible = visibility(batch.branches, batch.ancestors)
        self.projected = model.project(batch) if self.stack is not None else {}

    def prefill(self) -> Tensor:
        """Logits (batch, vocabulary) behind each prompt."""
        if self.stack is None:
            return self._whole()
        stack, batch = self.stack, self.batch
        hidden = stack.enter(batch.input_ids, batch.position_ids)
        hidden = self.model.run_layers(
            stack, hidden, self.visible, batch, self.projected, 0, len(stack.layers), self.cache
        )
        last = hidden[torch.arange(len(hidden)), self.lengths - 1]
        real = (batch.branches >= 0)[:, None]
        self.visible = real  # from now on: every real token of the prompt
        return self.model.logits(stack.norm(last))

    def step(self, tokens: Tensor) -> Tensor:
        """One more token (batch,) -> logits (batch, vocabulary)."""
        if self.stack is None:
            self._append(tokens)
            return self._whole()
        ones = torch.ones(len(tokens), 1, 1, dtype=torch.bool, device=tokens.device)
        self.visible = torch.cat([self.visible, ones], 2)
        batch = replace(
            self.batch,
            input_ids=tokens[:, None],
            position_ids=self.lengths[:, None],
            branches=torch.zeros_like(tokens)[:, None],
        )
        self.lengths = self.lengths + 1
        hidden = self.stack.enter(batch.input_ids, batch.position_ids)
        early = self.projected if self.model.fusion_recipe.kind == "cross_attention" else {}
        depth = len(self.stack.layers)
        hidden = self.model.run_layers(self.stack, hidden, self.visible, batch, early, 0, depth, self.cache)
        return self.model.logits(self.stack.norm(hidden[:, 0]))

    def reorder(self, rows: Tensor) -> None:
        """Take over the states of ``rows`` (batch,), each from the same prompt."""
        self.visible, self.lengths = self.visible[rows], self.lengths[rows]
        if self.cache is not None:
            self.cache.reorder_cache(rows)
        else:
            ids, branches = self.batch.input_ids[rows], self.batch.branches[rows]
            self.batch = replace(self.batch, input_ids=ids, branches=branches)

    def _whole(self) -> Tensor:
        hidden = self.model.hidden_states(self.batch)
        return self.model.logits(hidden[torch.arange(len(hidden)), self.lengths - 1])

    def _append(self, tokens: Tensor) -> None:
        batch, rows = self.batch, torch.arange(len(tokens))
        if int(self.lengths.max()) == batch.input_ids.shape[1]:
            pad = (0, 1)
            batch = replace(
                batch,
                input_ids=torch.nn.functional.pad(batch.input_ids, pad),
                branches=torch.nn.functional.pad(batch.branches, pad, value=-1),
                position_ids=torch.nn.functional.pad(batch.position_ids, pad),
            )
        batch.input_ids[rows, self.lengths] = tokens
        batch.branches[rows, self.lengths] = 0
        batch.position_ids[rows, self.lengths] = self.lengths
        self.batch, self.lengths = batch, self.lengths + 1


@torch.inference_mode()
def generate(model: MultimodalGPT, batch: Batch, stops: set[int], settings: DecodingSettings) -> list[list[int]]:
    """Answer every row of a batch of prompts (one branch each); stop tokens end an answer and are left out."""
    if settings.beams > 1:
        return _beam(model, batch, stops, settings)
    answers: list[list[int]] = [[] for _ in range(len(batch.input_ids))]
    open_rows = torch.ones(len(answers), dtype=torch.bool)
    for tokens in _steps(model, batch, settings):
        for row, token in enumerate(tokens.tolist()):
            if open_rows[row] and token in stops:
                open_rows[row] = False
            elif open_rows[row]:
                answers[row].append(token)
        if not open_rows.any():
            break
    return answers


@torch.inference_mode()
def stream(model: MultimodalGPT, batch: Batch, stops: set[int], settings: DecodingSettings) -> Iterator[int]:
    """The tokens of ``generate`` for a batch of one prompt, each as soon as it is known. There are no beams."""
    for tokens in _steps(model, batch, settings):
        if int(tokens[0]) in stops:
            return
        yield int(tokens[0])


def _steps(model: MultimodalGPT, batch: Batch, settings: DecodingSettings) -> Iterator[Tensor]:
    """The next token of every row (batch,), step after step; whoever iterates knows when to stop."""
    state = State(model, batch)
    generators = [generator(settings.seed, row) for row in range(len(batch.input_ids))]
    logits = state.prefill()
    for step in range(settings.max_new_tokens):
        tokens = pick(logits, settings, generators)
        yield tokens
        if step + 1 < settings.max_new_tokens:
            logits = state.step(tokens)


def generator(seed: int, row: int = 0) -> torch.Generator:
    """What row ``row`` of a call draws from; any whole number is a seed."""
    return torch.Generator().manual_seed((seed * 1_000_003 + row) % 2**64)


def pick(logits: Tensor, settings: DecodingSettings, generators: list[torch.Generator]) -> Tensor:
    """The next token of every row (batch,), from logits (batch, vocabulary); each row draws from its own generator."""
    if settings.temperature <= 0:
        return logits.argmax(-1)
    probabilities = filtered(logits / settings.temperature, settings.top_k, settings.top_p).softmax(-1).cpu()
    drawn = [torch.multinomial(p, 1, generator=g) for p, g in zip(probabilities, generators, strict=True)]
    return torch.cat(drawn).to(logits.device)


def filtered(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Logits (batch, vocabulary) with all but the likeliest tokens at minus infinity.

    ``top_p`` keeps the smallest set that reaches it (Holtzman et al. 2020), the likeliest token always.
    """
    if top_k > 0:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p < 1:
        ordered, places = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = (before >= top_p).index_fill(1, torch.zeros(1, dtype=torch.long, device=logits.device), False)
        logits = logits.masked_fill(torch.zeros_like(drop).scatter(1, places, drop), float("-inf"))
    return logits


def _repeated(batch: Batch, times: int) -> Batch:
    """Every row ``times`` over; media with them."""
    rows = torch.arange(len(batch.input_ids)).repeat_interleave(times)
    media = {}
    for name, items in batch.media.items():
        copies = [[i for i, row in enumerate(items.row.tolist()) if row == r] for r in range(len(batch.input_ids))]
        picked = torch.tensor([i for r in rows.tolist() for i in copies[r]], dtype=torch.long)
        owners = torch.tensor([new for new, r in enumerate(rows.tolist()) for _ in copies[r]], dtype=torch.long)
        values, lengths = items.values, items.lengths
        if values is not None and items.cached:
            values = values[picked]
        elif values is not None:
            order = (items.present.long().cumsum(0) - 1)[picked][items.present[picked]]
            values, lengths = values[order], lengths[order]
        changed = {key: getattr(items, key)[picked] for key in ("counts", "mask", "present", "slots")}
        media[name] = replace(items, values=values, lengths=lengths, row=owners, **changed)
    fields: dict[str, Any] = {
        k: getattr(batch, k)[rows] for k in ("input_ids", "position_ids", "branches", "ancestors", "memory")
    }
    return replace(batch, media=media, trunk=None, **fields)


def _beam(model: MultimodalGPT, batch: Batch, stops: set[int], settings: DecodingSettings) -> list[list[int]]:
    """Beam search; a finished beam's score is its log-likelihood over length ** penalty (Wu et al. 2016, simplified)."""
    count, beams = len(batch.input_ids), settings.beams
    state = State(model, _repeated(batch, beams))
    scores = torch.full((count, beams), float("-inf"))
    scores[:, 0] = 0.0  # all beams of a row start alike: let one of them spread
    partial: list[list[list[int]]] = [[[] for _ in range(beams)] for _ in range(count)]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]
    logits = state.prefill()
    for step in range(settings.max_new_tokens):
        likelihood = logits.log_softmax(-1).cpu().view(count, beams, -1) + scores[..., None]
        best = likelihood.flatten(1).topk(2 * beams)
        vocabulary, chosen, tokens = likelihood.shape[-1], [], []
        for row in range(count):
            kept: list[tuple[float, int, int]] = []
            for score, place in zip(best.values[row].tolist(), best.indices[row].tolist(), strict=True):
                beam, token = divmod(place, vocabulary)
                if token in stops:
                    length = len(partial[row][beam]) + 1
                    finished[row].append((score / length**settings.length_penalty, partial[row][beam]))
                elif len(kept) < beams:
                    kept.append((score, beam, token))
            kept += [(float("-inf"), 0, 0)] * (beams - len(kept))
            scores[row] = torch.tensor([score for score, _, _ in kept])
            partial[row] = [[*partial[row][beam], token] for _, beam, token in kept]
            chosen += [row * beams + beam for _, beam, _ in kept]
            tokens += [token for _, _, token in kept]
        if all(len(done) >= beams for done in finished) or step + 1 == settings.max_new_tokens:
            break
        state.reorder(torch.tensor(chosen))
        logits = state.step(torch.tensor(tokens, device=batch.input_ids.device))
    for row in range(count):  # what never ended competes too, when nothing did
        if not finished[row]:
            length = max(len(partial[row][0]), 1)
            finished[row] = [
                (float(scores[row, b]) / length**settings.length_penalty, partial[row][b]) for b in range(beams)
            ]
    return [max(done, key=lambda pair: pair[0])[1] for done in finished]


def answer_log_likelihoods(model: MultimodalGPT, batch: Batch, together: int = 1024) -> Tensor:
    """log P of each answer (or option) of a batch, summed over its tokens, its end included: (answers,).

    Logits are computed once for each place that predicts, ``together`` places at a time: a vocabulary is wide.
    """
    hidden = model.hidden_states(batch).flatten(0, 1)
    places, which = batch.sources.unique(return_inverse=True)
    found = torch.zeros(len(which), device=hidden.device)
    for start in range(0, len(places), together):
        likelihoods = model.logits(hidden[places[start : start + together]]).log_softmax(-1)
        mine = (which >= start) & (which < start + together)
        found[mine] = likelihoods[which[mine] - start, batch.answers[mine]]
    return torch.zeros(batch.answers_count, device=found.device).index_add(0, batch.owners, found)
