"""The GPT that reads and writes picture codes between its words.

Its vocabulary is the backbone's, grown by the picture tokenizer's codes and by a few marks. What is grown is kept in a
table and a head of its own, so that a pretrained vocabulary's weights stay untouched; a word is predicted among words and
the end, a code among codes, since the form of a sequence says what comes. A code's vector is its own plus those of its
row and its column and of its levels (``levels``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from sensorium.errors import RecipeError, RunError, first_line
from sensorium.models.backbone import PROMPT_METHODS, additive, causal_lm
from sensorium.models.bars import without_bars
from sensorium.models.drawing.levels import CodeLevels
from sensorium.models.drawing.sequences import DrawingBatch
from sensorium.models.drawing.vocabulary import FEATURE, MARKS, Vocabulary
from sensorium.models.fusion import Projector, rms
from sensorium.models.saving import load_gpt, load_own, save_gpt, save_own


class DrawingGPTConfig(PreTrainedConfig):
    """What a ``DrawingGPT`` needs to be built again.

    Args:
        words, grid: see ``Vocabulary``.
        levels: of the picture tokenizer's channels; their product is the codebook.
        width: of the backbone; window: tokens that it reads at most.
        feature_width: of the image encoder's features that captions may read; 0: none.
        feature_dropout: on those features.
        adapt: the recipe's part, as plain values; method full for a backbone that trains whole.
    """

    model_type = "sensorium_drawing_gpt"

    def __init__(
        self,
        words: int = 300,
        levels: Sequence[int] = (8, 8, 8),
        grid: int = 8,
        width: int = 64,
        window: int = 256,
        feature_width: int = 0,
        feature_dropout: float = 0.0,
        adapt: dict[str, Any] | None = None,
        **rest: Any,
    ) -> None:
        self.words, self.levels, self.grid = words, list(levels), grid
        self.width, self.window = width, window
        self.feature_width, self.feature_dropout = feature_width, feature_dropout
        self.adapt = adapt or {"method": "full"}
        super().__init__(**rest)

    @property
    def codes(self) -> int:
        """Entries of the codebook."""
        return math.prod(self.levels)


class DrawingGPT(PreTrainedModel):
    """See the module. Built with ``drawing_gpt``, read with ``DrawingGPT.open``.

    Args:
        backbone: a causal LM, wrapped by PEFT or not.
    """

    config_class = DrawingGPTConfig

    def __init__(self, config: DrawingGPTConfig, backbone: Any) -> None:
        super().__init__(config)
        self.vocabulary = Vocabulary(config.words, config.codes, config.grid)
        width = config.width
        size = float(causal_lm(backbone).get_input_embeddings().weight.detach().float().std())
        self.grown = nn.Embedding(config.codes + MARKS, width)
        self.place_rows = nn.Embedding(config.grid, width)
        self.place_columns = nn.Embedding(config.grid, width)
        for table in (self.grown, self.place_rows, self.place_columns):
            nn.init.normal_(table.weight, std=size)  # the words' own size
        self.levels = CodeLevels(config.levels, width, size)
        self.code_head = nn.Linear(width, config.codes, bias=False)
        self.end_head = nn.Linear(width, 1, bias=False)
        for head in (self.code_head, self.end_head):
            nn.init.normal_(head.weight, std=0.02)
        self.reader: Projector | None = None
        if config.feature_width:
            self.reader = Projector(config.feature_width, width, config.feature_dropout, hidden=True)
            self.reader.gain.fill_(size)
        self.post_init()
        self.backbone: Any = backbone  # not before: post_init draws first weights anew

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: every module has its first weights already."""

    # -- on disk -----------------------------------------------------------------------------------

    def own_state(self) -> dict[str, Tensor]:
        """Tensors beside the backbone's."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("backbone.")}

    def save_pretrained(self, save_directory: Any, source: Path | None = None, **more: Any) -> None:  # type: ignore[override]
        """``config.json`` and ``model.safetensors`` (our own), the GPT in ``backbone/``, its adapter in ``adapter/``.

        Args:
            source: the folder of the backbone's unchanged weights: they are linked.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        with without_bars():
            self.config.save_pretrained(folder)
            save_own(self, folder)
            save_gpt(self.backbone, str(self.config.adapt["method"]), folder, source)

    @classmethod
    def open(cls, folder: str | Path, *, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> DrawingGPT:
        """A saved model in evaluation mode, all of it in ``dtype``. RunError where it cannot be read."""
        folder = Path(folder)
        try:
            with without_bars():
                config = DrawingGPTConfig.from_pretrained(folder)
                model = cls(config, load_gpt(folder, dtype=dtype, attention=attention))
                load_own(model, folder)
        except (OSError, ValueError, RuntimeError, SafetensorError, RecipeError) as error:
            mend = "fit again with --fresh"
            raise RunError(f"the model cannot be read ({first_line(error)})", where=str(folder), mend=mend) from None
        return model.to(dtype).eval()

    # -- reading -----------------------------------------------------------------------------------

    def forward(self, batch: DrawingBatch) -> tuple[Tensor, Tensor]:
        """Logits in fp32 at the supervised places alone.

        Returns:
            (predicted words, words + 1), the end last, at ``batch.word_sources``; (predicted codes, codes) at
            ``batch.code_sources``.
        """
        embedded = self.embed(batch.ids, batch.places, batch.features)
        hidden = self.run(embedded, batch.positions, batch.visible).flatten(0, 1)
        return self.word_logits(hidden[batch.word_sources]), self.code_logits(hidden[batch.code_sources])

    def embed(self, ids: Tensor, places: Tensor, features: Tensor | None = None) -> Tensor:
        """What the first layer reads, (batch, tokens, width).

        Args:
            ids, places: (batch, tokens), see ``sequences``.
            features: (rows with features, positions, feature width), for the ``<feature>`` marks in their order.
        """
        words, grid = self.vocabulary.words, self.vocabulary.grid
        table = causal_lm(self.backbone).get_input_embeddings()
        above = (ids - words).clamp(min=0)
        code = (ids >= words) & (above < self.vocabulary.codes)
        grown = self.grown(above) + self.levels.vectors(above.clamp(max=self.vocabulary.codes - 1)) * code[..., None]
        at = places.clamp(min=0)
        grown = grown + (self.place_rows(at // grid) + self.place_columns(at % grid)) * (places >= 0)[..., None]
        embedded = torch.where((ids < words)[..., None], table(ids.clamp(max=words - 1)).to(grown.dtype), grown)
        if features is not None and self.reader is not None:
            there = torch.ones(len(features), dtype=torch.bool, device=features.device)
            read = self.reader(features.to(self.reader.missing.dtype), there).flatten(0, 1)
            slots = (ids == self.vocabulary.mark(FEATURE)).flatten().nonzero()[:, 0]
            embedded = embedded.flatten(0, 1).index_copy(0, slots, read.to(embedded.dtype)).unflatten(0, ids.shape)
        return embedded

    def run(self, embedded: Tensor, positions: Tensor, visible: Tensor | None = None, cache: Any = None) -> Tensor:
        """The backbone's last states (batch, tokens, width).

        Args:
            positions: (batch, tokens).
            visible: (batch, tokens, keys) bool, the cache's keys first; None: each sees what stands before it.
            cache: a transformers cache, which is extended; None: none.
        """
        base = causal_lm(self.backbone).base_model
        kind = next(base.parameters()).dtype
        mask = None if visible is None else additive(visible, kind)
        return base(
            inputs_embeds=embedded.to(kind),
            position_ids=positions,
            attention_mask=mask,
            cache=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def word_logits(self, hidden: Tensor) -> Tensor:
        """(…, width) -> (…, words + 1) in fp32; the end is the last."""
        head = causal_lm(self.backbone).get_output_embeddings()
        end = self.end_head(hidden.to(self.end_head.weight.dtype))
        return torch.cat([head(hidden.to(head.weight.dtype)).float(), end.float()], -1)

    def code_logits(self, hidden: Tensor) -> Tensor:
        """(…, width) -> (…, codes) in fp32."""
        return self.code_head(hidden.to(self.code_head.weight.dtype)).float() + self.levels.logits(hidden)

    def fit_reader(self, features: Tensor) -> None:
        """Take mean, scale and gain of the reader from training rows' features (rows, positions, feature width)."""
        assert self.reader is not None
        with torch.no_grad():
            self.reader.fit(features.flatten(0, 1))
            self.reader.match(features, rms(causal_lm(self.backbone).get_input_embeddings().weight).mean())

    # -- room --------------------------------------------------------------------------------------

    def room(self, form: str, features: int = 0) -> int:
        """Words that a sequence of this form has room for, beside its pictures, marks and ``features`` positions.

        Args:
            form: one of ``sequences.FORMS``; masked and edit count a source.
        """
        pictures = 1 if form in ("draw", "caption") else 2
        return int(self.config.window) - pictures * (self.vocabulary.places + 1) - features - 1


def drawing_gpt(
    backbone: Any,
    levels: Sequence[int],
    grid: int,
    *,
    feature_width: int = 0,
    feature_dropout: float = 0.0,
    adapt: dict[str, Any] | None = None,
) -> DrawingGPT:
    """A new model around ``backbone``: of ``language.scratch.build``, or pretrained and adapted by ``adapt_backbone``.

    Args:
        levels: of the picture tokenizer's channels; grid: codes a side of a picture.
        feature_width: of an image encoder's features that captions may read; 0: none.
        adapt: the recipe's part, as plain values; method full by default.

    Raises:
        RecipeError: an adapter that stands in the prompt, or a window without room for words beside the pictures.
    """
    settings = causal_lm(backbone).config
    adapt = adapt or {"method": "full"}
    if adapt["method"] in PROMPT_METHODS:
        raise RecipeError(
            f"{adapt['method']} puts virtual tokens before all others, where pictures have their places",
            where="model.adapt.method",
            mend="set lora",
        )
    config = DrawingGPTConfig(
        words=causal_lm(backbone).get_input_embeddings().weight.shape[0],
        levels=levels,
        grid=grid,
        width=settings.hidden_size,
        window=settings.max_position_embeddings,
        feature_width=feature_width,
        feature_dropout=feature_dropout,
        adapt=adapt,
    )
    model = DrawingGPT(config, backbone)
    if model.room("edit") < 1:
        raise RecipeError(
            f"two pictures of {grid * grid} codes leave no room for words in a window of {config.window} tokens",
            where="model.scratch.window",
            mend=f"set at least {2 * (grid * grid + 1) + 32}",
        )
    return model
