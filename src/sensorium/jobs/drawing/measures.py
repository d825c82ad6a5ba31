"""What a drawing GPT is measured by on held-out rows: how likely it finds pictures, edits and names, and what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sensorium.jobs.drawing.lessons import Lesson
from sensorium.metrics.drawing import FORMS
from sensorium.models.decoding import DecodingSettings
from sensorium.models.drawing.captions import caption_codes, caption_log_likelihood, picture_log_likelihood
from sensorium.models.drawing.drawing_gpt import DrawingGPT
from sensorium.recipe import DrawingRecipe

Columns = dict[str, np.ndarray]
TOGETHER = 32


@torch.inference_mode()
def measured(
    model: DrawingGPT, lessons: Sequence[Lesson], asked: DrawingRecipe, tokens: int, decode: Any, advance: Any
) -> Columns:
    """Of n lessons: −log P of codes given words (``draw_nats``, ``edit_nats``) and of words given the picture
    (``caption_nats``) with how many there are (``…_tokens``), and what the model says of the picture (``said``).

    Args:
        tokens: of a caption at the most; 0: nothing is said. decode: word ids -> text.
    """
    found: Columns = {f"{form}_{what}": np.zeros(len(lessons)) for form in FORMS for what in ("nats", "tokens")}
    said: list[str] = [""] * len(lessons)
    for edited in (False, True):
        places = [i for i, lesson in enumerate(lessons) if (lesson.source is not None) is edited]
        for start in range(0, len(places), TOGETHER):
            at = places[start : start + TOGETHER]
            some = [lessons[i] for i in at]
            words = [one.words for one in some]
            codes = torch.from_numpy(np.stack([one.codes for one in some]))
            form = "edit" if edited else "draw"
            if asked.forms.get(form, 0) > 0:  # type: ignore[call-overload]
                sources = (
                    torch.from_numpy(np.stack([one.source for one in some if one.source is not None]))
                    if edited
                    else None
                )
                _note(found, form, at, picture_log_likelihood(model, codes, words, sources), [codes.shape[1]] * len(at))
            if not edited and asked.forms.get("caption", 0) > 0:
                seen = None if asked.read == "features" else codes
                with_features = asked.read != "codes"
                features = torch.stack([one.features for one in some]) if with_features else None  # type: ignore[misc]
                likely = caption_log_likelihood(model, seen, words, features)
                _note(found, "caption", at, likely, [len(each) + 1 for each in words])
                if tokens:
                    settings = DecodingSettings(max_new_tokens=tokens)
                    for i, ids in zip(at, caption_codes(model, seen, features, settings), strict=True):
                        said[i] = " ".join(decode(ids).split())
            advance(len(at))
    return found | {"said": np.array(said, dtype=object)}


def _note(found: Columns, form: str, at: list[int], likely: torch.Tensor, tokens: list[int]) -> None:
    found[f"{form}_nats"][at] = -likely.float().numpy()
    found[f"{form}_tokens"][at] = tokens


def losses(found: Columns, groups: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """−log P of a code or word in the mean over rows, and in the mean of each group's rows, as validation tells it.

    Args:
        groups: column -> its cell in each row.
    """
    nats, tokens = (np.sum([found[f"{form}_{what}"] for form in FORMS], 0) for what in ("nats", "tokens"))
    told = {"loss": float(nats.sum() / max(tokens.sum(), 1))}
    for column, cells in groups.items():
        for cell in sorted({str(cell) for cell in cells if cell not in (None, "")}):
            kept = np.array([str(one) == cell for one in cells])
            told[f"loss_{column}_{cell}"] = float(nats[kept].sum() / max(tokens[kept].sum(), 1))
    return told


def unigram(train: Sequence[Lesson], test: Sequence[Lesson], codebook: int) -> Columns:
    """What a model reaches that knows how often each code comes at each place, and each word, and nothing else."""
    counts = np.ones((len(train[0].codes), codebook)) * 0.1
    for one in train:
        counts[np.arange(len(one.codes)), one.codes] += 1
    cost = np.log(counts.sum(1, keepdims=True)) - np.log(counts)
    words: Counter[int] = Counter()
    for one in train:
        if one.source is None:
            words.update([*one.words, -1])
    total, kinds = sum(words.values()), len(words) + 1
    found: Columns = {f"{form}_{what}": np.zeros(len(test)) for form in FORMS for what in ("nats", "tokens")}
    for i, one in enumerate(test):
        form = "draw" if one.source is None else "edit"
        found[f"{form}_nats"][i] = cost[np.arange(len(one.codes)), one.codes].sum()
        found[f"{form}_tokens"][i] = len(one.codes)
        if one.source is None:
            told = [*one.words, -1]
            found["caption_nats"][i] = sum(np.log(total + kinds) - np.log(words[word] + 1) for word in told)
            found["caption_tokens"][i] = len(told)
    return found


def nearest_captions(train: Sequence[Lesson], test: Sequence[Lesson], names: dict[int, str]) -> np.ndarray:
    """The name of the training picture that shares most codes, place by place, for each lesson (n,)."""
    known = [one for one in train if one.source is None]
    if not known:
        return np.array([""] * len(test), dtype=object)
    codes = np.stack([one.codes for one in known])
    found = [
        "" if one.source is not None else names[known[int((codes == one.codes).sum(1).argmax())].row] for one in test
    ]
    return np.array(found, dtype=object)
