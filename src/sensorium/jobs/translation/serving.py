"""A run that translates, as the functions that serving asks for."""

from __future__ import annotations

import threading
from dataclasses import replace

from sensorium.jobs.serving_parts import make_parts
from sensorium.jobs.translate import Translates, sees_pictures, translate_batches
from sensorium.jobs.translation.gpt import GptTranslator
from sensorium.serving.engine.batching import EngineSettings
from sensorium.serving.service import Parts
from sensorium.serving.translating import translating_engine


class ServedTranslator:
    """Texts to translations; see ``serving.service.TranslateTexts``."""

    def __init__(self, opened: Translates) -> None:
        self._one = threading.Lock()  # chats and texts come from threads of their own
        self.opened = opened
        self.directions = opened.directions
        self.sees_pictures = sees_pictures(opened)
        self.most_tokens = opened.most_tokens

    def tokens(self, texts: list[str]) -> list[int]:
        """How many tokens each text takes."""
        return self.opened.tokens(texts)

    def __call__(self, texts: list[str], source: str, target: str, picture: bytes | None) -> list[str]:
        """Translations in their order."""
        with self._one:
            (said,) = translate_batches(self.opened, [texts], source, target, picture)
        return said


def make_translation_parts(opened: Translates, settings: EngineSettings) -> Parts:
    """All that a translator's run can answer: translations, and chat, in which a tuned GPT has words of its own."""
    translator = ServedTranslator(opened)
    if isinstance(opened, GptTranslator):
        return replace(make_parts(opened.model, settings), translate=translator)
    return Parts(engine=translating_engine(translator), translate=translator)
