"""``MultimodalGPT``: encoders, a fusion, the GPT and a head, as one ``transformers`` model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from sensorium.data.collate import Batch, Media
from sensorium.models.backbone import (
    Stack,
    additive,
    causal_lm,
    entry_layer,
    open_stack,
    tuned_from,
    visibility,
)
from sensorium.models.encoders import TableEncoder
from sensorium.models.fusion import LATE, CrossAttention, Projector, place_tokens
from sensorium.models.named import Named
from sensorium.recipe import LATE_FUSIONS, AdaptRecipe, FusionRecipe

GPT = "gpt"  # in late fusions, the GPT's own reading of the text is one more modality of this name


class MultimodalGPTConfig(PretrainedConfig):
    """What ``MultimodalGPT`` needs to be built again.

    Args:
        inputs: column: kind of encoder (image, audio, text, table).
        widths: kind of encoder: its features' width.
        fusion, adapt: the recipe's parts, as plain values.
        classes: outputs of the head; 0 where the GPT's own language-model head answers.
        table: {"numbers": n, "categories": [sizes]} of the table encoder.
        reads_text: whether the GPT itself reads text (late fusions may do without).
    """

    model_type = "multimodal_gpt"

    def __init__(
        self,
        inputs: dict[str, str] | None = None,
        widths: dict[str, int] | None = None,
        fusion: dict[str, Any] | None = None,
        adapt: dict[str, Any] | None = None,
        classes: int = 0,
        table: dict[str, Any] | None = None,
        reads_text: bool = True,
        feature_dropout: float = 0.0,
        modality_dropout: float = 0.0,
        backbone_width: int = 0,
        backbone_layers: int = 0,
        **rest: Any,
    ) -> None:
        self.inputs, self.widths = dict(inputs or {}), dict(widths or {})
        self.fusion, self.adapt = dict(fusion or {}), dict(adapt or {})
        self.classes, self.table, self.reads_text = classes, dict(table or {}), reads_text
        self.feature_dropout, self.modality_dropout = feature_dropout, modality_dropout
        self.backbone_width, self.backbone_layers = backbone_width, backbone_layers
        super().__init__(**rest)


class MultimodalGPT(PreTrainedModel):
    """A GPT that reads text and looks at the features of other modalities.

    Build it with ``MultimodalGPT(config, backbone, encoders)``, or from a run with ``from_pretrained``.

    Args:
        config: see ``MultimodalGPTConfig``.
        backbone: a causal LM, wrapped by PEFT or not.
        encoders: kind: module, for the kinds that ``config.inputs`` names. The table encoder is made here.
    """

    config_class = MultimodalGPTConfig
    base_model_prefix = "multimodal"

    def __init__(self, config: MultimodalGPTConfig, backbone: nn.Module, encoders: dict[str, nn.Module]) -> None:
        super().__init__(config)
        self.fusion_recipe = FusionRecipe(**config.fusion)
        self.entry = entry_layer(self.fusion_recipe, AdaptRecipe(**config.adapt), config.backbone_layers)
        self.backbone: Any = backbone
        self.encoders: Any = nn.ModuleDict({kind: encoders[kind] for kind in sorted(encoders)})
        if config.table:
            self.encoders["table"] = TableEncoder(config.table["numbers"], config.table["categories"])
        late = self.fusion_recipe.kind in LATE_FUSIONS
        width = self.fusion_recipe.width if late else config.backbone_width
        names = sorted(config.inputs) + ([GPT] if late and config.reads_text else [])
        self.projectors: Any = Named(
            {name: Projector(self._width_of(name), width, config.feature_dropout, hidden=not late) for name in names}
        )
        self.fusion: Any = LATE[self.fusion_recipe.kind](len(names), self.fusion_recipe) if late else nn.ModuleList()
        if self.fusion_recipe.kind == "cross_attention":
            count = len(range(self.entry, config.backbone_layers, self.fusion_recipe.every))
            self.fusion = nn.ModuleList(CrossAttention(width, self.fusion_recipe.heads) for _ in range(count))
        self.head = nn.Linear(width, config.classes) if config.classes else nn.Identity()

    def _width_of(self, name: str) -> int:
        return self.config.backbone_width if name == GPT else self.config.widths[self.config.inputs[name]]

    # -- structure ---------------------------------------------------------------------------------

    @property
    def stack(self) -> Stack | None:
        """The GPT's layers, to be run one stretch after another; None where it must run whole."""
        adapt = self.config.adapt.get("method", "frozen")
        return None if adapt in ("prefix", "prompt", "p_tuning") else open_stack(self.backbone)

    @property
    def late(self) -> bool:
        return self.fusion_recipe.kind in LATE_FUSIONS

    @property
    def trunk_depth(self) -> int:
        """Layers below everything that trains or that modalities enter: constant for a given text."""
        depth = self.config.backbone_layers
        tuned = tuned_from(AdaptRecipe(**self.config.adapt), depth)
        return min(tuned, depth if self.late else self.entry)

    def train(self, mode: bool = True) -> MultimodalGPT:
        """Training mode, but for what is frozen: there, dropout or batch statistics would be noise that nobody learns
        from, and features that are cached could not equal those that are not."""
        super().train(mode)
        stack = self.stack
        frozen = [*self.encoders.values(), *(stack.layers[: self.trunk_depth] if stack is not None else ())]
        for part in frozen:
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    # -- forward -----------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Tensor:
        """A batch -> head outputs (batch, classes), or logits at the supervised places (supervised, vocabulary)."""
        if self.late:
            return self.head(self.fused(batch))
        hidden = self.hidden_states(batch)
        if not self.config.classes:
            return self.logits(hidden.flatten(0, 1)[batch.sources])
        last = (batch.branches >= 0).sum(1) - 1
        return self.head(hidden[torch.arange(len(hidden), device=hidden.device), last].float())

    def logits(self, hidden: Tensor) -> Tensor:
        """(…, width) -> (…, vocabulary), in fp32."""
        head = causal_lm(self.backbone).get_output_embeddings()
        return head(hidden.to(head.weight.dtype)).float()

    def features(self, name: str, media: Media) -> Tensor:
        """An input's encoder features (items, positions, width), zeros where missing. Computed unless cached."""
        if media.cached and media.values is not None:
            return media.values
        shape = (*media.mask.shape, self._width_of(name))
        if media.values is None:
            return torch.zeros(shape, device=media.mask.device)
        encoder = self.encoders[self.config.inputs[name]]
        found = encoder(media.values, media.lengths, media.counts[media.present]).float()
        out = found.new_zeros(shape)
        out[media.present, : found.shape[1]] = found
        return out

    def project(self, batch: Batch) -> dict[str, Tensor]:
        """Each input's features at the fusion's width, missing ones replaced by their learned vectors."""
        out = {}
        for name, media in sorted(batch.media.items()):
            present = self._drop(media.present)
            out[name] = self.projectors[name](self.features(name, media), present)
        return out

    def _drop(self, present: Tensor) -> Tensor:
        """Modality dropout: in training, each item may be withheld."""
        if not self.training or self.config.modality_dropout == 0:
            return present
        return present & (torch.rand(len(present)) >= self.config.modality_dropout).to(present.device)

    def _withhold(self, there: dict[str, Tensor]) -> dict[str, Tensor]:
        """Modality dropout of a late fusion. The GPT reads what text encoders read, and is withheld together with them:
        a text that always stays in sight by one of its two readings would never be missed in training."""
        kept = {name: self._drop(present) for name, present in there.items() if name != GPT}
        if GPT in there:
            texts = [kept[name] for name in kept if self.config.inputs[name] == "text"]
            seen = there[GPT] & torch.stack(texts).any(0) if texts else self._drop(there[GPT])
            kept[GPT] = seen if self.training else there[GPT]
        return kept

    def _idle(self, batch: Batch) -> Tensor:
        """A zero that touches every trainable parameter that this batch does not use.

        So that every process has the same gradients to share, whatever modalities its rows hold.
        """
        idle = [] if self.late else [self.projectors[name] for name in sorted(set(self.projectors) - set(batch.media))]
        encoded = {name for name, media in batch.media.items() if media.values is not None and not media.cached}
        kinds = {self.config.inputs[name] for name in encoded if name in self.config.inputs}
        idle += [self.encoders[kind] for kind in sorted(set(self.encoders) - kinds)]
        parts = [p.sum() * 0 for module in idle for p in module.parameters() if p.requires_grad]
        return torch.stack([p.float() for p in parts]).sum() if parts else torch.zeros((), device=self.device)

    def fused(self, batch: Batch) -> Tensor:
        """Late fusion: a vector a modality -> (batch, width). Each row has one item of each input."""
        names, features, there = sorted(self.projectors), {}, {}
        for name in names:
            if name == GPT and GPT not in batch.media:
                there[name] = (batch.branches >= 0).any(1)
                features[name] = self.reading(batch)[:, None].float()
            elif name in batch.media:
                there[name], features[name] = batch.media[name].present, self.features(name, batch.media[name])
            else:
                there[name] = torch.zeros(len(batch.input_ids), dtype=torch.bool, device=self.device)
                features[name] = torch.zeros(len(batch.input_ids), 1, self._width_of(name), device=self.device)
        there = self._withhold(there)
        vectors = [self.projectors[name](features[name][:, :1], there[name])[:, 0] for name in names]
        present = [there[name] for name in names]
        return self.fusion(torch.stack(vectors, 1), torch.stack(present, 1)) + self._idle(batch)

    def reading(self, batch: Batch) -> Tensor:
        """The GPT's own reading of the text: the mean of its last hidden states (batch, width)."""
        hidden = self.hidden_states(batch)
        real = (batch.branches >= 0).to(hidden.dtype)[..., None]
        return (hidden * real).sum(1) / real.sum(1).clamp(min=1)

    # -- early fusion ------------------------------------------------------------------------------

    def hidden_states(self, batch: Batch) -> Tensor:
        """The GPT's last hidden states (batch, tokens, width), normed, with modalities fused in early."""
        stack = self.stack
        if stack is None:
            return self._whole(batch)
        depth = len(stack.layers)
        visible = visibility(batch.branches, batch.ancestors)
        projected = {} if self.late else self.project(batch)
        entry = self.trunk_depth if batch.trunk is not None else 0
        hidden = batch.trunk if batch.trunk is not None else stack.enter(batch.input_ids, batch.position_ids)
        hidden = self.run_layers(stack, hidden, visible, batch, projected, entry, depth, None)
        hidden = stack.norm(hidden)
        return hidden if self.late else hidden + self._idle(batch).to(hidden.dtype)

    @torch.no_grad()
    def trunk(self, batch: Batch) -> Tensor:
        """Hidden states (batch, tokens, width) at ``trunk_depth``: constant, so worth caching."""
        stack = self.stack
        if stack is None:
            raise ValueError("a GPT that runs whole has no trunk")
        hidden = stack.enter(batch.input_ids, batch.position_ids)
        visible = visibility(batch.branches, batch.ancestors)
        return self.run_layers(stack, hidden, visible, batch, {}, 0, self.trunk_depth, None)

    def run_layers(
        self,
        stack: Stack,
        hidden: Tensor,
        visible: Tensor,
        batch: Batch,
        projected: dict[str, Tensor],
        start: int,
        stop: int,
        cache: Any,
    ) -> Tensor:
        """Layers ``start`` to ``stop`` - 1, with the modalities entering where the fusion says.

        Placeholder tokens are there from the start, so that positions count them, but below the entry nobody
        sees them; at the entry the projected features take their place.

        Args:
            visible: (batch, tokens, keys) bool; keys count a cache's too, and the last ``tokens`` keys are these.
        """
        kind, entry = self.fusion_recipe.kind, self.entry
        full = additive(visible, hidden.dtype)
        if kind == "tokens":
            if start < entry:
                below = additive(visible & ~self._placeholders(batch, visible), hidden.dtype)
                hidden = stack.run(hidden, below, batch.position_ids, start, min(entry, stop), cache)
            if start <= entry < stop:
                hidden = self._place(hidden, batch, projected, visible.shape[2] - visible.shape[1])
            return stack.run(hidden, full, batch.position_ids, max(start, entry), stop, cache)
        if kind != "cross_attention":
            return stack.run(hidden, full, batch.position_ids, start, stop, cache)
        hidden = stack.run(hidden, full, batch.position_ids, start, min(entry, stop), cache)
        if stop <= entry:
            return hidden
        memory, looks = self._memory(hidden, batch, projected)
        for i, block in enumerate(self.fusion):
            layer = entry + i * self.fusion_recipe.every
            if memory is not None:
                hidden = block(hidden, memory, looks)
            else:
                hidden = hidden + sum(p.sum() * 0 for p in block.parameters()).to(hidden.dtype)
            hidden = stack.run(
                hidden, full, batch.position_ids, layer, min(layer + self.fusion_recipe.every, stop), cache
            )
        return hidden

    def _placeholders(self, batch: Batch, visible: Tensor) -> Tensor:
        """(batch, tokens, keys) bool: keys that are placeholders, but for a token's own place."""
        tokens, keys = visible.shape[1:]
        where = torch.zeros(len(visible), keys, dtype=torch.bool, device=visible.device)
        for media in batch.media.values():
            item, position = ((media.slots >= 0) & (media.slots < keys)).nonzero(as_tuple=True)
            where[media.row[item], media.slots[item, position]] = True
        itself = torch.eye(keys, dtype=torch.bool, device=visible.device)[keys - tokens :]
        return where[:, None, :] & ~itself

    def _place(self, hidden: Tensor, batch: Batch, projected: dict[str, Tensor], first: int = 0) -> Tensor:
        """Features into ``hidden``, whose places are numbers ``first`` and on of those that slots count."""
        for name, features in projected.items():
            media, places = batch.media[name], batch.media[name].slots - first
            inside = media.mask & (places >= 0) & (places < hidden.shape[1])
            hidden = place_tokens(hidden, features, inside, media.row, places)
        return hidden

    def _memory(self, hidden: Tensor, batch: Batch, projected: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        """What cross-attention looks at: (batch, positions, width), and who sees it (batch, tokens, positions)."""
        owners = batch.memory
        if owners.shape[1] == 0:
            return None, torch.empty(0)
        memory = torch.zeros(*owners.shape, hidden.shape[2], device=hidden.device)
        memory = self._place(memory, batch, projected)
        branch = batch.branches.clamp(min=0)
        above = batch.ancestors.gather(1, branch[:, :, None].expand(-1, -1, batch.ancestors.shape[2]))
        looks = above.gather(2, owners.clamp(min=0)[:, None, :].expand(-1, branch.shape[1], -1))
        return memory, looks & (owners >= 0)[:, None, :]

    def _whole(self, batch: Batch) -> Tensor:
        """A GPT that runs in one piece, with projected features at its input; one branch a sequence."""
        if batch.ancestors.shape[1] > 1:
            raise ValueError("a GPT that runs whole takes one branch a sequence")
        lm = causal_lm(self.backbone)
        embedded = lm.get_input_embeddings()(batch.input_ids)
        projected = {} if self.late else self.project(batch)
        embedded = self._place(embedded, batch, projected)
        mask = (batch.branches >= 0).long()
        out = self.backbone(inputs_embeds=embedded, attention_mask=mask, output_hidden_states=True, use_cache=False)
        hidden = out.hidden_states[-1][:, -embedded.shape[1] :]
        return hidden if self.late else hidden + self._idle(batch).to(hidden.dtype)

    # -- saving and loading ------------------------------------------------------------------------

    def own_state(self) -> dict[str, Tensor]:
        """Tensors that belong to no pretrained part: projectors, fusion, head, table encoder."""
        outside = ("backbone.", "encoders.image.", "encoders.audio.", "encoders.text.")
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(outside)}

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:  # type: ignore[override]
        """See ``models.saving.save``."""
        from sensorium.models.saving import save

        save(self, folder, sources=options.get("sources"))

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> MultimodalGPT:  # type: ignore[override]
        """See ``models.saving.load``; takes its ``dtype`` and ``attention``."""
        from sensorium.models.saving import load

        return load(folder, **{key: options[key] for key in ("dtype", "attention") if key in options})


AutoConfig.register("multimodal_gpt", MultimodalGPTConfig)
AutoModel.register(MultimodalGPTConfig, MultimodalGPT)
