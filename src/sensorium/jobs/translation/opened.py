"""A finished run that translates, opened: an encoder–decoder made from nothing, or a tuned GPT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from sensorium.errors import DataError, RunError
from sensorium.jobs.translation.gpt import GptTranslator, open_gpt_translator
from sensorium.jobs.translation.pictures import PictureReader
from sensorium.models.language.translator import Translator
from sensorium.recipe import Recipe, TranslationRecipe
from sensorium.run import Run
from sensorium.tasks.translate import encode, translate_texts


@dataclass
class OpenedTranslator:
    """A finished run's translator. ``languages``: tags that it reads or writes; ``directions``: as "en-de"."""

    model: Translator
    tokenizer: PreTrainedTokenizerFast
    recipe: Recipe
    languages: list[str]
    directions: list[str]
    reader: PictureReader

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest text that the model reads whole."""
        return int(self.model.config.window) - 2

    def tokens(self, texts: list[str]) -> list[int]:
        """How many tokens each text takes."""
        return [len(ids) for ids in encode(self.tokenizer, texts)]

    def translate(
        self,
        texts: list[str],
        source: str,
        target: str,
        pictures: list[Path | bytes | None] | None = None,
        beam: int | None = None,
    ) -> list[str]:
        """Translations, in order; a picture a text, or None.

        Args:
            beam: hypotheses that are followed; the recipe's by default, 1 is greedy.

        Raises:
            DataError: the direction was not learnt, or a text takes more than ``most_tokens``.
            MediaError: a picture cannot be read.
        """
        if f"{source}-{target}" not in self.directions:
            known = ", ".join(self.directions[:20])
            raise DataError(f"{source} into {target} was not learnt", mend=f"directions: {known}")
        for i, count in enumerate(self.tokens(texts)):
            if count > self.most_tokens:
                raise DataError(
                    f"takes {count:,} tokens, and the model reads {self.most_tokens:,}",
                    where=f"text {i + 1}",
                    mend="part it into sentences",
                )
        shown = None
        if pictures is not None and self.model.config.picture_width:
            shown = self.reader(pictures)
        asked = self.recipe.translation or TranslationRecipe()
        return translate_texts(
            self.model,
            self.tokenizer,
            texts,
            [target] * len(texts),
            shown,
            beam_size=beam or asked.beam,
            length_penalty=asked.length_penalty,
            batch_size=self.recipe.evaluation.batch_size,
            masked=asked.picture is not None,
        )


def open_translator(run_folder: Path) -> OpenedTranslator | GptTranslator:
    """The translator of a finished run. RunError where there is none."""
    run = Run.read(run_folder)
    recipe = run.resolved()
    if recipe is None or not run.done("trained"):
        raise RunError("the run is not finished", where=str(run_folder), mend="run its fit again; it goes on")
    if recipe.model.scratch is None:
        return open_gpt_translator(run, (recipe.translation or TranslationRecipe()).directions)
    model = Translator.open(run.model)
    tokenizer = open_trained_tokenizer(run.model)
    directions = ["-".join(pair) for pair in model.config.pairs]
    languages = list(dict.fromkeys(tag_ for one in model.config.pairs for tag_ in one))
    return OpenedTranslator(model, tokenizer, recipe, languages, directions, PictureReader(recipe))


def open_trained_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer in a folder. RunError where there is none."""
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)  # the automatic one would ask for the model's kind
    except (OSError, ValueError) as error:
        raise RunError("the tokenizer cannot be read", where=str(folder), mend="fit again with --fresh") from error
