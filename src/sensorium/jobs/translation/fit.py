"""``fit`` of an encoder–decoder that translates: parallel text to a model, measured before and after."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerFast

from sensorium import assets
from sensorium.data.sources import open_source
from sensorium.data.text.parallel_corpus import ParallelCorpus, open_corpus
from sensorium.errors import RecipeError
from sensorium.evaluation.translation_table import TranslationMeasured, primary_of, translation_metrics
from sensorium.jobs.begun import begun
from sensorium.jobs.card import LOADED, Made, made_card
from sensorium.jobs.prepare import fixed_choice
from sensorium.jobs.surroundings import environment
from sensorium.jobs.translation.measures import parquet, simple_methods, write_predictions
from sensorium.jobs.translation.opened import open_trained_tokenizer
from sensorium.jobs.translation.page import PROBE, write_page
from sensorium.jobs.translation.pairs import Pairs, learnable
from sensorium.jobs.translation.pictures import picture_features
from sensorium.jobs.translation.probe import probed
from sensorium.metrics.generation import chrf_statistic
from sensorium.metrics.translation import bleu
from sensorium.models.language.tokenizer_training import train_tokenizer
from sensorium.models.language.translator import Translator, TranslatorConfig
from sensorium.recipe import Recipe, ScratchRecipe, TranslationRecipe
from sensorium.run import Run, folder_beside, write_atomic, write_json
from sensorium.tasks.translate import END, PAD, Pictures, Translate, special_tokens, tag, translate_texts
from sensorium.training.averaging import Averaged
from sensorium.training.batches import BatchPlan, PlannedLoader, micro_batch_size
from sensorium.training.checkpoint import Checkpoints
from sensorium.training.distributed import make_accelerator
from sensorium.training.history import History
from sensorium.training.loop import Metric, planned_steps, train
from sensorium.training.memory import Shape
from sensorium.training.precision import Choice, choose, raise_malloc_thresholds
from sensorium.training.progress import make_progress
from sensorium.training.tracking import open_tracker

PARTS = ("train", "validation", "test")
TYPICAL_TOKENS = 16  # of a sentence, for measuring


def fit_translator(recipe: Recipe, folder: Path, fresh: bool, progress: Any) -> Path:
    """Run ``recipe`` to its end in ``folder``, or go on where an earlier call stopped.

    Raises:
        SensoriumError: recipe or data are not up to it, in one line.
        Interrupted: SIGINT or SIGTERM; a checkpoint was written.
    """
    recipe = described(recipe)
    accelerator = make_accelerator(say=progress)
    corpus = _open(recipe)
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
        _work(Run(folder), recipe, corpus, accelerator, make_progress(quiet=True))
        return folder
    with begun(folder, recipe, corpus.table.fingerprint, fresh, progress) as run:
        accelerator.wait_for_everyone()
        if not run.done("reported"):
            _work(run, recipe, corpus, accelerator, progress)
    return folder


def described(recipe: Recipe) -> Recipe:
    """The recipe with what it leaves open written out. RecipeError where its model cannot translate."""
    scratch = recipe.model.scratch or ScratchRecipe(architecture="encoder_decoder")
    if scratch.architecture != "encoder_decoder":
        raise RecipeError(
            f"{scratch.architecture} from nothing does not translate",
            where="model.scratch.architecture",
            mend="set it to encoder_decoder, or tune a pretrained GPT: leave model.scratch out",
        )
    model = recipe.model.model_copy(update={"scratch": scratch})
    asked = recipe.translation or TranslationRecipe()
    return recipe.model_copy(update={"task": "generate", "translation": asked, "model": model})


def _open(recipe: Recipe) -> ParallelCorpus:
    asked = recipe.translation
    assert asked is not None
    source = open_source(recipe.data, assets.cache_root() / "tables")
    return open_corpus(source, recipe.data, asked.directions, asked.picture)


@dataclass
class Parts:
    """What the work is done with. ``pictures``: of every row of the table, None where the model sees none."""

    run: Run
    recipe: Recipe
    corpus: ParallelCorpus
    tokenizer: PreTrainedTokenizerFast
    model: Translator
    pictures: Pictures | None
    progress: Any

    @property
    def asked(self) -> TranslationRecipe:
        assert self.recipe.translation is not None
        return self.recipe.translation

    def cases(self, part: str, most: int) -> tuple[list[str], np.ndarray, list[str], list[str], list[str]]:
        """Of a part: directions, rows, target tags, sources, references; each direction's fixed rows at the most."""
        directions, rows, targets, sources, references = [], [], [], [], []
        sides = self.corpus.sides(getattr(self.corpus.splits, part))
        for side in sides:
            chosen = fixed_choice(side.rows, max(1, most // len(sides)))
            directions += [side.name] * len(chosen)
            rows.append(chosen)
            targets += [side.target] * len(chosen)
            sources += self.corpus.texts(side.source, chosen)
            references += self.corpus.texts(side.target, chosen)
        return directions, np.concatenate(rows), targets, sources, references

    def translated(
        self, rows: np.ndarray, sources: list[str], targets: list[str], beam_size: int, what: str
    ) -> list[str]:
        shown = None if self.pictures is None else (self.pictures[0][rows], self.pictures[1][rows])
        with self.progress.task(what, len(sources), unit="sentences") as advance:
            return translate_texts(
                self.model,
                self.tokenizer,
                sources,
                targets,
                shown,
                beam_size=beam_size,
                length_penalty=self.asked.length_penalty,
                batch_size=self.recipe.evaluation.batch_size,
                done=advance,
            )


def _work(run: Run, recipe: Recipe, corpus: ParallelCorpus, accelerator: Accelerator, progress: Any) -> None:
    began, main = time.monotonic(), accelerator.is_main_process
    raise_malloc_thresholds()
    with accelerator.main_process_first():
        recipe, choice = _measured(run, recipe)
        parts = _build(run, recipe, corpus, progress)
    pairs = learnable(corpus, corpus.splits.train, parts.tokenizer, parts.recipe, parts.pictures)
    if main:
        _announce(parts, pairs, choice)
        test = parts.cases("test", recipe.evaluation.max_rows)
        before = _measure(parts, test, "before")
    history = None
    if not run.done("trained"):
        history = _train(parts, pairs, accelerator)
    if main:
        if history is not None:
            parts.model.to("cpu")
            with folder_beside(run.model) as folder:
                parts.model.save_pretrained(folder)
                parts.tokenizer.save_pretrained(folder)
            write_json(run.folder / "history.json", history.to_dict())
            run.finish("trained", seconds=history.seconds)
        else:
            parts.model = Translator.open(run.model)
        _finish(parts, test, before, _measure(parts, test, "after"), began)
    accelerator.wait_for_everyone()


def _measured(run: Run, recipe: Recipe) -> tuple[Recipe, Choice]:
    """The recipe with the precision that this machine is fast in; a resume keeps what was measured."""
    training, scratch = recipe.training, recipe.model.scratch
    assert scratch is not None
    resolved = run.resolved()
    if resolved is not None:
        training = training.model_copy(update={"precision": resolved.training.precision})
    ffn = scratch.feed_forward or 4 * scratch.width
    micro = training.micro_batch_size or training.batch_size
    shape = Shape(micro, TYPICAL_TOKENS, scratch.width, ffn, scratch.heads, scratch.layers)
    choice = choose(shape, assets.cache_root() / "machine", training.precision, "eager")
    training = training.model_copy(update={"precision": choice.precision, "attention": choice.attention})
    return recipe.model_copy(update={"training": training}), choice


def _build(run: Run, recipe: Recipe, corpus: ParallelCorpus, progress: Any) -> Parts:
    """Tokenizer, pictures, and the model with its first weights, which follow from the seed."""
    scratch, asked = recipe.model.scratch, recipe.translation
    assert scratch is not None and asked is not None
    kept = run.cache / "tokenizer"
    if not (kept / "tokenizer.json").exists():
        seen = {language: np.zeros(len(corpus.table), dtype=bool) for language in corpus.languages}
        for side in corpus.sides(corpus.splits.train):
            seen[side.source][side.rows] = seen[side.target][side.rows] = True
        texts = (text for language, rows in seen.items() for text in corpus.texts(language, np.flatnonzero(rows)))
        trained = train_tokenizer(texts, scratch.vocabulary, special_tokens(corpus.languages))
        kept.parent.mkdir(parents=True, exist_ok=True)
        with folder_beside(kept) as folder:
            trained.save_pretrained(folder)
    tokenizer = open_trained_tokenizer(kept)
    pictures = None
    if corpus.picture is not None:
        cells = corpus.table.table.column(corpus.picture).to_pylist()
        pictures = picture_features(cells, recipe, corpus.table.root, progress)
    torch.manual_seed(recipe.training.seed)
    config = TranslatorConfig(
        vocab_size=len(tokenizer),
        width=scratch.width,
        layers=scratch.layers,
        heads=scratch.heads,
        feed_forward=scratch.feed_forward or 4 * scratch.width,
        dropout=scratch.dropout,
        window=scratch.window,
        tags={language: tokenizer.convert_tokens_to_ids(tag(language)) for language in corpus.languages},
        pairs=[list(pair) for pair in corpus.directions],
        picture_width=0 if pictures is None else pictures[0].shape[-1],
        feature_dropout=recipe.model.feature_dropout,
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    return Parts(run, recipe, corpus, tokenizer, Translator(config).eval(), pictures, progress)


def _announce(parts: Parts, pairs: Pairs, choice: Choice) -> None:
    run, recipe, corpus, progress = parts.run, parts.recipe, parts.corpus, parts.progress
    left_out = corpus.left_out | pairs.left_out
    sizes = {part: sum(len(s.rows) for s in corpus.sides(getattr(corpus.splits, part))) for part in PARTS}
    progress(", ".join(f"{a} into {b}" for a, b in corpus.directions))
    progress(", ".join(f"{count:,} {part}" for part, count in sizes.items()) + f" pairs ({corpus.splits.method})")
    for line, count in left_out.items():
        progress(f"{count:,} left out: {line}")
    weights = sum(p.numel() for p in parts.model.parameters())
    progress(f"{weights:,} parameters in {choice.precision}, {len(parts.tokenizer):,} tokens in the vocabulary")
    run.write_recipe(recipe)
    write_json(run.folder / "environment.json", environment(recipe, corpus.table.fingerprint, choice))
    found = {"rows": len(corpus.table), "splits": sizes, "split_method": corpus.splits.method, "left_out": left_out}
    write_json(run.folder / "data_report.json", found)


def _train(parts: Parts, pairs: Pairs, accelerator: Accelerator) -> History:
    """Train the model; the average weights that translate validation sentences best, greedily, stay in it.

    By BLEU, or by chrF where references are phrases.
    """
    run, recipe, progress = parts.run, parts.recipe, parts.progress
    training, tokenizer = recipe.training, parts.tokenizer
    shape = None if parts.pictures is None else tuple(parts.pictures[0].shape[1:])
    task = Translate(tokenizer.convert_tokens_to_ids(PAD), training.label_smoothing, shape)  # type: ignore[arg-type]
    micro = micro_batch_size(training.batch_size, training.micro_batch_size, accelerator.num_processes)
    plan = BatchPlan(pairs.lengths, training.batch_size, micro, training.seed)
    progress(f"{len(pairs):,} pairs an epoch, {planned_steps(training, plan.steps):,} steps of {training.batch_size}")
    if training.precision == "bf16":
        parts.model.to(torch.bfloat16)
    whole = Averaged(parts.model, parts.asked.average)
    validated, name = None, "bleu"
    if len(parts.corpus.splits.validation):
        _, rows, targets, sources, references = parts.cases("validation", recipe.evaluation.validation_rows)

        def validated() -> dict[str, float]:
            with whole.averaged():
                said = parts.translated(rows, sources, targets, 1, "validating")
            return {"bleu": bleu(said, references), "chrf": chrf_statistic(said, references).value}

        name = primary_of(references)
    history = train(
        whole,
        task,
        PlannedLoader(pairs, task.collate, plan, training.workers),
        validated,
        training,
        accelerator=accelerator,
        checkpoints=Checkpoints(run.checkpoints, say=progress),
        tracker=lambda step: open_tracker(
            recipe.tracking, run.logs, step, run.folder.name, recipe.model_dump(mode="json")
        ),
        progress=progress,
        metric=Metric(name, higher_is_better=True),
        updated=whole.update,
        say=progress,
    )
    parts.model.float()
    whole.take()
    return history


Cases = tuple[list[str], np.ndarray, list[str], list[str], list[str]]


def _measure(parts: Parts, test: Cases, when: str) -> list[str]:
    """Translations of the test part, made once and kept."""
    path = parts.run.folder / f"translated_{when}.parquet"
    _, rows, targets, sources, _ = test
    if not path.exists():
        parts.run.log(f"test split read: {when} training, {len(sources)} sentences")
        # what is untrained says nothing worth a search
        beam_size = parts.asked.beam if when == "after" else 1
        said = parts.translated(rows, sources, targets, beam_size, f"translating {when} training")
        write_atomic(path, parquet({"translation": said}))
        parts.run.finish(f"measured_{when}", rows=len(sources))
    return list(pq.read_table(path).column("translation").to_pylist())


def _finish(parts: Parts, test: Cases, before: list[str], after: list[str], began: float) -> None:
    """Compare, report, and remove what only a resume needs."""
    run, recipe, corpus = parts.run, parts.recipe, parts.corpus
    directions, rows, _, sources, references = test
    systems = {"before": before, "after": after}
    if recipe.evaluation.baselines:
        sides = {side.name: side for side in corpus.sides(corpus.splits.train)}

        def taught(direction: str) -> tuple[list[str], list[str]]:
            side = sides[direction]
            return corpus.texts(side.source, side.rows), corpus.texts(side.target, side.rows)

        systems |= simple_methods(directions, sources, taught)
    cases = TranslationMeasured(directions, sources, references, systems, corpus.clusters(rows))
    metrics = translation_metrics(cases, seed=recipe.training.seed, n_resamples=recipe.evaluation.bootstrap)
    write_json(run.folder / "metrics.json", metrics)
    write_predictions(run, rows, cases)
    if parts.pictures is not None and not (run.folder / PROBE).exists():
        run.log("test split read: probing with hidden words and other pictures")
        found = probed(run, recipe, corpus, parts.model, parts.tokenizer, parts.pictures, parts.progress)
        write_json(run.folder / PROBE, found)
    write_atomic(run.model / "README.md", made_card(_made(parts), metrics, run.read_json("data_report.json")))
    seconds = time.monotonic() - began
    write_page(run, recipe, corpus, seconds)
    run.finish("reported", seconds=seconds)
    Checkpoints(run.checkpoints).clear()


def _made(parts: Parts) -> Made:
    corpus, seen = parts.corpus, parts.pictures is not None
    a, b = corpus.directions[0]
    return Made(
        f"{', '.join(f'{a} into {b}' for a, b in corpus.directions[:8])}{' …' if len(corpus.directions) > 8 else ''}",
        f"An encoder–decoder Transformer made from nothing by Sensorium translates sentences"
        f"{' and looks at their pictures' if seen else ''}.",
        "translation",
        {"image encoder": str(parts.recipe.model.image)} if seen else {},
        ["- text", *([f"- {corpus.picture}: image"] if seen else [])],
        [*LOADED, f'model.translate(["…"], "{a}", "{b}")'],
    )
