"""A finished run that draws, opened: pictures from words, pictures changed by words, and words from pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.errors import DataError, RunError
from sensorium.jobs.drawing.drawn import Drawn
from sensorium.jobs.drawing.inpainting import blend, canvas, masked_cells, read_mask
from sensorium.jobs.drawing.inputs import PictureLike, checked_prompt, naming, picture_bytes, place_of
from sensorium.jobs.drawing.learnt import open_learnt
from sensorium.jobs.drawing.parts import open_drawing_model
from sensorium.jobs.drawing.wishes import MOST_PICTURES, checked_number, settings_for
from sensorium.modalities import image as pictures
from sensorium.models.bars import without_bars
from sensorium.models.decoding import DecodingSettings
from sensorium.models.drawing.captions import caption_codes
from sensorium.models.drawing.details import carried
from sensorium.models.drawing.guidance import DrawingSettings
from sensorium.models.drawing.parallel import redrawn
from sensorium.models.drawing.pixels import pixels, to_image
from sensorium.models.drawing.sampling import TOGETHER, draw_candidates
from sensorium.run import Run

LONGEST_CAPTION = 64  # tokens
Advance = Callable[[int], Any]


class OpenedDrawer:
    """A run of task draw. One call runs at a time; others wait.

    Attributes:
        name: of the run. size: pixels a side of what is drawn. codes: tokens of a picture. most_tokens: of a prompt.

    Raises:
        RunError: the run is not trained, draws nothing, or is damaged.
    """

    def __init__(self, run: str | Path) -> None:
        found = Run.read(run)
        recipe = found.resolved()
        if recipe is None or recipe.drawing is None:
            raise RunError("the run does not draw", where=str(run), mend="give a run of task: draw")
        if not found.done("trained"):
            raise RunError("the run is not trained", where=str(run), mend="run sensorium fit again: it goes on")
        self.name = Path(run).resolve().name
        self.forms = {str(form) for form, weight in recipe.drawing.forms.items() if weight > 0}
        with without_bars():
            self.opened = open_drawing_model(found.model)
        self.learnt = open_learnt(found.model)
        self.model, self._one = self.opened.model, threading.Lock()
        self.size, self.codes = self.opened.pictures.size, self.model.vocabulary.places
        self.most_tokens = self._room("draw")

    def tokens(self, text: str) -> int:
        """How many tokens a prompt takes."""
        return len(self.opened.encode(" ".join(text.split())))

    def unlearnt(self, prompt: str) -> list[str]:
        """Words of a prompt that no training prompt held. DataError as ``draw`` raises it."""
        return self.learnt.check(checked_prompt(prompt))

    # -- drawing -----------------------------------------------------------------------------------

    def draw(
        self, prompt: str, n: int = 1, seed: int = 0, *, advance: Advance | None = None, **wishes: Any
    ) -> list[Drawn]:
        """Pictures of what ``prompt`` says. Picture i has the seed ``seed + i``, which draws it again.

        Args:
            n: 1 to 100. advance: told of pictures as they are done.
            wishes: ``guidance``, ``temperature``, ``top_k``, ``top_p``, ``candidates``, ``parallel``, ``steps``;
                see ``DrawingSettings``. What is left out is the recipe's.

        Raises:
            DataError: the prompt is empty, too long, or in a language that the run has not learnt; a number out of range.
        """
        self._must("draw", "draw from words")
        settings = self._settings(wishes)
        words = self._words(prompt, "draw")
        seeds = self._seeds(n, seed)
        return self._drawn(" ".join(prompt.split()), words, settings, seeds, advance)

    def edit(
        self,
        image: PictureLike,
        instruction: str,
        mask: PictureLike | None = None,
        n: int = 1,
        seed: int = 0,
        *,
        advance: Advance | None = None,
        **wishes: Any,
    ) -> list[Drawn]:
        """A picture changed as ``instruction`` says.

        Args:
            image: a path, a file's bytes, or a picture in memory, in any mode.
            mask: of the picture's size: what is white, or transparent, may change, and every other pixel keeps each bit,
                at the picture's own size. None: all is drawn anew, at the run's own size.
            n, seed, advance, wishes: as of ``draw``.

        Raises:
            DataError: as ``draw``; a mask of another size, or an empty one; the run has not learnt to edit.
            MediaError: a picture cannot be read.
        """
        self._must("edit" if mask is None else "masked", "edit" if mask is None else "fill in what a mask leaves out")
        settings = self._settings(wishes)
        words = self._words(instruction, "edit")
        seeds = self._seeds(n, seed)
        data = picture_bytes(image)
        shown, one = self._read(data, image)
        codes = one[None].expand(len(seeds), -1)
        told = " ".join(instruction.split())
        sources = codes if "edit" in self.forms else None
        ground = canvas(data)
        if mask is None:
            drawn = self._drawn(told, words, settings, seeds, advance, shown, sources=sources)
            shape = pictures.letterbox(*ground.size, self.size)
            return [replace(one, image=one.image.crop(shape)) for one in drawn]
        with naming(mask, "mask"):
            change = read_mask(picture_bytes(mask, "mask"), ground.size, place_of(mask, "mask"))
        keep = ~torch.from_numpy(masked_cells(change, self.size, self.model.vocabulary.grid))
        kept = {"kept": codes, "keep_mask": keep[None].expand(len(seeds), -1)}
        drawn = self._drawn(told, words, settings, seeds, advance, sources=sources, **kept)
        return [replace(one, image=blend(ground, one.image, change), partly=not change.all()) for one in drawn]

    def variations(
        self,
        image: PictureLike,
        n: int = 1,
        seed: int = 0,
        *,
        strength: float = 0.6,
        advance: Advance | None = None,
        **wishes: Any,
    ) -> list[Drawn]:
        """Pictures like one: ``strength`` of its codes are drawn anew, in the light of the others and of its caption.

        Args:
            strength: above 0, which changes little, up to 1, which leaves the caption alone.

        Raises:
            DataError: as ``draw``; the run has not learnt to fill in.
            MediaError: the picture cannot be read.
        """
        self._must("masked", "vary pictures")
        checked_number("strength", strength, 0.0, 1.0, above=True)
        settings = self._settings(wishes)
        seeds = self._seeds(n, seed)
        data = picture_bytes(image)
        codes = self._read(data, image)[1]
        told = self._captions([data], codes[None])[0] if "caption" in self.forms else ""
        words = self.opened.encode(told)[: self._room("masked")]
        keep = redrawn(self.codes, strength, seeds)
        kept = {"kept": codes[None].expand(len(seeds), -1), "keep_mask": keep}
        shape = pictures.letterbox(*canvas(data).size, self.size)
        drawn = self._drawn(told, words, settings, seeds, advance, **kept)
        return [
            replace(one, image=one.image.crop(shape), settings={**one.settings, "strength": strength}) for one in drawn
        ]

    # -- saying ------------------------------------------------------------------------------------

    def caption(self, images: Sequence[PictureLike], *, advance: Advance | None = None) -> list[str]:
        """What each picture shows, in order.

        Raises:
            DataError: the run has not learnt to caption. MediaError: a picture cannot be read; its path is named.
        """
        self._must("caption", "caption")
        said: list[str] = []
        for start in range(0, len(images), TOGETHER):
            some = images[start : start + TOGETHER]
            data = [picture_bytes(one, f"image {start + i + 1}") for i, one in enumerate(some)]
            codes = [self._read(*each)[1] for each in zip(data, some, strict=True)]
            said += self._captions(data, torch.stack(codes))
            if advance is not None:
                advance(len(some))
        return said

    # -- within ------------------------------------------------------------------------------------

    def _must(self, form: str, what: str) -> None:
        if form not in self.forms:
            raise DataError(f"the run has not learnt to {what}", where=self.name, mend=f"fit with drawing.forms.{form}")

    def _room(self, form: str) -> int:
        return max(self.model.room(form), 0)

    def _words(self, prompt: str, form: str) -> list[int]:
        text = checked_prompt(prompt)
        words, room = self.opened.encode(text), self._room(form)
        if len(words) > room:
            told = f"the words take {len(words):,} tokens, and the model reads {room:,}"
            raise DataError(told, where="prompt", mend="shorten it")
        self.learnt.check(text)
        return words

    def _settings(self, wishes: dict[str, Any]) -> DrawingSettings:
        settings = settings_for(self.opened.settings, self.codes, wishes)
        if settings.parallel:
            self._must("masked", "draw in parallel")
        if settings.candidates > 1:
            self._must("caption", "read pictures, by which the best candidate is chosen")
        return settings

    def _seeds(self, n: int, seed: int) -> list[int]:
        checked_number("n", n, 1, MOST_PICTURES, whole=True)
        checked_number("seed", seed, 0, 2**53 - 1, whole=True)
        return [seed + i for i in range(n)]

    def _read(self, data: bytes, image: PictureLike) -> tuple[Tensor, Tensor]:
        """Pixels (3, size, size) and codes (places,) of a picture. MediaError names it."""
        with naming(image, "image"):
            shown = pixels(data, self.size)
        with self._one:
            return shown, self.opened.pictures.encode(shown[None])[0]

    @torch.inference_mode()
    def _captions(self, data: list[bytes], codes: Tensor) -> list[str]:
        read = self.opened.settings["read"]
        with self._one:
            features = self.opened.features(data) if self.opened.features is not None else None
            positions = 0 if features is None else features.shape[1]
            most = max(1, min(LONGEST_CAPTION, self.model.room("caption", positions)))
            seen = None if read == "features" else codes
            found = caption_codes(self.model, seen, features, DecodingSettings(max_new_tokens=most))
        return [" ".join(self.opened.decode(ids).split()) for ids in found]  # a line each

    @torch.inference_mode()
    def _drawn(
        self,
        told: str,
        words: list[int],
        settings: DrawingSettings,
        seeds: list[int],
        advance: Advance | None,
        edited: Tensor | None = None,
        **given: Tensor | None,
    ) -> list[Drawn]:
        """Pictures of one prompt.

        Args:
            edited: pixels of the picture whose details an edit keeps.
            given: sources, kept and keep_mask of ``draw_candidates``, a row each.
        """
        notes = _notes(settings, parallel=settings.parallel or given.get("keep_mask") is not None)
        found: list[Drawn] = []
        at_once = max(1, TOGETHER // (2 * settings.candidates))
        for start in range(0, len(seeds), at_once):
            rows = slice(start, start + at_once)
            some, part = seeds[rows], {name: None if of is None else of[rows] for name, of in given.items()}
            with self._one:
                made = draw_candidates(self.model, [words] * len(some), settings, some, **part)
                shown = self.opened.pictures.decode(made.codes)
                if edited is not None:
                    rebuilt = self.opened.pictures.decode(self.opened.pictures.encode(edited[None]))
                    shown = carried(shown, edited, rebuilt)
            for i, one in enumerate(some):
                score = float(made.scores[i]) if words and "caption" in self.forms else None
                found.append(Drawn(to_image(shown[i]), told, one, score, made.codes[i], notes))
            if advance is not None:
                advance(len(some))
        return found


def _notes(settings: DrawingSettings, parallel: bool) -> dict[str, Any]:
    """What of the settings made the picture."""
    names = ["guidance", "temperature", "top_k", "top_p", "candidates"]
    names += ["steps", "choice_temperature"] if parallel else []
    return {"parallel": parallel, **{name: getattr(settings, name) for name in names}}
