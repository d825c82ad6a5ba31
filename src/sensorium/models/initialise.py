"""What new parts start from: fitted to training rows before the first step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sensorium.data.collate import Batch
from sensorium.models.backbone import causal_lm, visibility
from sensorium.models.fusion import rms
from sensorium.models.multimodal_gpt import MultimodalGPT


def fit_projectors(model: MultimodalGPT, summaries: Mapping[str, Tensor]) -> None:
    """Standardise each input's features by those of the training rows: input: (rows, width)."""
    for name, features in summaries.items():
        if name in model.projectors and len(features) > 1:
            model.projectors[name].fit(features)


@torch.no_grad()
def match_sizes(model: MultimodalGPT, batch: Batch) -> None:
    """Let projected features join the GPT's residual stream at its own size, for the fusion ``tokens``.

    A stream's root mean square grows from layer to layer, to ten and more. What joins it far smaller is drowned by the
    first layer's output, and the GPT learns slowly to look at it. The median of the tokens is taken, since the first
    token's states may be a hundred times the others' (Sun et al. 2024, "Massive activations in large language models").

    Args:
        batch: training rows with their media, without a trunk.
    """
    size = rms(_entering(model, batch))[batch.branches >= 0].median()
    for name, media in sorted(batch.media.items()):
        if media.present.any():
            model.projectors[name].match(model.features(name, media)[media.present], size)


def _entering(model: MultimodalGPT, batch: Batch) -> Tensor:
    """The hidden states (batch, tokens, width) where modalities enter."""
    stack = model.stack
    if stack is None:
        return causal_lm(model.backbone).get_input_embeddings()(batch.input_ids)
    hidden = stack.enter(batch.input_ids, batch.position_ids)
    visible = visibility(batch.branches, batch.ancestors)
    return model.run_layers(stack, hidden, visible, batch, {}, 0, model.entry, None)
