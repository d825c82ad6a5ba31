"""``evaluate --probe``: does the picture help a translator? Its test sentences with words hidden and pictures changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from sensorium import assets
from sensorium.data.sources import open_source
from sensorium.data.text.parallel_corpus import ParallelCorpus, open_corpus
from sensorium.errors import RunError
from sensorium.evaluation.probe_table import probe_metrics
from sensorium.evaluation.translation_baselines import learn_dictionary
from sensorium.jobs.translation.page import PROBE, answered, write_page
from sensorium.jobs.translation.pictures import picture_features
from sensorium.models.language.translator import Translator
from sensorium.recipe import Recipe
from sensorium.run import Run, write_json
from sensorium.tasks.translate import Pictures, translate_texts
from sensorium.tasks.translation_probes import german_nouns, probe
from sensorium.training.progress import make_progress

GERMAN = "de"


def probe_run(run_folder: str | Path, progress: Any = None) -> dict[str, Any]:
    """What ``probe.json`` of a finished run says; measured first, and put into the report, where it is not there yet.

    Raises:
        RunError: the run is not finished, or sees no pictures.
    """
    run, progress = Run.read(run_folder), progress or make_progress()
    recipe = run.resolved()
    if recipe is None or recipe.translation is None or recipe.translation.picture is None:
        raise RunError(
            "only a run that translates with pictures can be probed",
            where=str(run_folder),
            mend="give one whose recipe has translation.picture",
        )
    if recipe.model.scratch is None:
        raise RunError(
            "a tuned GPT cannot be probed yet", where=str(run_folder), mend="probe an encoder–decoder: model.scratch"
        )
    if not run.done("reported"):
        raise RunError("the run is not finished", where=str(run_folder), mend="run its fit again; it goes on")
    if not (run.folder / PROBE).exists():
        from sensorium.jobs.translation.opened import OpenedTranslator, open_translator

        opened = open_translator(run.folder)
        assert isinstance(opened, OpenedTranslator)  # one with model.scratch
        if not isinstance(opened, OpenedTranslator):
            raise RunError(
                "a tuned GPT cannot be probed yet", where=str(run_folder), mend="give a run that has model.scratch"
            )
        source = open_source(recipe.data, assets.cache_root() / "tables")
        corpus = open_corpus(source, recipe.data, recipe.translation.directions, recipe.translation.picture)
        cells = source.table.column(recipe.translation.picture).to_pylist()
        pictures = picture_features(cells, recipe, source.root, progress)
        run.log("test split read: probing with hidden words and other pictures")
        found = probed(run, recipe, corpus, opened.model, opened.tokenizer, pictures, progress)
        write_json(run.folder / PROBE, found)
        write_page(run, recipe, corpus, float(run.facts("reported").get("seconds", 0.0)))
    found = run.read_json(PROBE)
    return dict(found)


def probed(
    run: Run,
    recipe: Recipe,
    corpus: ParallelCorpus,
    model: Translator,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Pictures,
    progress: Any,
) -> dict[str, Any]:
    """The content of ``probe.json``, of the sentences of ``predictions.parquet``; translated greedily."""
    cases, rows = answered(run, corpus)
    of_case = np.array(rows)
    tags = {f"{a}-{b}": (a, b) for a, b in corpus.directions}
    languages, targets = zip(*(tags[direction] for direction in cases.directions), strict=True)
    seen = np.flatnonzero(pictures[1].numpy()[of_case])  # sentences that have a picture
    concepts = [(cases.clusters or rows)[i] for i in seen.tolist()]

    def translate(texts: Sequence[str], places: np.ndarray, shown: np.ndarray | None) -> list[str]:
        picture = None
        if shown is not None:
            picture = pictures[0][of_case[seen[shown]]], pictures[1][of_case[seen[shown]]]
        with progress.task("probing", len(texts), unit="sentences") as advance:
            return translate_texts(
                model,
                tokenizer,
                texts,
                [targets[seen[i]] for i in places.tolist()],
                picture,
                beam_size=1,
                batch_size=recipe.evaluation.batch_size,
                masked=True,
                done=advance,
            )

    found = probe(
        translate,
        [cases.sources[i] for i in seen.tolist()],
        [languages[i] for i in seen.tolist()],
        concepts,
        nouns_of(corpus),
        recipe.training.seed,
    )
    return probe_metrics(
        cases,
        {hidden: seen[places] for hidden, places in found.rows.items()},
        found.said,
        seed=recipe.training.seed,
        n_resamples=recipe.evaluation.bootstrap,
        notes=[*found.left_out, "Translated greedily. A wrong picture is of another concept, each shown once."],
    )


def nouns_of(corpus: ParallelCorpus) -> dict[str, list[str]]:
    """Language -> its nouns in the training part: those whose likeliest German word German writes with a capital.

    Nothing where the corpus has no German.
    """
    if GERMAN not in corpus.languages:
        return {}
    rows = corpus.splits.train
    german = corpus.texts(GERMAN, rows)
    nouns = german_nouns(german)
    found = {GERMAN: sorted(nouns)}
    for language in {source for source, _ in corpus.directions} - {GERMAN}:
        dictionary = learn_dictionary(corpus.texts(language, rows), german, f"{language}-{GERMAN}")
        found[language] = sorted(word for word, meant in dictionary.items() if meant.lower() in nouns)
    return found
