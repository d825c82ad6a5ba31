"""An encoder's folder with an alignment beside its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from sensorium.errors import RecipeError
from sensorium.models.encoders import build_encoder
from sensorium.models.fusion import Projector
from sensorium.models.language.alignment import FILE, AlignedEncoder, save_alignment
from tests.tiny_parts import vit, whisper


def made(folder: Path, width: int = 16) -> Projector:
    torch.manual_seed(1)
    projector = Projector(width, 5, 0.5, hidden=True)
    projector.fit(torch.randn(20, width) * 3 + 1)
    save_alignment(projector, folder)
    return projector.eval()


def test_features_are_followed_by_their_projection(tmp_path: Path) -> None:
    plain = build_encoder("image", vit(tmp_path / "vit"), dtype=torch.float32)
    projector = made(tmp_path / "vit")
    encoder = build_encoder("image", tmp_path / "vit", dtype=torch.float32)
    pixels = torch.rand(3, 3, 32, 32)
    asked = pixels, torch.full((3,), 32), torch.full((3,), 5)
    features, found = plain(*asked), encoder(*asked)
    assert encoder.width == found.shape[2] == 16 + 5 and not encoder.training
    assert torch.equal(found[..., :16], features)
    projected = projector(features, torch.ones(3, dtype=torch.bool))
    expected = projected / projected.pow(2).mean(-1, keepdim=True).sqrt()
    assert torch.allclose(found[..., 16:], expected, atol=1e-5)


def test_an_audio_encoder_keeps_its_kind(tmp_path: Path) -> None:
    whisper(tmp_path / "whisper")
    made(tmp_path / "whisper")
    encoder = build_encoder("audio", tmp_path / "whisper", dtype=torch.float32)
    assert isinstance(encoder, AlignedEncoder) and encoder.whisper
    assert encoder(torch.randn(1, 80, 60), torch.tensor([60]), torch.tensor([3])).shape == (1, 3, 21)


def test_what_does_not_fit_or_is_damaged_is_said(tmp_path: Path) -> None:
    vit(tmp_path / "vit")
    made(tmp_path / "vit", width=7)
    with pytest.raises(RecipeError, match="reads features of width 7, the encoder gives 16"):
        build_encoder("image", tmp_path / "vit", dtype=torch.float32)
    (tmp_path / "vit" / FILE).write_bytes(b"no tensors")
    with pytest.raises(RecipeError, match="the alignment cannot be read"):
        build_encoder("image", tmp_path / "vit", dtype=torch.float32)
    shutil.rmtree(tmp_path / "vit")
