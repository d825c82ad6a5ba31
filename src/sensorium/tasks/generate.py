"""Answers in words: taught on answer tokens only; chosen among given options by likelihood, or decoded freely."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sensorium.data.collate import Batch
from sensorium.data.messages import TextPart
from sensorium.models.decoding import DecodingSettings, answer_log_likelihoods, generate
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor
from sensorium.models.sequences import end_of_turn
from sensorium.objectives.causal_lm import causal_lm_loss
from sensorium.tasks.answers import Answers, Feed, Loss, Progress


class Generate:
    """The task of answering in words.

    Args:
        processor: renders rows; its settings' ``choices`` list, question by question, the answers to choose among.
        decoding: for questions without choices.
    """

    name = "generate"

    def __init__(
        self, processor: Processor, *, decoding: DecodingSettings | None = None, label_smoothing: float = 0.0
    ) -> None:
        self.processor, self.label_smoothing = processor, label_smoothing
        self.decoding = decoding or DecodingSettings()

    @property
    def measure(self) -> tuple[str, bool]:
        """The metric that validation chooses by, and whether more is better."""
        return "exact_match", True

    def loss(self, model: MultimodalGPT, batch: Batch) -> Loss:
        return Loss(causal_lm_loss(model, batch, self.label_smoothing), len(batch.answers))

    @torch.inference_mode()
    def predict(self, model: MultimodalGPT, feed: Feed, rows: list[int], progress: Progress | None = None) -> Answers:
        """An answer a row, in order."""
        targets = [feed.example(row).target for row in rows]
        said: dict[int, tuple[str, float]] = {}
        likelihoods: dict[int, tuple[float, int]] = {}
        asked = [self.question(feed, row) for row in rows]
        for question in sorted(set(asked) & set(self.processor.settings.choices)):
            mine = [row for row, q in zip(rows, asked, strict=True) if q == question]
            self._choose(model, feed, mine, question, said, likelihoods, progress)
        free = [row for row in rows if row not in said]
        self._decode(model, feed, free, said, progress)
        self._weigh(model, feed, [row for row in rows if row not in likelihoods], likelihoods)
        found = [likelihoods.get(row, (np.nan, 0)) for row in rows]
        return Answers(
            rows=np.array(rows),
            targets=targets,
            predictions=[said[row][0] for row in rows],
            probabilities=None,
            confidence=np.array([said[row][1] for row in rows]),
            likelihoods=np.array([value for value, _ in found]),
            tokens=np.array([count for _, count in found]),
        )

    def question(self, feed: Feed, row: int) -> str:
        """The words of the last user's turn, by which a row's choices are found."""
        turns = self.processor.messages(feed.example(row), with_answer=False)
        return " ".join(part.text for part in turns[-1].parts if isinstance(part, TextPart)) if turns else ""

    def _choose(
        self,
        model: MultimodalGPT,
        feed: Feed,
        rows: list[int],
        question: str,
        said: dict[int, tuple[str, float]],
        likelihoods: dict[int, tuple[float, int]],
        progress: Progress | None,
    ) -> None:
        """The likeliest choice is the answer."""
        choices = self.processor.settings.choices[question]
        for found, scores, lengths in self._scored(model, feed, rows, choices):
            best = scores.softmax(1).max(1)
            for i, row in enumerate(found):
                said[row] = (choices[int(best.indices[i])], float(best.values[i]))
                target = feed.example(row).target
                if target is not None and str(target) in choices:
                    right = choices.index(str(target))
                    likelihoods[row] = (float(scores[i, right]), int(lengths[i, right]))
            if progress:
                progress(len(found))

    def _scored(
        self, model: MultimodalGPT, feed: Feed, rows: list[int], choices: list[str]
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Rows, log P of every choice (rows, choices), and the choices' lengths in tokens (rows, choices).

        The prompt is run once for all choices, but by a GPT that runs whole: it takes one answer a sequence.
        """
        groups = [[row] for row in rows]
        if model.stack is not None:
            for batch in feed.batches(groups, choices=choices):
                shape = (len(batch.rows), len(choices))
                yield batch.rows, answer_log_likelihoods(model, batch).view(shape).cpu(), _lengths(batch).view(shape)
            return
        scores, lengths = [], []
        for choice in choices:
            for batch in feed.batches(groups, answer=choice, trunk=False):
                scores.append(answer_log_likelihoods(model, batch).cpu())
                lengths.append(_lengths(batch))
        shape = (len(choices), len(rows))
        yield rows, torch.cat(scores).view(shape).T, torch.cat(lengths).view(shape).T

    def _decode(
        self,
        model: MultimodalGPT,
        feed: Feed,
        rows: list[int],
        said: dict[int, tuple[str, float]],
        progress: Progress | None,
    ) -> None:
        tokenizer = self.processor.tokenizer
        stops = {tokenizer.eos_token_id, end_of_turn(tokenizer)}
        for batch in feed.batches([[row] for row in rows], answering=True, trunk=False):
            for row, ids in zip(batch.rows, generate(model, batch, stops, self.decoding), strict=True):
                said[row] = (tokenizer.decode(ids, skip_special_tokens=True).strip(), float("nan"))
            if progress:
                progress(len(batch.rows))

    def _weigh(
        self, model: MultimodalGPT, feed: Feed, rows: list[int], likelihoods: dict[int, tuple[float, int]]
    ) -> None:
        """log P of the right answers, rows about the same picture sharing it."""
        known = [row for row in rows if feed.example(row).target is not None]
        for batch in feed.batches(feed.groups(known), last_only=True):
            scores = answer_log_likelihoods(model, batch).cpu().tolist()
            lengths = _lengths(batch).tolist()
            for row, score, length in zip(batch.rows, scores, lengths, strict=True):
                if length:  # a chat may end without an answer
                    likelihoods[row] = (score, length)


def _lengths(batch: Batch) -> Tensor:
    """Tokens of each answer of a batch (answers,)."""
    return torch.bincount(batch.owners, minlength=batch.answers_count).cpu()
