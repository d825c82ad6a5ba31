"""``fit`` of task pretrain: from texts, and media beside them, to a folder that other recipes start from."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from sensorium.errors import RunError
from sensorium.evaluation.schema import validated
from sensorium.jobs.opened import load
from sensorium.run import Run, sha256_file
from tests.end_to_end.commands import call, command, done, environment, new_process, sets, tiny
from tests.small_data import COLOURS, picture

SMALL = {"architecture": "gpt2", "width": 16, "layers": 1, "heads": 2, "vocabulary": 420, "window": 32, "dropout": 0.0}
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "one",
    "bird",
    "of",
    "many",
    "colours",
    "in",
    "its",
    "tree",
]


def corpus(path: Path, documents: int = 120) -> Path:
    """Documents of a few sentences in which words follow each other by rule, so that there is something to learn."""
    rng = np.random.default_rng(0)
    blocks = []
    for _ in range(documents):
        at, sentences = int(rng.integers(len(WORDS))), []
        for _ in range(int(rng.integers(2, 5))):
            length = int(rng.integers(4, 9))
            sentences.append(" ".join(WORDS[(at + i) % len(WORDS)] for i in range(length)).capitalize() + ".")
            at += length
        blocks.append(" ".join(sentences))
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    return path


def recipe(folder: Path, name: str = "run", **changes: object) -> Path:
    """A recipe file for the corpus; ``changes`` use two underscores for a dot."""
    raw: dict[str, object] = {
        "task": "pretrain",
        "data": {"source": str(folder / "corpus.txt")},
        "model": {"scratch": dict(SMALL)},
        "pretraining": {"objectives": {"causal_lm": 1.0}},
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32", "attention": "sdpa"},
        "evaluation": {"bootstrap": 100},
        "tracking": [],
        "output": str(folder / name),
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        here = raw
        for parent in parents:
            here = here.setdefault(parent, {})  # type: ignore[assignment]
        here[last] = value
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pretraining")
    corpus(made / "corpus.txt")
    return made


@pytest.fixture(scope="module")
def causal(folder: Path, cache: Path) -> Path:
    """A run of a causal language model that also infills. Tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(cache))
        objectives = {"causal_lm": 1.0, "masked_lm": 0.5}
        done("fit", recipe(folder, "causal", pretraining__objectives=objectives, training__epochs=6))
    return folder / "causal"


def test_a_causal_model_learns_and_is_measured_on_held_out_documents(causal: Path) -> None:
    run = Run(causal)
    metrics = validated(run.metrics)
    assert metrics["primary"] == "perplexity" and metrics["task"] == "pretrain"
    after, before = metrics["after"], metrics["before"]
    assert (
        after["perplexity"]["value"]
        < metrics["baselines"]["unigram"]["perplexity"]["value"]
        < before["perplexity"]["value"]
    )
    assert after["byte_perplexity"]["value"] < before["byte_perplexity"]["value"]
    rows = pq.read_table(causal / "predictions.parquet").to_pydict()
    nats, tokens, sizes = (np.array(rows[f"{name}_after"]) for name in ("nats", "tokens", "bytes"))
    assert after["perplexity"]["value"] == pytest.approx(np.exp(nats.sum() / tokens.sum()))
    assert after["byte_perplexity"]["value"] == pytest.approx(np.exp(nats.sum() / sizes.sum()))
    assert len(rows["document"]) == metrics["rows"] == run.read_json("data_report.json")["splits"]["test"]
    page = run.report.read_text(encoding="utf-8")
    assert "perplexity" in page and "Validation: masked_lm" in page
    card = (causal / "model" / "README.md").read_text(encoding="utf-8")
    assert "causal_lm, masked_lm" in card and "RUN/model" in card and "perplexity" in card
    assert {"loss", "causal_lm", "masked_lm"} <= set(run.read_json("history.json")["validations"][0]["metrics"])


def test_its_figures_are_those_of_transformers_on_the_documents_alone(causal: Path) -> None:
    """Perplexity from packed windows is that of each document by itself, as the saved folder gives it."""
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(causal / "model"),
        AutoTokenizer.from_pretrained(causal / "model"),
    )
    rows = pq.read_table(causal / "predictions.parquet").to_pydict()
    texts = (causal.parent / "corpus.txt").read_text().split("\n\n")
    for number, nats, size in list(zip(rows["document"], rows["nats_after"], rows["bytes_after"], strict=True))[:5]:
        ids = [
            tokenizer.bos_token_id,
            *tokenizer(texts[number], add_special_tokens=False).input_ids,
            tokenizer.eos_token_id,
        ]
        assert size == len(texts[number].encode())
        if len(ids) <= SMALL["window"]:  # type: ignore[operator]
            with torch.no_grad():
                loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss
            assert float(loss) * (len(ids) - 1) == pytest.approx(nats, rel=1e-4)


def test_another_recipe_starts_from_it(causal: Path, mixed: Path, parts: dict[str, Path], tmp_path: Path) -> None:
    settings = tiny(parts, model__backbone=causal / "model", training__max_steps=2, model__fusion="concat")
    settings |= {"model.fusion": "concat", "model.adapt": "full"}
    del settings["model.fusion.tokens"], settings["model.fusion.width"]
    done("fit", "--data", mixed, "--target", "y", "--output", tmp_path / "run", *sets(settings))
    started = Run(tmp_path / "run").recipe.model
    assert started.backbone == str(causal / "model")


BERT = {**SMALL, "architecture": "bert", "width": 32}


def test_bert_is_measured_by_hidden_words_and_pairs_of_sentences(folder: Path) -> None:
    objectives = {"masked_lm": 1.0, "next_sentence": 0.5}
    done("fit", recipe(folder, "bert", model__scratch=BERT, pretraining__objectives=objectives))
    metrics = validated(Run(folder / "bert").metrics)
    assert metrics["primary"] == "masked_accuracy" and "perplexity" not in metrics["after"]
    assert metrics["baselines"]["chance"]["next_sentence_accuracy"]["value"] == 0.5
    assert metrics["after"]["masked_perplexity"]["value"] < metrics["before"]["masked_perplexity"]["value"]
    assert AutoModel.from_pretrained(folder / "bert" / "model").config.model_type == "bert"


@pytest.mark.long
def test_bert_names_hidden_words(folder: Path) -> None:
    objectives = {"masked_lm": 1.0}
    path = recipe(folder, "long", model__scratch=BERT, pretraining__objectives=objectives, training__epochs=60)
    more = ("training.patience=null", "training.learning_rate=0.005", "pretraining.masking.unit=whole_word")
    done("fit", path, *(word for one in more for word in ("--set", one)))
    metrics = Run(folder / "long").metrics
    assert metrics["after"]["masked_accuracy"]["value"] > metrics["baselines"]["unigram"]["masked_accuracy"]["value"]


# -- media -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Path:
    """Pictures of colours with their names, unlabelled."""
    rng = np.random.default_rng(0)
    lines = ["picture,words"]
    for i in range(90):
        colour = list(COLOURS)[i % len(COLOURS)]
        (folder / f"{i}.png").write_bytes(picture(colour, rng, 16))
        lines.append(f"{i}.png,a {colour} thing number {i}")
    (folder / "pictures.csv").write_text("\n".join(lines))
    return folder / "pictures.csv"


@pytest.fixture(scope="module")
def aligned(folder: Path, pictures: Path, parts: dict[str, Path], cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(cache))
        path = recipe(
            folder,
            "aligned",
            data={"source": str(pictures), "inputs": {"picture": "image", "words": "text"}},
            pretraining__objectives={"causal_lm": 1.0, "contrastive": 1.0, "matching": 0.5},
            training__epochs=6,
            training__batch_size=16,
        )
        done("fit", path, "--set", f"model.image={parts['vit']}", "--set", "model.image_size=32")
    return folder / "aligned"


def test_pictures_and_texts_find_each_other(aligned: Path) -> None:
    metrics = validated(Run(aligned).metrics)
    after = metrics["after"]
    assert {"recall@1", "recall@5", "recall@10", "text_recall@10", "matching_accuracy", "perplexity"} <= set(after)
    assert metrics["baselines"]["chance"]["recall@5"]["value"] == pytest.approx(5 / metrics["rows"])
    assert after["recall@5"]["value"] > metrics["baselines"]["chance"]["recall@5"]["value"]
    rows = pq.read_table(aligned / "predictions.parquet").to_pydict()
    assert np.mean(np.array(rows["rank_after"]) <= 5) == pytest.approx(after["recall@5"]["value"])


def test_an_encoder_is_aligned_once(aligned: Path, tmp_path: Path) -> None:
    again = ("--set", f"model.image={aligned / 'model' / 'image'}", "--output", tmp_path / "again")
    found = call("fit", aligned / "requested.yaml", *again)
    assert found.code == 2 and "is aligned already; name the encoder that it was made from" in found.line


def test_a_classifier_starts_from_both_sides_of_the_alignment(aligned: Path, pictures: Path, tmp_path: Path) -> None:
    rows = pictures.read_text().splitlines()
    labelled = ["picture,words,label", *(f"{row},{row.split()[1]}" for row in rows[1:])]
    (pictures.parent / "labelled.csv").write_text("\n".join(labelled))
    settings = {
        "model.backbone": aligned / "model", "model.image": aligned / "model" / "image", "model.image_size": 32,
        "model.fusion": "concat", "model.adapt": "full", "training.epochs": 8, "training.learning_rate": 0.01,
        "training.precision": "fp32", "training.attention": "sdpa", "evaluation.bootstrap": 100, "tracking": "[]",
    }  # fmt: skip
    words = ("--input", "picture=image", "--input", "words=text", *sets(settings))
    done("fit", "--data", pictures.parent / "labelled.csv", "--target", "label", "--output", tmp_path / "run", *words)
    assert Run(tmp_path / "run").metrics["after"]["accuracy"]["value"] > 0.6
    kept = tmp_path / "run" / "model" / "encoders" / "image"
    assert sha256_file(kept / "alignment.safetensors") == sha256_file(
        aligned / "model" / "image" / "alignment.safetensors"
    )


def test_sounds_and_texts_are_aligned_too(folder: Path, mixed: Path, parts: dict[str, Path]) -> None:
    data = {"source": str(mixed), "inputs": {"sound": "audio", "words": "text"}}
    path = recipe(folder, "sounds", data=data, pretraining__objectives={"contrastive": 1.0}, training__epochs=4)
    done("fit", path, "--set", f"model.audio={parts['whisper']}")
    after = validated(Run(folder / "sounds").metrics)["after"]
    assert "recall@10" in after and "matching_accuracy" not in after
    assert (folder / "sounds" / "model" / "audio" / "alignment.safetensors").is_file()


# -- going on --------------------------------------------------------------------------------------


def test_a_pretrained_model_goes_on_with_adapters_and_replay(
    causal: Path, parts: dict[str, Path], folder: Path
) -> None:
    other = corpus(folder / "other.txt", documents=40)
    path = recipe(
        folder, "continued", data={"source": str(other)}, pretraining__replay=str(folder / "corpus.txt"),
        pretraining__replay_share=0.25,
    )  # fmt: skip
    raw = yaml.safe_load(path.read_text())
    raw["model"] = {
        "backbone": str(parts["llama"]),
        "adapt": {"method": "lora", "layers": "all"},
        "max_text_tokens": 32,
    }
    path.write_text(yaml.safe_dump(raw))
    done("fit", path)
    continued = AutoModelForCausalLM.from_pretrained(folder / "continued" / "model")
    start = AutoModelForCausalLM.from_pretrained(parts["llama"])
    changed = {n for n, p in continued.state_dict().items() if not torch.equal(p, start.state_dict()[n])}
    assert changed and all("_proj" in name for name in changed)  # merged, and nothing but linear maps
    metrics = validated(Run(folder / "continued").metrics)
    assert metrics["after"]["perplexity"]["value"] < metrics["before"]["perplexity"]["value"]
    kept = metrics["by"]["text"]["replayed"]
    assert kept["after"]["perplexity"]["value"] < kept["before"]["perplexity"]["value"] and kept["rows"] > 4
    with pytest.raises(RunError, match=r"pretrained, and answers nothing by itself; name .*model as model.backbone"):
        load(folder / "continued")


@pytest.mark.long
def test_a_killed_run_goes_on_and_ends_as_the_undisturbed_one(folder: Path, cache: Path) -> None:
    changes = {
        "pretraining__objectives": {"causal_lm": 1.0, "masked_lm": 1.0},
        "training__epochs": 12,
        "training__checkpoint_every": 5,
        "training__patience": None,
    }
    assert new_process(command("fit", recipe(folder, "whole", **changes)), cache).code == 0
    killed = recipe(folder, "killed", **changes)
    process = subprocess.Popen(
        command("fit", killed), env=environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 120
    while not list((folder / "killed" / "checkpoints").glob("step-*")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not Run(folder / "killed").done("reported")
    assert new_process(command("fit", killed), cache).code == 0
    one, other = Run(folder / "whole"), Run(folder / "killed")
    assert sha256_file(one.model / "model.safetensors") == sha256_file(other.model / "model.safetensors")
    assert one.metrics == other.metrics


def test_a_run_that_was_trained_but_not_measured_reads_its_model_again(causal: Path, tmp_path: Path) -> None:
    shutil.copytree(causal, tmp_path / "run")
    run, metrics = Run(tmp_path / "run"), Run(causal).metrics
    state = run.read_json("run.json")
    for stage in ("measured_after", "reported"):
        del state["stages"][stage]
    (tmp_path / "run" / "run.json").write_text(json.dumps(state))
    for name in ("measured_after.parquet", "metrics.json"):
        (tmp_path / "run" / name).unlink()
    done("fit", tmp_path / "run" / "requested.yaml", "--output", tmp_path / "run")
    assert run.metrics == metrics


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__scratch": {**SMALL, "architecture": "bert"}}, "bert cannot carry causal_lm.*gpt2, llama"),
        ({"pretraining__objectives": {"contrastive": 1.0}}, "contrastive and matching need pictures or sounds"),
        (
            {"model__scratch": {**SMALL, "vocabulary": 300}, "pretraining__objectives": {"masked_lm": 1.0}},
            "no room for 256 bytes",
        ),
        (
            {"pretraining__replay": "nowhere.txt", "pretraining__replay_share": 0.5},
            "no such file.*nowhere|nowhere.*no such",
        ),
        ({"data__split": {"validation": 0.1, "test": 0.0}}, "data.split.test: .*nothing would be left to measure on"),
        ({"data": {"source": "nowhere.txt"}}, "no such file or folder"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    folder: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    found = call("fit", recipe(folder, "refused", **changes), "--output", tmp_path / "run")
    assert found.code == 2 and re.search(said, found.line), found.line
