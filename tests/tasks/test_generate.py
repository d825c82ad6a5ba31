"""Answers in words: choices against brute force, decoding against the greedy definition, likelihoods by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.data.collate import collate
from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.data.rows import Example
from sensorium.models.decoding import DecodingSettings
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor
from sensorium.tasks.generate import Generate
from tests.tiny_models import ListFeed, mixed_rows, model_of, processor_of

FUSIONS = [
    {"kind": "tokens", "from_layer": 0},
    {"kind": "tokens", "from_layer": 2},
    {"kind": "cross_attention", "from_layer": 1},
]
CHOICES = {"which colour?": ["blue", "red", "red and green"], "": ["nothing", "all"]}
ASKED = {"picture": "image", "words": "text"}


def log_p(model: MultimodalGPT, processor: Processor, example: Example, answer: str) -> tuple[float, int]:
    """log P of an answer and its end, token by token, with the model's plain forward pass."""
    sequence = processor.sequence([Example(0, example.inputs, answer)])
    with torch.no_grad():
        hidden = model.hidden_states(collate([sequence]))[0]
        logs = model.logits(hidden).log_softmax(-1)
    ids = [*processor.tokenizer.encode(answer), processor.tokenizer.eos_token_id]
    start = len(processor.sequence([example], answering=True).ids)
    assert sequence.ids[start : start + len(ids)] == ids
    return sum(float(logs[start + i - 1, token]) for i, token in enumerate(ids)), len(ids)


def rows() -> list[Example]:
    shown = [row.inputs["picture"] for row in mixed_rows(3)]
    asked = ["which colour?", "say more", "which colour?", None, "which colour?", "say more"]
    told = ["red", "a long story", "purple", "all", None, "no"]
    return [
        Example(i, {"picture": shown[i % 3] if i != 5 else None, "words": q}, t)
        for i, (q, t) in enumerate(zip(asked, told, strict=True))
    ]


@pytest.mark.parametrize(
    ("fusion", "together", "method"),
    [*((fusion, together, "lora") for fusion in FUSIONS for together in (1, 3)), (FUSIONS[0], 1, "prefix")],
)
def test_answers_equal_brute_force(fusion: dict, together: int, method: str) -> None:
    """A GPT with a prefix runs whole: rows and choices then share nothing."""
    processor = processor_of(ASKED, fusion=fusion, choices=CHOICES)
    model = model_of(processor, adapt={"method": method, "virtual_tokens": 4})
    task = Generate(processor, decoding=DecodingSettings(max_new_tokens=4))
    examples, order, finished = rows(), [3, 0, 5, 1, 4, 2], []
    answers = task.predict(model, ListFeed(processor, examples, together=together), order, finished.append)
    assert answers.rows.tolist() == order and answers.targets == [examples[i].target for i in order]
    assert sum(finished) == len(order) and answers.probabilities is None
    for i, row in enumerate(order):
        example = examples[row]
        choices = CHOICES.get(example.inputs["words"] or "")
        if choices:
            scores = np.array([log_p(model, processor, example, choice)[0] for choice in choices])
            shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            assert answers.predictions[i] == choices[int(shares.argmax())]
            assert answers.confidence[i] == pytest.approx(shares.max(), abs=1e-4)
        else:
            assert np.isnan(answers.confidence[i])
            assert answers.predictions[i] == greedy(model, processor, example, 4)
        if example.target is None:
            assert np.isnan(answers.likelihoods[i]) and answers.tokens[i] == 0
        else:
            expected, count = log_p(model, processor, example, example.target)
            assert answers.likelihoods[i] == pytest.approx(expected, abs=1e-3) and answers.tokens[i] == count


def greedy(model: MultimodalGPT, processor: Processor, example: Example, most: int) -> str:
    """One token after the other, the whole text run anew each time."""
    said: list[int] = []
    sequence = processor.sequence([example], answering=True)
    while len(said) < most:
        with torch.no_grad():
            token = int(model.logits(model.hidden_states(collate([sequence]))[0, -1]).argmax())
        if token == processor.tokenizer.eos_token_id:
            break
        said.append(token)
        sequence.ids.append(token)
        sequence.positions.append(len(sequence.positions))
        sequence.branches.append(0)
    return processor.tokenizer.decode(said, skip_special_tokens=True).strip()


@pytest.mark.parametrize("ending", ["eos_token", "pad_token"])
def test_decoding_stops_where_the_template_ends_a_turn(ending: str) -> None:
    processor = processor_of({"words": "text"})
    tokenizer = processor.tokenizer
    end = getattr(tokenizer, ending)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|end|>", end)
    model = model_of(processor)
    with torch.no_grad():  # a GPT that ends its turn at once
        head = model.backbone.get_output_embeddings()
        head.weight.zero_()
        model.logits = (
            lambda hidden: torch.nn.functional.one_hot(  # type: ignore[method-assign]
                torch.full(hidden.shape[:-1], tokenizer.convert_tokens_to_ids(end)), len(tokenizer)
            ).float()
        )
    task = Generate(processor, decoding=DecodingSettings(max_new_tokens=50))
    answers = task.predict(model, ListFeed(processor, [Example(0, {"words": "a"}, None)]), [0])
    assert answers.predictions == [""]


def test_chats_are_answered_from_their_last_question() -> None:
    processor = processor_of({"image_url": "image"}, fusion={"kind": "tokens", "from_layer": 0})
    processor.settings.inputs = {}
    shown = MediaPart("image", "image_url", mixed_rows(1)[0].inputs["picture"])
    turns = [
        Message("user", (shown, TextPart("what?"))),
        Message("assistant", (TextPart("red"),)),
        Message("user", (TextPart("sure?"),)),
    ]
    answered = [*turns, Message("assistant", (TextPart("yes"),))]
    examples = [Example(0, {"messages": answered}, "yes"), Example(1, {"messages": turns}, "")]
    task, model = Generate(processor, decoding=DecodingSettings(max_new_tokens=3)), model_of(processor)
    feed = ListFeed(processor, examples)
    answers = task.predict(model, feed, [0, 1])
    assert answers.predictions[0] == answers.predictions[1]  # both from the same three turns
    assert task.question(feed, 0) == task.question(feed, 1) == "sure?"
    assert answers.tokens.tolist() == [
        len(processor.tokenizer.encode("yes")) + 1,
        0,
    ]  # the last answer alone is weighed


def test_the_loss_counts_supervised_tokens() -> None:
    processor = processor_of(ASKED, fusion={"kind": "tokens", "from_layer": 0})
    model, task = model_of(processor), Generate(processor)
    row = rows()[0]
    loss = task.loss(model, collate([processor.sequence([row])]))
    expected, count = log_p(model, processor, row, row.target)
    assert loss.count == count and loss.total.item() == pytest.approx(-expected, rel=1e-4)
