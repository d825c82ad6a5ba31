"""The judge of drawings learns from real pictures, and what should stay is measured where nothing was to change."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from benchmarks import drawing
from benchmarks.drawing_judges import people, train_judge
from sensorium.data.bundled.drawing_pairs import TONES


def png(colour: tuple[int, int, int], stripe: bool) -> bytes:
    pixels = np.full((64, 64, 3), colour, dtype=np.uint8)
    if stripe:
        pixels[28:36] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def rows() -> list[dict[str, str | bytes]]:
    return [
        {
            "concept": concept, "skin_tone": tone, "gender": "woman",
            "picture": png((40 * i + 40, 40 * i + 20, 40), concept == "cook"),
        }
        for concept in ("cook", "judge") for i, tone in enumerate(TONES)
    ]  # fmt: skip


def test_a_judge_learns_tones_and_concepts() -> None:
    learnt = rows() * 8
    judge = train_judge(learnt, epochs=50, width=8)
    shown = np.stack([np.array(Image.open(io.BytesIO(row["picture"]))) for row in rows()])
    right = judge.right(shown, rows())
    assert right["skin_tone"].mean() >= 0.8 and right["gender"].all()
    assert np.array_equal(right["tone and concept"], right["skin_tone"] & right["concept"])
    assert judge.right(shown, rows()[::-1])["skin_tone"].mean() < 0.5


def test_couples_and_people_without_a_tone_are_not_judged() -> None:
    given = [{"skin_tone": "dark", "gender": "man"}, {"skin_tone": "", "gender": "man"}]
    given += [{"skin_tone": "dark", "gender": "man+man"}, {"skin_tone": "dark,light", "gender": "man"}]
    assert people(given) == given[:1]


def test_only_what_was_to_stay_counts_as_moved() -> None:
    source = np.full((1, 4, 4, 3), 100, dtype=np.uint8)
    target, shown = source.copy(), source.copy()
    target[0, :2], shown[0, :2], shown[0, 2] = 200, 250, 151
    assert np.allclose(drawing._moved(shown, source, target), [51 / 255 / 2])
