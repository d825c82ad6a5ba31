"""What the benchmark of pretraining computes by itself: its text, its peers, its times."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.common import Results
from benchmarks.pretraining_peers import nanogpt, trainer
from benchmarks.pretraining_speed import BATCH, MODEL, SIDES, WARM, Stamps, page, recipe_of
from benchmarks.pretraining_text import Watched, made_up
from sensorium.models.language.scratch import build
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.recipe import ScratchRecipe

WINDOW = 16


@pytest.fixture
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=WINDOW, vocab_size=50, bos_token_id=0, eos_token_id=0)
    )


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Documents of 5 and 30 tokens in turn, which count on."""
    lengths = [5, 30] * 40
    path = tmp_path / "tokens.bin"
    np.concatenate([np.arange(n) % 50 for n in lengths]).astype(np.uint16).tofile(path)
    np.save(tmp_path / "starts.npy", np.cumsum([0, *lengths]))
    return path


def test_made_up_text_has_its_size_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made_up(tmp_path / name, 1)
    text = (tmp_path / "a").read_text()
    assert text == (tmp_path / "b").read_text() and 1_000_000 <= len(text) < 1_020_000
    assert re.fullmatch(r"[A-Z][a-z]*( [a-z]+)*\.( [A-Z][a-z]*( [a-z]+)*\.)*", text.split("\n\n")[0])


def test_the_model_has_ten_million_parameters() -> None:
    tokenizer = train_tokenizer(["a b"], 300, ["<pad>", "<s>", "</s>"])
    made = build(ScratchRecipe(**MODEL), tokenizer)
    count = sum(p.numel() for p in made.parameters()) + (8000 - len(tokenizer)) * 320
    assert 9_500_000 < count < 10_500_000


def test_nanogpts_loop_learns_and_tells_of_each_step(model: GPT2LMHeadModel, tokens: Path) -> None:
    stamps = Stamps("wall")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nanogpt(model, tokens, 30, 4, WINDOW, False, stamps.stamp)
    assert len(stamps.times) == 30 and stamps.seconds() > 0
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
    ids = torch.arange(WINDOW)[None]
    assert float(model(input_ids=ids, labels=ids).loss) < 3.5 < np.log(50)


def test_trainer_reads_blocks_or_documents_and_counts_what_is_no_padding(
    model: GPT2LMHeadModel, tokens: Path, tmp_path: Path
) -> None:
    stamps, given = Stamps("wall"), (4, 2, WINDOW, False)
    assert (
        trainer(model, tokens, tmp_path / "starts.npy", *given, False, tmp_path / "out", stamps.stamp) == 4 * 2 * WINDOW
    )
    read = trainer(model, tokens, tmp_path / "starts.npy", *given, True, tmp_path / "out", stamps.stamp)
    assert read == 4 * (5 + WINDOW) and len(stamps.times) == 8


def test_times_are_of_the_training_s_steps_after_the_first_ones() -> None:
    stamps = Stamps("cpu")
    with stamps.task("measuring", 3) as advance:
        advance(1)
    assert not stamps.times
    with stamps.task("training", 3) as advance:
        advance(1, total=3, loss=1.0)
    assert len(stamps.times) == 1
    stamps.times = [0.0, 10.0, 11.0, 12.0, 16.0]
    assert stamps.seconds() == pytest.approx(2.0) and WARM == 2


def test_memory_of_its_own_is_seen_and_that_of_mapped_files_is_not(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(4_000_000))
    with Watched() as watched:
        float(np.load(tmp_path / "a.npy", mmap_mode="r").sum())
    assert watched.most - watched.start < 20
    with Watched() as watched:
        held = np.ones(8_000_000)
        for _ in range(60):
            float(held.sum())
    assert watched.most - watched.start > 40


def test_the_page_compares_medians(tmp_path: Path) -> None:
    results = Results(tmp_path, "x", {"clock": "cpu"})
    for number, ours in enumerate((300.0, 100.0, 200.0)):
        for side in SIDES:
            results.keep(f"fp32/{side}/{number}", {"tokens_per_second": ours if side == "sensorium" else 100.0})
    results.keep("memory/1", {"documents": 3, "tokens": 9, "start_mb": 1, "most_mb": 2.4, "cpu_seconds": 7})
    text = page(results)
    assert "| nanoGPT's loop | 100 | 100 to 100 | 2.00 |" in text and "| 1 MB | 3 | 9 | 1 | 2 | 7 |" in text
    assert "bf16" not in text


def test_the_recipe_is_one_that_can_be_run(tmp_path: Path) -> None:
    made = recipe_of(tmp_path, 7, "bf16")
    assert (made.training.max_steps, made.training.batch_size, made.training.precision) == (7, BATCH, "bf16")
