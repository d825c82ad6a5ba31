"""What words a run has learnt to draw by, so that a prompt in another language is refused, not drawn as something."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import DataError, RunError
from sensorium.run import write_json

FILE = "learnt_words.json"
_WORD = re.compile(r"[^\W_]+")
_NAMES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese"}
_SHORT = 3  # letters: shorter words are alike in too many languages to tell one by


@dataclass(frozen=True)
class Learnt:
    """The words of all training prompts, in small letters, the commonest first.

    Attributes:
        languages: tags, where the data say them.
        more: whether the GPT was pretrained, and so knows words that the prompts do not hold.
    """

    words: tuple[str, ...]
    languages: tuple[str, ...] = ()
    more: bool = False

    def check(self, prompt: str, where: str = "prompt") -> list[str]:
        """Words of the prompt that were not learnt; none are named of a pretrained GPT.

        Raises:
            DataError: it is written in letters that no training prompt has, or none of its words was learnt.
        """
        if not self.words:
            return []
        here, there = scripts([prompt]), scripts(self.words)
        foreign = [script for script in here if script not in there]
        if foreign and sum(here[script] for script in foreign) * 2 > sum(here.values()):
            raise DataError(
                f"the words are written in {foreign[0].capitalize()} letters", where=where, mend=self._mend()
            )
        known, asked = set(self.words), words_of(prompt)
        unknown = [word for word in asked if word not in known]
        telling = [word for word in asked if len(word) >= _SHORT] or asked
        if self.more:
            return []
        if all(word in unknown for word in telling):
            told = next((near for word in telling for near in self._near(word)), None)
            mend = f"did you mean {told}?" if told else self._mend()
            raise DataError("none of the words was learnt" if asked else "there are no words", where=where, mend=mend)
        return unknown

    def _near(self, word: str) -> list[str]:
        """The learnt word that may have been meant, if there is one."""
        long = [known for known in self.words if len(known) > _SHORT]
        return difflib.get_close_matches(word, long, 1, 0.8) if len(word) > _SHORT else []

    def _mend(self) -> str:
        """What was learnt, in words."""
        if self.languages:
            return f"this run learnt {' and '.join(_NAMES.get(tag, tag) for tag in self.languages)}"
        common = [word for word in self.words if len(word) >= _SHORT][:4]
        found = ", ".join(script.capitalize() for script in scripts(self.words))
        return f"this run learnt words in {found} letters, such as {', '.join(common)}"


def save_learnt(folder: Path, prompts: Iterable[str], languages: Iterable[str] = (), *, pretrained: bool) -> None:
    """Write what the training prompts hold into a model's folder."""
    counts = Counter(word for prompt in prompts for word in words_of(prompt))
    told = {"languages": list(languages), "more": pretrained, "words": [word for word, _ in counts.most_common()]}
    write_json(folder / FILE, told)


def open_learnt(folder: Path) -> Learnt:
    """What ``save_learnt`` wrote; nothing where there is no such file, and then every prompt passes.

    Raises:
        RunError: it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return Learnt(())
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Learnt(tuple(map(str, told["words"])), tuple(map(str, told["languages"])), bool(told["more"]))
    except (ValueError, KeyError, TypeError):
        raise RunError("is damaged", where=str(path), mend="fit again with --fresh") from None


def words_of(text: str) -> list[str]:
    """Letters and digits that stand together, in small letters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def scripts(texts: Iterable[str]) -> Counter[str]:
    """How many letters there are of each script, as Unicode's names of them begin: latin, cyrillic, hiragana, …"""
    letters = Counter(char for text in texts for char in unicodedata.normalize("NFKC", text) if char.isalpha())
    found: Counter[str] = Counter()
    for char, count in letters.items():
        found[unicodedata.name(char, "unknown").split()[0].lower()] += count
    return found
