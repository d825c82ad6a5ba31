"""EfficientNet-Lite (Tan and Le, 2019, arXiv:1905.11946; the Lite variant drops squeeze-and-excitation and swish).

A ``transformers`` model in plain PyTorch, registered with the Auto classes as ``efficientnet_lite``. Pixels are
scaled to [-1, 1]; padding is TensorFlow's "same", so that the pretrained weights see what they were trained on.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

# Of Lite0: (blocks, kernel, stride, expansion, channels out) of each stage.
LITE0_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
                (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip


class EfficientNetLiteConfig(PreTrainedConfig):
    """Shapes of an EfficientNet-Lite; the defaults are Lite0's.

    Args:
        hidden_size: channels of the features.
        num_classes: of the classifier; 0 leaves it out.
        stem_channels: channels behind the first convolution.
        stages: (blocks, kernel, stride, expansion, channels out) of each stage.
        dropout: before the classifier.
    """

    model_type = "efficientnet_lite"

    def __init__(
        self,
        hidden_size: int = 1280,
        num_classes: int = 1000,
        stem_channels: int = 32,
        stages: Any = LITE0_STAGES,
        dropout: float = 0.2,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.hidden_size = hidden_size
        self.num_classes = num_classes
        self.stem_channels = stem_channels
        self.stages = [list(stage) for stage in stages]
        self.dropout = dropout


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: ceil(extent / stride) out, the odd pixel of padding at the end."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels out, ceil(height / stride), ceil(width / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
        if down % 2 == 0 and across % 2 == 0:  # symmetric: the convolution pads by itself, without a copy
            return nn.functional.conv2d(x, self.weight, None, stride, (down // 2, across // 2), 1, self.groups)
        x = nn.functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return nn.functional.conv2d(x, self.weight, None, stride, 0, 1, self.groups)


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and, where asked, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> None:
        super().__init__()
        self.conv = SameConv(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, ceil(height / stride), ceil(width / stride))."""
        x = self.norm(self.conv(x))
        return nn.functional.relu6(x) if self.activate else x


class Block(nn.Module):
    """An inverted bottleneck: widen, convolve each channel, narrow; the input is added where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide, 1) if expansion != 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride=stride, groups=wide)
        self.project = ConvNorm(wide, outputs, 1, activate=False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, ceil(height / stride), ceil(width / stride))."""
        new = self.project(self.depthwise(self.expand(x)))
        return x + new if self.adds else new


class EfficientNetLite(PreTrainedModel):
    """Features of pictures, and ImageNet's classes where the classifier is kept."""

    config_class = EfficientNetLiteConfig
    config: EfficientNetLiteConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["Block"]  # noqa: RUF012  transformers' own name and type

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = ConvNorm(3, config.stem_channels, 3, stride=2)
        width, blocks = config.stem_channels, []
        for count, kernel, stride, expansion, outputs in config.stages:
            for number in range(count):
                blocks.append(Block(width, outputs, kernel, stride if number == 0 else 1, expansion))
                width = outputs
        self.blocks = nn.ModuleList(blocks)
        self.top = ConvNorm(width, config.hidden_size, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_classes) if config.num_classes else None
        self.post_init()

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False, **_: Any) -> BaseModelOutputWithPooling:
        """Features of pictures.

        Args:
            pixel_values: (batch, 3, height, width) in [-1, 1]; 224 pixels a side is what Lite0 was trained on.

        Returns:
            ``last_hidden_state`` (batch, hidden_size, height / 32, width / 32), rounded up, and ``pooler_output``
            (batch, hidden_size), its mean over places; where asked, ``hidden_states``: what stem and each block give.
        """
        x = self.stem(pixel_values)
        states = [x]
        for block in self.blocks:
            x = block(x)
            states.append(x)
        x = self.top(x)
        between = tuple(states) if output_hidden_states else None
        return BaseModelOutputWithPooling(last_hidden_state=x, hidden_states=between, pooler_output=x.mean((2, 3)))

    def classify(self, pixel_values: Tensor) -> Tensor:
        """(batch, 3, height, width) in [-1, 1] -> logits (batch, num_classes).

        Raises:
            ValueError: the classifier was left out.
        """
        if self.classifier is None:
            raise ValueError("this EfficientNetLite has no classifier (num_classes is 0)")
        return self.classifier(self.dropout(self(pixel_values).pooler_output))


AutoConfig.register("efficientnet_lite", EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLite, exist_ok=True)
