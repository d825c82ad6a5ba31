"""EfficientNet-Lite against its definition; the pretrained weights are checked in tests/assets/test_real.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sensorium.models.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig, SameConv

TINY = {"hidden_size": 20, "num_classes": 3, "stem_channels": 4, "stages": [(1, 3, 1, 1, 4), (2, 5, 2, 2, 6)]}


@pytest.fixture
def tiny() -> EfficientNetLite:
    torch.manual_seed(0)
    return EfficientNetLite(EfficientNetLiteConfig(**TINY)).eval()


@settings(max_examples=40)
@given(
    st.integers(1, 17), st.integers(1, 17), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), st.sampled_from([1, 2])
)
def test_padding_is_tensorflows_same(height: int, width: int, kernel: int, stride: int, groups: int) -> None:
    """Output place (i, j) is the window that starts at stride * i - floor(total padding / 2), zeros outside."""
    torch.manual_seed(0)
    conv = SameConv(2, 4, kernel, stride=stride, groups=groups, bias=False).double()
    x = torch.randn(1, 2, height, width, dtype=torch.double)
    found = conv(x)
    rows, columns = -(-height // stride), -(-width // stride)
    assert found.shape == (1, 4, rows, columns)
    down = max((rows - 1) * stride + kernel - height, 0) // 2
    across = max((columns - 1) * stride + kernel - width, 0) // 2
    margin = kernel + stride
    wide = nn.functional.pad(x, (margin,) * 4)
    for i in {0, rows // 2, rows - 1}:
        for j in {0, columns // 2, columns - 1}:
            top, left = margin + stride * i - down, margin + stride * j - across
            window = wide[0, :, top : top + kernel, left : left + kernel]
            part = 4 // groups
            for channel in range(4):
                inputs = window if groups == 1 else window[channel // part : channel // part + 1]
                expected = (inputs * conv.weight[channel]).sum()
                assert torch.isclose(found[0, channel, i, j], expected)


def test_lite0_has_the_published_size() -> None:
    with torch.device("meta"):
        model = EfficientNetLite(EfficientNetLiteConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_652_008  # 4.65 M: EfficientNet-Lite's table
    assert len(model.blocks) == 16 and model.config.hidden_size == 1280


@pytest.mark.parametrize("height, width", [(64, 64), (33, 50), (1, 1)])
def test_shapes(tiny: EfficientNetLite, height: int, width: int) -> None:
    out = tiny(torch.zeros(2, 3, height, width))
    assert out.last_hidden_state.shape == (2, 20, -(-height // 4), -(-width // 4))
    assert torch.allclose(out.pooler_output, out.last_hidden_state.mean((2, 3)))
    assert tiny.classify(torch.zeros(2, 3, height, width)).shape == (2, 3)


def test_rows_do_not_see_each_other(tiny: EfficientNetLite) -> None:
    x = torch.randn(3, 3, 16, 16)
    together = tiny(x).last_hidden_state
    assert torch.allclose(together[1:2], tiny(x[1:2]).last_hidden_state, atol=1e-6)


def test_saved_and_loaded_the_hugging_face_way(tiny: EfficientNetLite, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    tiny.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert isinstance(AutoConfig.from_pretrained(tmp_path), EfficientNetLiteConfig)
    again = AutoModel.from_pretrained(tmp_path).eval()
    x = torch.randn(1, 3, 20, 20)
    assert isinstance(again, EfficientNetLite) and torch.equal(again.classify(x), tiny.classify(x))


def test_without_a_classifier(tmp_path: Path) -> None:
    model = EfficientNetLite(EfficientNetLiteConfig(**{**TINY, "num_classes": 0}))
    model.save_pretrained(tmp_path)
    again = EfficientNetLite.from_pretrained(tmp_path)
    assert not any("classifier" in name for name, _ in again.named_parameters())
    with pytest.raises(ValueError, match="no classifier"):
        again.classify(torch.zeros(1, 3, 8, 8))


def test_every_parameter_learns(tiny: EfficientNetLite) -> None:
    tiny.train()
    tiny.classify(torch.randn(4, 3, 16, 16)).square().sum().backward()
    without = [name for name, parameter in tiny.named_parameters() if parameter.grad is None]
    assert without == []
