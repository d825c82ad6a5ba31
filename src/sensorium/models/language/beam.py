"""Beam search over a translator, many sentences at a time, with a length penalty and cached keys and values.

A hypothesis' score is log P / length ** penalty, its end counted (Wu et al. 2016 in its simple form). A sentence is done
when as many hypotheses have ended as the beam is wide, or when none that goes on can still overtake the best; sentences
that are done leave the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.models.language.translator import Memory, Translator


@dataclass(frozen=True)
class Found:
    """A sentence's best hypothesis: token ids without tag and end, and its score; ``ended``: whether it came to its end."""

    tokens: list[int]
    score: float
    ended: bool = True


@torch.inference_mode()
def translate(
    model: Translator,
    memory: Memory,
    tags: Tensor,
    limits: Sequence[int],
    *,
    end: int,
    forbidden: Sequence[int] = (),
    beam: int = 5,
    length_penalty: float = 1.0,
) -> list[Found]:
    """The best translation of each sentence.

    Args:
        memory: of ``model.encode``; tags: (batch,) the first token of each.
        limits: most tokens of each, the end counted, at least 1; a hypothesis that did not end by then counts as it is
            where no other ended.
        end: the token that ends a sentence; forbidden: tokens that never come.
        beam: 1 is greedy.
    """
    device, sentences = tags.device, len(tags)
    cache = model.start(memory)
    done: list[list[Found]] = [[] for _ in range(sentences)]
    unended: list[Found | None] = [None] * sentences
    active = list(range(sentences))
    tokens = tags[:, None]  # one hypothesis at first: all are alike
    scores = torch.zeros(sentences, 1, device=device)
    history = torch.empty(sentences, 1, 0, dtype=torch.long, device=device)
    barred = torch.tensor(sorted(set(forbidden) - {end}), dtype=torch.long, device=device)
    for length in range(1, max(limits, default=0) + 1):
        logits = model.step(tokens, cache).float()
        logits[..., barred] = -torch.inf
        reached = scores[..., None] + logits.log_softmax(-1)
        vocabulary = reached.shape[-1]
        flat = reached.flatten(1)
        # twice as many as go on: at most half of them end, one a beam
        best, places = flat.topk(min(2 * beam, flat.shape[1]), -1)
        parents, words = places // vocabulary, places % vocabulary
        ends = words == end
        for i, k in torch.argwhere(ends & (best > -torch.inf)).tolist():
            if k < beam:  # an end counts only among the best
                score = float(best[i, k]) / length**length_penalty
                done[active[i]].append(Found(history[i, parents[i, k]].tolist(), score))
        alive = best.masked_fill(ends, -torch.inf)
        scores, kept = alive.topk(min(beam, alive.shape[1]), -1)
        parents, words = parents.gather(1, kept), words.gather(1, kept)
        history = torch.cat([history.gather(1, parents[..., None].expand(-1, -1, length - 1)), words[..., None]], -1)
        going = []
        for i, sentence in enumerate(active):
            limit, top = limits[sentence], float(scores[i, 0])
            ended = max((one.score for one in done[sentence]), default=-torch.inf)
            if length >= limit:
                if not done[sentence] and top > -torch.inf:
                    unended[sentence] = Found(history[i, 0].tolist(), top / length**length_penalty, False)
            elif len(done[sentence]) < beam and top / limit**length_penalty > ended:
                going.append(i)
        if not going:
            break
        if len(going) < len(active):
            rows = torch.tensor(going, device=device)
            cache.choose(rows, parents[rows])
            scores, words, history = scores[rows], words[rows], history[rows]
            active = [active[i] for i in going]
        else:
            cache.choose(None, parents)
        tokens = words
    return [
        max(ready, key=_score) if ready else (rest or Found([], -torch.inf, False))
        for ready, rest in zip(done, unended)
    ]


def _score(found: Found) -> float:
    return found.score
