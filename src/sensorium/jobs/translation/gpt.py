"""A tuned GPT that translates: the direction stands in its prompt, as in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.data.text.parallel_examples import TEXT, asked_in
from sensorium.errors import DataError
from sensorium.jobs.opened import Model
from sensorium.recipe import Recipe
from sensorium.run import Run


@dataclass
class GptTranslator:
    """As ``opened.OpenedTranslator``; it decodes greedily, whatever the beam."""

    model: Model
    directions: list[str]
    languages: list[str]

    @property
    def recipe(self) -> Recipe:
        return self.model.recipe

    @property
    def most_tokens(self) -> int:
        """Tokens of the longest text that is read whole."""
        return self.recipe.model.max_text_tokens - len(self._ids(asked_in("xx", "xx", "")))

    def tokens(self, texts: list[str]) -> list[int]:
        """How many tokens each text takes."""
        return [len(self._ids(text)) for text in texts]

    def _ids(self, text: str) -> list[int]:
        return list(self.model.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def translate(
        self,
        texts: list[str],
        source: str,
        target: str,
        pictures: list[Path | bytes | None] | None = None,
        beam: int | None = None,
    ) -> list[str]:
        """Translations, in order.

        Raises:
            DataError: the direction was not learnt.
        """
        if f"{source}-{target}" not in self.directions:
            known = ", ".join(self.directions[:20])
            raise DataError(f"{source} into {target} was not learnt", mend=f"directions: {known}")
        if not texts:
            return []
        asked = self.recipe.translation
        rows: list[dict[str, Any]] = [{TEXT: asked_in(source, target, text)} for text in texts]
        if pictures is not None and asked is not None and asked.picture is not None:
            for row, picture in zip(rows, pictures, strict=True):
                shown = picture.read_bytes() if isinstance(picture, Path) else picture
                row[asked.picture] = None if shown is None else {"bytes": shown, "path": None}
        return [str(answer or "").strip() for answer in self.model.predict(rows)]


def open_gpt_translator(run: Run, directions: list[str]) -> GptTranslator:
    """The translator of a finished run of a tuned GPT."""
    pairs = [direction.partition("-") for direction in directions]
    languages = list(dict.fromkeys(tag for pair in pairs for tag in (pair[0], pair[2])))
    return GptTranslator(Model(run), directions, languages)
