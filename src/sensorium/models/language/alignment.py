"""A pretrained encoder with what pretraining added: features beside their projection into the space of texts.

A folder of an encoder that also holds ``alignment.safetensors`` is opened as one; so a run's ``model/image`` stands
wherever a recipe names an image encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sensorium.errors import RecipeError, first_line
from sensorium.models.fusion import Projector, rms

FILE = "alignment.safetensors"


class AlignedEncoder(nn.Module):
    """An encoder whose features (items, positions, width) are followed by their projections, of root mean square 1.

    Args:
        encoder: see ``models.encoders.Encoder``.
        projector: fitted to that encoder's features.
    """

    def __init__(self, encoder: Any, projector: Projector) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.width = int(encoder.width) + len(projector.missing)
        self.whisper = bool(getattr(encoder, "whisper", False))
        self.outer = encoder.outer

    def forward(self, values: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        features = self.encoder(values, lengths, counts).float()
        there = torch.ones(len(features), dtype=torch.bool, device=features.device)
        projected = self.projector(features, there)
        return torch.cat([features, projected / rms(projected).clamp(min=1e-6)[..., None]], -1)


def save_alignment(projector: Projector, folder: str | Path) -> None:
    """Write the projector beside an encoder's files."""
    state = {name: tensor.contiguous() for name, tensor in projector.state_dict().items()}
    save_file(state, Path(folder) / FILE, {"format": "pt"})


def aligned(encoder: Any, folder: str | Path) -> Any:
    """The encoder that was read from ``folder``, with the alignment that lies beside it, if one does.

    Raises:
        RecipeError: it is damaged, or of another encoder.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return encoder
    try:
        state = load_file(path)
        width_out, width_in = state["layers.0.weight"].shape
        if width_in != encoder.width:
            raise ValueError(f"it reads features of width {width_in}, the encoder gives {encoder.width}")
        projector = Projector(width_in, width_out, 0.0, hidden="layers.2.weight" in state)
        projector.load_state_dict(state)
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        mend = "give the folder of an encoder as pretraining wrote it"
        raise RecipeError(f"the alignment cannot be read ({first_line(error)})", where=str(path), mend=mend) from None
    return AlignedEncoder(encoder, projector).eval()
