"""What pretraining puts on a language model: a head for each objective, and the alignment of pictures or sounds with texts.

The language model is ``transformers``' own, from a small config or from weights, and is saved as such. What the heads
need beyond it lives here, and only the alignment outlives pretraining (see ``models.alignment``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sensorium.data.collate import Batch
from sensorium.models.backbone import additive, causal_lm, visibility
from sensorium.models.fusion import Projector

MEDIA = "media"  # the part of a batch that contrastive and matching share: texts beside their media
BIDIRECTIONAL = ("bert",)  # model types that read both ways; all others are taken for causal ones


@dataclass
class Aligned:
    """Vectors of partners: ``texts`` and ``media`` (rows, width), and the log of 1 / temperature, ()."""

    texts: Tensor
    media: Tensor
    log_scale: Tensor


@dataclass
class Matched:
    """Log-odds (pairs,) that a medium and a text belong together, and whether they do (pairs,)."""

    log_odds: Tensor
    matches: Tensor


@dataclass
class Alignment:
    """What joins media to texts: the column, the width of its encoder's features, and the first log of 1 / temperature."""

    column: str
    width: int
    log_scale: float


class Shown(Protocol):
    """Which rows' texts and media are read together: ``left`` (texts), ``right`` (media), ``matches``, all (pairs,)."""

    left: Tensor
    right: Tensor
    matches: Tensor


PairUp = Callable[[Aligned, Tensor], Shown]  # of vectors and of the rows' groups (rows,), in which texts are alike


class PretrainingModel(nn.Module):
    """A language model with a head for each of its objectives.

    Args:
        backbone: a causal LM (wrapped by PEFT or not) or BERT with its head for masked words.
        objectives: names, as in the recipe.
        alignment: of contrastive and matching; None without either.
        dropout: on the media's features.
    """

    def __init__(
        self, backbone: Any, objectives: Sequence[str], alignment: Alignment | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.objectives = tuple(objectives)
        self.alignment = alignment
        width = int(self.config.hidden_size)
        if "next_sentence" in objectives and self.bidirectional:  # BERT's pooler and classifier
            self.follows = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))
        if alignment is not None:
            self.media = Projector(alignment.width, width, dropout, hidden=True)
            self.texts = nn.Linear(width, width)
            self.log_scale = nn.Parameter(torch.tensor(alignment.log_scale))
        if "matching" in objectives:
            self.media_token = nn.Linear(width, width)
            self.matches = nn.Linear(width, 1)

    @property
    def config(self) -> Any:
        return causal_lm(self.backbone).config

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def bidirectional(self) -> bool:
        """Whether every token sees those behind it too."""
        return self.config.model_type in BIDIRECTIONAL

    def forward(self, parts: Mapping[str, Batch], pair_up: PairUp | None = None) -> dict[str, Any]:
        """What each objective's loss needs, by objective.

        Args:
            parts: a batch for each objective; contrastive and matching share the one called ``MEDIA``.
            pair_up: chooses the pairs that matching is learnt from.

        Returns:
            causal_lm, masked_lm, and next_sentence on a causal model: logits (supervised, vocabulary) at the batch's
            ``sources``. next_sentence on a bidirectional one: log-odds (rows,). contrastive: ``Aligned``; matching:
            ``Matched``.
        """
        found: dict[str, Any] = {}
        for name, batch in parts.items():
            if name == MEDIA:
                vectors = self.aligned(batch)
                if "contrastive" in self.objectives:
                    found["contrastive"] = vectors
                if "matching" in self.objectives and pair_up is not None:
                    found["matching"] = self.matched(batch, pair_up(vectors, batch.targets.long()))
            elif name == "next_sentence" and self.bidirectional:
                found[name] = self.log_odds_of_following(batch)
            else:
                found[name] = self.logits(self.hidden_states(batch).flatten(0, 1)[batch.sources])
        return found

    # -- reading -----------------------------------------------------------------------------------

    def hidden_states(self, batch: Batch, media: Tensor | None = None, *, segments: bool = False) -> Tensor:
        """The last hidden states (batch, tokens, width); documents of one sequence do not see each other.

        Args:
            media: (batch, width), a vector before the tokens of each, seen by all of them; the states are then
                (batch, 1 + tokens, width).
            segments: tell a bidirectional model which branch a token is of (BERT's token types).
        """
        base, ids, positions = causal_lm(self.backbone).base_model, batch.input_ids, batch.position_ids
        options: dict[str, Any] = {} if self.bidirectional else {"use_cache": False}
        if media is None and not segments and batch.ancestors.shape[1] == 1 and bool((batch.branches >= 0).all()):
            return base(input_ids=ids, **options).last_hidden_state  # one document each: the kernels' own, fastest way
        if segments and self.bidirectional:
            options["token_type_ids"] = batch.branches.clamp(min=0)
        visible = visibility(batch.branches, batch.ancestors)
        if media is None:
            options["input_ids"] = ids
        else:
            embedded = causal_lm(self.backbone).get_input_embeddings()(ids)
            options["inputs_embeds"] = torch.cat([media.to(embedded.dtype)[:, None], embedded], 1)
            positions = nn.functional.pad(positions + 1, (1, 0))
            visible = nn.functional.pad(visible, (1, 0, 1, 0))
            visible[:, :, 0] = nn.functional.pad(batch.branches >= 0, (1, 0), value=True)
        if self.bidirectional:
            visible = visible | visible.transpose(1, 2)
        mask = additive(visible, next(self.backbone.parameters()).dtype)
        return base(position_ids=positions, attention_mask=mask, **options).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, width) -> (…, vocabulary)."""
        lm = causal_lm(self.backbone)
        return lm.cls(hidden) if self.bidirectional else lm.get_output_embeddings()(hidden)

    def log_odds_of_following(self, batch: Batch) -> Tensor:
        """Log-odds (rows,) that a pair's second sentence follows its first, from the first token's state."""
        return self.follows(self.hidden_states(batch, segments=True)[:, 0].float())[:, 0]

    # -- media and texts ---------------------------------------------------------------------------

    def aligned(self, batch: Batch) -> Aligned:
        """The vectors of a batch's texts and of its media, before they are brought to one length."""
        return Aligned(self.texts(self.reading(batch)), self.media_vectors(batch), self.log_scale)

    def reading(self, batch: Batch) -> Tensor:
        """The mean of a text's last hidden states (batch, width), as ``MultimodalGPT`` and text encoders read it."""
        return _mean(self.hidden_states(batch), batch.branches >= 0)

    def media_vectors(self, batch: Batch) -> Tensor:
        """(rows, width) of each row's medium."""
        assert self.alignment is not None
        media = batch.media[self.alignment.column]
        assert media.values is not None
        return self.media(media.values[:, :1], media.present)[:, 0]

    def matched(self, batch: Batch, shown: Shown) -> Matched:
        """Each shown pair read together: the medium as a token before the text."""
        vectors = self.media_token(self.media_vectors(batch))[shown.right]
        texts = batch_of(batch, shown.left)
        hidden = self.hidden_states(texts, vectors)
        real = nn.functional.pad(texts.branches >= 0, (1, 0), value=True)
        return Matched(self.matches(_mean(hidden, real))[:, 0], shown.matches)


def batch_of(batch: Batch, places: Tensor) -> Batch:
    """The sequences at ``places`` (n,) as a batch of texts alone."""
    kept = {name: getattr(batch, name)[places] for name in ("input_ids", "position_ids", "branches", "ancestors")}
    return replace(batch, **kept)


def _mean(hidden: Tensor, real: Tensor) -> Tensor:
    """Hidden states (batch, tokens, width), real (batch, tokens) -> the mean over real tokens (batch, width), fp32."""
    weights = real[..., None].float()
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1)
