"""Encoders against transformers' own outputs and plain torch; positions that placeholders can count on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    AutoModel,
    BertModel,
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    SwinConfig,
    SwinModel,
    ViTModel,
    Wav2Vec2Model,
    WhisperModel,
)

from sensorium.errors import RecipeError
from sensorium.models.encoders import (
    AudioEncoder,
    ImageEncoder,
    TableEncoder,
    TextEncoder,
    build_encoder,
    pooled,
    positions,
    ragged,
)
from sensorium.models.processor import Processor
from sensorium.recipe import FusionRecipe
from tests.tiny_models import mixed_rows, part, processor_of

TOKENS = FusionRecipe(kind="tokens", tokens=9)
NONE = torch.zeros(0)


def bins(state: np.ndarray, count: int) -> np.ndarray:
    """(positions, width) -> (count, width): means of stretches from floor(i·n/k) to ceil((i+1)·n/k)."""
    n = len(state)
    return np.stack([state[i * n // count : -(-(i + 1) * n // count)].mean(0) for i in range(count)])


# -- positions and pooling -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "audio", "text", "table"])
@pytest.mark.parametrize("fusion", ["concat", "weighted", "attention"])
def test_late_fusions_read_one_position(kind: str, fusion: str) -> None:
    assert positions(kind, 12345, FusionRecipe(kind=fusion)) == 1


@given(st.integers(1, 1024), st.integers(0, 100_000))
def test_positions_keep_to_the_recipe_s_tokens(tokens: int, extent: int) -> None:
    fusion = FusionRecipe(kind="tokens", tokens=tokens)
    for kind in ("image", "audio", "text", "table"):
        assert 1 <= positions(kind, extent, fusion) <= 1 + tokens
    assert math.isqrt(positions("image", extent, fusion) - 1) ** 2 == positions("image", extent, fusion) - 1
    assert positions("audio", extent, fusion) <= 33
    assert positions("text", extent, fusion) == 1 + min(extent, tokens)


@pytest.mark.parametrize(("milliseconds", "count"), [(10, 2), (250, 2), (260, 3), (1000, 5), (30_000, 10)])
def test_sound_takes_four_positions_a_second_besides_its_summary(milliseconds: int, count: int) -> None:
    assert positions("audio", milliseconds, TOKENS) == count


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 99))
def test_pooled_is_the_mean_and_means_of_stretches(length: int, count: int, seed: int) -> None:
    state = np.random.default_rng(seed).normal(size=(length, 4)).astype(np.float32)
    found = pooled(torch.from_numpy(state), count).numpy()
    assert found.shape == (count, 4)
    np.testing.assert_allclose(found[0], state.mean(0), atol=1e-5)
    if count > 1:
        np.testing.assert_allclose(found[1:], bins(state, count - 1), atol=1e-5)


def test_ragged_pads_with_zeros() -> None:
    found = ragged([torch.ones(1, 2), torch.ones(3, 2)])
    assert found.shape == (2, 3, 2) and found.sum((1, 2)).tolist() == [2, 6]


# -- pictures --------------------------------------------------------------------------------------


def grid(state: torch.Tensor, side: int) -> torch.Tensor:
    """(items, width, height, width) -> (items, side², width), rows of cells first."""
    height, out = state.shape[2], []
    for i in range(side):
        for j in range(side):
            rows = slice(i * height // side, -(-(i + 1) * height // side))
            columns = slice(j * height // side, -(-(j + 1) * height // side))
            out.append(state[:, :, rows, columns].mean((2, 3)))
    return torch.stack(out, 1)


@torch.no_grad()
def test_vit_patches_are_pooled_to_a_grid_without_the_class_token() -> None:
    model = ViTModel.from_pretrained(part("vit"), add_pooling_layer=False).eval()
    encoder, pixels = ImageEncoder(model), torch.randn(2, 3, 32, 32)
    patches = model(pixel_values=pixels).last_hidden_state[:, 1:].transpose(1, 2).reshape(2, 16, 4, 4)
    found = encoder(pixels, NONE, torch.tensor([5, 5]))
    assert encoder.width == 16 and found.shape == (2, 5, 16)
    torch.testing.assert_close(found[:, 0], patches.mean((2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, 1:], grid(patches, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder(pixels, NONE, torch.tensor([1, 1]))[:, 0], found[:, 0])


@torch.no_grad()
def test_pictures_of_another_size_than_the_encoder_was_trained_on_are_read_too() -> None:
    encoder = ImageEncoder(ViTModel.from_pretrained(part("vit"), add_pooling_layer=False).eval())
    assert encoder(torch.randn(1, 3, 48, 48), NONE, torch.tensor([10])).shape == (1, 10, 16)


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def vision(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "convnext":
        return ConvNextModel(ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], image_size=64))
    if name == "dinov2":
        return Dinov2Model(Dinov2Config(**SMALL, image_size=64, patch_size=16))
    if name == "swin":
        return SwinModel(SwinConfig(image_size=64, patch_size=4, embed_dim=4, depths=[1, 1], num_heads=[1, 2]))
    vision = {**SMALL, "image_size": 64, "patch_size": 16}
    text = {**SMALL, "vocab_size": 30, "max_position_embeddings": 8}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


@torch.no_grad()
@pytest.mark.parametrize("name", ["convnext", "dinov2", "swin", "clip"])
def test_vision_models_of_every_make_give_a_summary_and_a_grid(name: str) -> None:
    model = vision(name).eval()
    encoder = ImageEncoder(model)
    found = encoder(torch.randn(2, 3, 64, 64), NONE, torch.tensor([5, 5]))
    assert found.shape == (2, 5, encoder.width) and torch.isfinite(found).all()
    torch.testing.assert_close(found[:, 0], found[:, 1:].mean(1), atol=1e-5, rtol=0)  # sides divide: equal cells


# -- sound -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_full_clip_equals_transformers_whisper_encoder() -> None:
    model = WhisperModel.from_pretrained(part("whisper")).eval()
    mel = torch.randn(1, 80, 3000)
    state = model.encoder(mel).last_hidden_state[0].numpy()
    found = AudioEncoder(model)(mel, torch.tensor([3000]), torch.tensor([33]))[0].numpy()
    np.testing.assert_allclose(found[0], state.mean(0), atol=1e-5)
    np.testing.assert_allclose(found[1:], bins(state, 32), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["whisper", "wav2vec2"])
def test_a_clip_costs_its_own_length_and_neighbours_change_nothing(name: str) -> None:
    made = WhisperModel if name == "whisper" else Wav2Vec2Model
    encoder = AudioEncoder(made.from_pretrained(part(name)).eval())
    short, long = (torch.randn(80, n) if name == "whisper" else torch.randn(100 * n) for n in (31, 90))
    padded = nn.functional.pad(short, (0, long.shape[-1] - short.shape[-1]), value=9.0)
    lengths = torch.tensor([short.shape[-1], long.shape[-1]])
    together = encoder(torch.stack([padded, long]), lengths, torch.tensor([3, 5]))
    alone = encoder(short[None], lengths[:1], torch.tensor([3]))
    assert together.shape == (2, 5, 16) and not together[0, 3:].any()
    torch.testing.assert_close(together[0, :3], alone[0], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("name", "samples"), [("whisper", 1), ("wav2vec2", 1), ("wav2vec2", 100)])
def test_the_shortest_clip_is_heard(name: str, samples: int) -> None:
    made = WhisperModel if name == "whisper" else Wav2Vec2Model
    encoder = AudioEncoder(made.from_pretrained(part(name)).eval())
    clip = torch.randn(1, 80, samples) if name == "whisper" else torch.randn(1, samples)
    found = encoder(clip, torch.tensor([samples]), torch.tensor([2]))
    assert found.shape == (1, 2, 16) and torch.isfinite(found).all()


# -- text ------------------------------------------------------------------------------------------


@torch.no_grad()
def test_text_is_the_mean_over_its_own_tokens_whatever_stands_behind() -> None:
    model = BertModel.from_pretrained(part("bert")).eval()
    encoder, ids = TextEncoder(model), torch.tensor([[5, 6, 7, 99, 98], [5, 6, 7, 8, 9]])
    found = encoder(ids, torch.tensor([3, 5]), torch.tensor([3, 4]))
    for row, (length, count) in enumerate([(3, 3), (5, 4)]):
        state = model(input_ids=ids[row : row + 1, :length]).last_hidden_state[0].numpy()
        np.testing.assert_allclose(found[row, 0], state.mean(0), atol=1e-5)
        np.testing.assert_allclose(found[row, 1:count], bins(state, count - 1), atol=1e-5)
    assert not found[0, 3:].any()


# -- tables ----------------------------------------------------------------------------------------


def table_processor() -> Processor:
    return processor_of(
        {"size": "number", "shop": "category"}, rows=mixed_rows(6), task="classify", classes=["red", "green", "blue"]
    )


def table_values(processor: Processor, **cells: object) -> torch.Tensor:
    row = mixed_rows(1)[0]
    value = processor.values("table", type(row)(0, cells, None))
    assert value is not None
    return value


@torch.no_grad()
def test_missing_and_unseen_cells_are_told_apart_from_values_and_each_other() -> None:
    processor = table_processor()
    assert processor.codec is not None
    torch.manual_seed(0)
    encoder = TableEncoder(**processor.codec.sizes())
    rows = [
        {"size": 0.5, "shop": "north"},
        {"size": None, "shop": "north"},
        {"size": 0.0, "shop": "north"},
        {"size": 0.5, "shop": None},
        {"size": 0.5, "shop": "elsewhere"},
    ]
    values = torch.stack([table_values(processor, **cells) for cells in rows])
    found = encoder(values, NONE, torch.full((5,), 3))
    assert found.shape == (5, 3, 64)
    torch.testing.assert_close(found[:, 0], found[:, 1:].mean(1))
    distances = torch.cdist(found[:, 0], found[:, 0]) + torch.eye(5)
    assert distances.min() > 1e-3
    torch.testing.assert_close(
        table_values(processor, size=0.5, shop="one"), table_values(processor, size=0.5, shop="2")
    )
    assert processor.values("table", mixed_rows(6, missing=True)[5]) is None


def test_a_table_takes_as_many_positions_as_its_encoder_gives() -> None:
    """One more would be a position of zeros that looks like data."""
    inputs = {"size": "number", "weight": "number", "shop": "category"}
    processor = processor_of(inputs, rows=mixed_rows(6), fusion={"kind": "tokens", "tokens": 9})
    assert processor.codec is not None
    item = processor.item("table", mixed_rows(1)[0], None, None)
    encoder = TableEncoder(**processor.codec.sizes())
    assert item.value is not None
    features = encoder(item.value[None], NONE, torch.tensor([item.positions]))
    assert features.shape == (1, item.positions, 64) and item.positions == 3


def test_a_table_of_categories_alone_and_of_numbers_alone() -> None:
    with torch.no_grad():
        assert TableEncoder(0, [4])(torch.tensor([[2.0]]), NONE, torch.tensor([3])).shape == (1, 3, 64)
        assert TableEncoder(2, [])(torch.randn(1, 2), NONE, torch.tensor([2])).shape == (1, 2, 64)


# -- opening ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "audio", "text"])
def test_a_folder_without_an_encoder_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=rf"model\.{kind}: .*no encoder there"):
        build_encoder(kind, tmp_path, dtype=torch.float32)


@torch.no_grad()
def test_an_encoder_in_bf16_takes_fp32_values() -> None:
    encoder = build_encoder("image", part("vit"), dtype=torch.bfloat16)
    assert encoder(torch.randn(1, 3, 32, 32), NONE, torch.tensor([2])).dtype == torch.bfloat16
    assert AutoModel.from_pretrained(part("vit")).config.model_type == "vit"
