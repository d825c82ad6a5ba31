"""A run that draws, as the functions that serving asks for."""

from __future__ import annotations

from sensorium.jobs.drawing.drawn import Drawn
from sensorium.jobs.drawing.opened import OpenedDrawer
from sensorium.jobs.drawing.png import png_bytes
from sensorium.serving.captioning import captioning_engine
from sensorium.serving.service import Parts, Picture

TOGETHER = 4  # pictures drawn before others have their turn


class ServedDrawer:
    """Words and pictures to PNG files; see ``serving.service.Draw``."""

    def __init__(self, opened: OpenedDrawer) -> None:
        self.opened, self.together = opened, TOGETHER
        self.size, self.codes, self.most_tokens = opened.size, opened.codes, opened.most_tokens
        self.tokens = opened.tokens

    def draw(self, prompt: str, n: int, seed: int) -> list[Picture]:
        """Pictures of what the prompt says."""
        return self._files(self.opened.draw(prompt, n, seed))

    def edit(self, picture: bytes, prompt: str, mask: bytes | None, n: int, seed: int) -> list[Picture]:
        """A picture changed as the prompt says, where the mask lets it."""
        return self._files(self.opened.edit(picture, prompt, mask, n, seed))

    def variations(self, picture: bytes, n: int, seed: int) -> list[Picture]:
        """Pictures like one."""
        return self._files(self.opened.variations(picture, n, seed))

    def caption(self, picture: bytes) -> str:
        """What a picture shows."""
        return self.opened.caption([picture])[0]

    def _files(self, drawn: list[Drawn]) -> list[Picture]:
        return [Picture(png_bytes(one, self.opened.name), one.image.size, one.seed) for one in drawn]


def make_drawing_parts(opened: OpenedDrawer) -> Parts:
    """All that a drawer's run can answer: pictures, and chat that says what a picture shows where it learnt to caption."""
    drawer = ServedDrawer(opened)
    return Parts(engine=captioning_engine(drawer) if "caption" in opened.forms else None, draw=drawer)
