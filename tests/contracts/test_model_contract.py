"""What every fusion, objective, task and way of adapting must do, in whole models over every kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sensorium.data.collate import Batch, collate
from sensorium.data.rows import Example
from sensorium.models.decoding import DecodingSettings
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.models.processor import Processor
from sensorium.recipe import LATE_FUSIONS
from sensorium.tasks.classify import Classify
from sensorium.tasks.generate import Generate
from tests.tiny_models import COLOURS, MIXED, ListFeed, mixed_rows, model_of, processor_of, sources_of

FUSIONS: dict[str, dict[str, Any]] = {
    "tokens": {"kind": "tokens", "from_layer": 0},
    "tokens late": {"kind": "tokens", "from_layer": 2},
    "cross_attention": {"kind": "cross_attention", "from_layer": 1},
    "cross_attention sparse": {"kind": "cross_attention", "from_layer": 1, "every": 2},
    "concat": {"kind": "concat"},
    "weighted": {"kind": "weighted"},
    "attention": {"kind": "attention"},
}
EARLY = [name for name, fusion in FUSIONS.items() if fusion["kind"] not in LATE_FUSIONS]
CASES = [(fusion, "classes") for fusion in FUSIONS] + [(fusion, "words") for fusion in EARLY]
CASES += [("tokens", "numbers"), ("concat", "numbers")]


def rows_of(task: str, *, missing: bool = True) -> list[Example]:
    return mixed_rows(6, target="number" if task == "numbers" else "colour", missing=missing)


def built(fusion: str, task: str, **model: Any) -> tuple[Processor, MultimodalGPT]:
    processor = processor_of(
        MIXED,
        rows=mixed_rows(6),
        task="generate" if task == "words" else "classify",
        classes=list(COLOURS) if task == "classes" else None,
        fusion=FUSIONS[fusion],
        text_encoder=True,
    )
    return processor, model_of(processor, **model)


def task_of(task: str, processor: Processor) -> Classify | Generate:
    if task == "words":
        return Generate(processor, decoding=DecodingSettings(max_new_tokens=3))
    return Classify(processor.settings, counts=np.array([3, 2, 1]) if task == "classes" else None)


def batched(processor: Processor, rows: list[Example]) -> Batch:
    return collate([processor.sequence([row]) for row in rows])


# -- fusions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fusion", "task"), CASES)
class TestFusion:
    def test_outputs_have_a_row_for_each_thing_to_predict(self, fusion: str, task: str) -> None:
        processor, model = built(fusion, task)
        batch = batched(processor, rows_of(task))
        with torch.no_grad():
            found = model(batch)
        width = {"classes": 3, "numbers": 1, "words": len(processor.tokenizer)}[task]
        assert found.shape == (batch.supervised, width) and found.dtype == torch.float32
        assert torch.isfinite(found).all()

    def test_neighbours_change_nothing_whatever_is_missing(self, fusion: str, task: str) -> None:
        processor, model = built(fusion, task)
        rows = rows_of(task)
        with torch.no_grad():
            together = model(batched(processor, rows))
            apart = torch.cat([model(batched(processor, [row])) for row in rows])
        torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)

    def test_what_is_missing_never_leaks(self, fusion: str, task: str) -> None:
        """Features of a missing modality are changed: nothing else changes."""
        processor, model = built(fusion, task)
        batch = batched(processor, rows_of(task))
        with torch.no_grad():
            before = model(batch)
            original = model.features

            def spoilt(name: str, media: Any) -> torch.Tensor:
                found = original(name, media).clone()
                found[~media.present] = 1e3 * torch.randn_like(found[~media.present])
                return found

            model.features = spoilt  # type: ignore[method-assign]
            torch.testing.assert_close(model(batch), before, atol=1e-6, rtol=0)

    def test_every_input_matters(self, fusion: str, task: str) -> None:
        processor, model = built(fusion, task)
        row, other = rows_of(task, missing=False)[:2]
        with torch.no_grad():
            before = model(batched(processor, [row]))
            for name in MIXED:
                changed = Example(0, row.inputs | {name: other.inputs[name]}, row.target)
                assert (model(batched(processor, [changed])) - before).abs().max() > 1e-6, name

    def test_a_gradient_reaches_every_parameter_whatever_is_missing(self, fusion: str, task: str) -> None:
        processor, model = built(fusion, task, tuned_encoders=True)
        model.train()
        for missing in (True, False):
            model.zero_grad()
            rows = rows_of(task, missing=missing)
            model(batched(processor, rows[-1:] if missing else rows)).square().sum().backward()  # the last lacks all
            without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert without == []
        learning = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        expected = {"backbone", "projectors", "encoders"} | ({"head"} if task != "words" else set())
        assert expected <= learning and ("fusion" in learning) == any(True for _ in model.fusion.parameters())


# -- objectives and tasks --------------------------------------------------------------------------


@pytest.mark.parametrize(("fusion", "task"), CASES)
def test_a_batch_s_loss_is_the_sum_of_its_rows_losses(fusion: str, task: str) -> None:
    processor, model = built(fusion, task)
    rows, asked = rows_of(task), task_of(task, processor)
    with torch.no_grad():
        whole = asked.loss(model, batched(processor, rows))
        parts = [asked.loss(model, batched(processor, [row])) for row in rows]
    assert whole.count == sum(part.count for part in parts) == batched(processor, rows).supervised
    assert whole.total.item() == pytest.approx(sum(part.total.item() for part in parts), rel=1e-4)
    assert whole.total.ndim == 0 and whole.total.item() > 0


@pytest.mark.parametrize(("fusion", "task"), [case for case in CASES if case[0] != "cross_attention sparse"])
def test_a_task_answers_every_row_in_order_and_again_when_loaded(fusion: str, task: str, tmp_path: Path) -> None:
    processor, model = built(fusion, task)
    rows, order = rows_of(task), [5, 0, 3, 1, 4, 2]
    answers = task_of(task, processor).predict(model, ListFeed(processor, rows), order)
    assert answers.rows.tolist() == order and answers.targets == [rows[i].target for i in order]
    assert len(answers.predictions) == len(answers.confidence) == len(answers.likelihoods) == len(answers.tokens) == 6
    known = answers.confidence[~np.isnan(answers.confidence)]
    assert ((known >= 0) & (known <= 1)).all() and (answers.likelihoods[~np.isnan(answers.likelihoods)] <= 0).all()
    if answers.probabilities is not None:
        assert ((answers.probabilities >= 0) & (answers.probabilities <= 1)).all()
        np.testing.assert_allclose(answers.probabilities.sum(1), 1, atol=1e-5)
    if task == "numbers":
        assert all(isinstance(value, float) and np.isfinite(value) for value in answers.predictions)
    # one row at a time, and once more from a folder
    alone = task_of(task, processor).predict(model, ListFeed(processor, rows, size=1), order)
    model.save_pretrained(tmp_path, sources=sources_of(processor))
    processor.save_pretrained(tmp_path)
    opened = Processor.from_pretrained(tmp_path)
    again = task_of(task, opened).predict(MultimodalGPT.from_pretrained(tmp_path), ListFeed(opened, rows), order)
    for other in (alone, again):
        if task == "numbers":
            assert other.predictions == pytest.approx(answers.predictions, abs=1e-4)
        else:
            assert other.predictions == answers.predictions
        np.testing.assert_allclose(other.likelihoods, answers.likelihoods, atol=1e-3)
        np.testing.assert_allclose(other.confidence, answers.confidence, atol=1e-4)


# -- ways of adapting ------------------------------------------------------------------------------

METHODS = ["lora", "dora", "rslora", "pissa", "ia3", "vera", "oft", "prefix", "prompt", "p_tuning", "full", "frozen"]


@pytest.mark.parametrize("method", METHODS)
class TestAdapting:
    def model(self, method: str) -> tuple[Processor, MultimodalGPT]:
        processor = processor_of({"picture": "image", "words": "text"}, fusion=FUSIONS["tokens"])
        return processor, model_of(processor, adapt={"method": method, "rank": 4, "virtual_tokens": 4, "layers": 2})

    def test_learning_changes_what_it_says_and_nothing_else(self, method: str) -> None:
        processor, model = self.model(method)
        rows = rows_of("words")
        frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
        learning = [p for p in model.parameters() if p.requires_grad]
        optimiser, asked = torch.optim.Adam(learning, 1e-2), task_of("words", processor)
        model.train()
        losses = []
        for _ in range(6):
            loss = asked.loss(model, batched(processor, rows))
            losses.append(loss.total.item() / loss.count)
            optimiser.zero_grad()
            loss.total.backward()
            optimiser.step()
        assert losses[-1] < losses[0] and np.isfinite(losses).all()
        assert all(torch.equal(frozen[name], p) for name, p in model.named_parameters() if name in frozen)
        assert any("backbone" in name for name in frozen)

    def test_it_answers_rows_alike_in_any_batch(self, method: str) -> None:
        processor, model = self.model(method)
        rows, asked = rows_of("words"), task_of("words", processor)
        together, alone = (asked.predict(model, ListFeed(processor, rows, size=n), list(range(6))) for n in (6, 1))
        assert together.predictions == alone.predictions
        np.testing.assert_allclose(together.likelihoods, alone.likelihoods, atol=1e-3)
