"""Saving and loading a ``MultimodalGPT``: a folder that stands alone, in the Hugging Face layout.

``config.json`` and ``model.safetensors`` (projectors, fusion, head), ``backbone/`` (the GPT), ``adapter/`` (PEFT's own),
``encoders/KIND/``. Parts that did not change are linked to where they came from rather than written again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sensorium.errors import RunError, first_line
from sensorium.models.backbone import causal_lm, load_backbone, plain_state
from sensorium.models.encoders import build_encoder
from sensorium.models.language.alignment import AlignedEncoder, save_alignment
from sensorium.models.multimodal_gpt import MultimodalGPT, MultimodalGPTConfig

KEPT = (".json", ".safetensors", ".txt", ".model", ".jinja")


def save(model: MultimodalGPT, folder: str | Path, *, sources: dict[str, Path] | None = None) -> None:
    """Write config, own tensors, the GPT, its adapter and the encoders.

    Args:
        sources: part (backbone, image, audio, text): folder of its unchanged weights.
    """
    folder, sources = Path(folder), sources or {}
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    save_own(model, folder)
    save_gpt(model.backbone, str(model.config.adapt.get("method")), folder, sources.get("backbone"))
    for kind, encoder in model.encoders.items():
        if kind != "table":
            trained = any(p.requires_grad for p in encoder.parameters())
            _keep(encoder.outer[0], folder / "encoders" / kind, None if trained else sources.get(kind))
            if trained and isinstance(encoder, AlignedEncoder):
                save_alignment(encoder.projector, folder / "encoders" / kind)


def load(folder: str | Path, *, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> MultimodalGPT:
    """A saved model, in evaluation mode. Encoders run in fp32, the GPT in ``dtype``.

    Raises:
        RunError: a file is missing or damaged, or its tensors do not fit the config.
    """
    folder = Path(folder)
    config = MultimodalGPTConfig.from_pretrained(folder)
    backbone = load_gpt(folder, dtype=dtype, attention=attention)
    kinds = sorted(set(config.inputs.values()) - {"table"})
    encoders = {kind: build_encoder(kind, folder / "encoders" / kind, dtype=torch.float32) for kind in kinds}
    model = MultimodalGPT(config, backbone, encoders)
    load_own(model, folder)
    return model.eval()


class Owner(Protocol):
    """A model that holds a pretrained GPT, and tensors of its own."""

    def own_state(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Any, strict: bool = ...) -> Any: ...


def save_own(model: Owner, folder: Path) -> None:
    """``model.safetensors``: what is the model's own."""
    from safetensors.torch import save_file

    own = {name: tensor.contiguous() for name, tensor in model.own_state().items()}
    save_file(own, folder / "model.safetensors", {"format": "pt"})


def load_own(model: Owner, folder: Path) -> None:
    """Put back what ``save_own`` wrote. RunError where it is missing, damaged, or another model's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(
            f"model.safetensors cannot be read ({first_line(error)})", where=str(folder), mend="rerun sensorium fit"
        ) from None
    own = model.own_state()
    lost = [name for name in missing if name in own]
    if lost or unexpected:
        raise RunError(
            f"tensors do not fit the config ({(lost or unexpected)[0]})", where=str(folder), mend="rerun sensorium fit"
        )


def save_gpt(gpt: Any, method: str, folder: Path, source: Path | None) -> None:
    """``backbone/`` and, where PEFT wraps it, ``adapter/``; ``source``: the folder of its weights, if unchanged."""
    lm = causal_lm(gpt)
    if lm is not gpt:
        if method == "pissa":  # it moved a part of each weight into the adapter: what is left is written, to start on
            gpt.peft_config["default"].init_lora_weights = True
        gpt.save_pretrained(folder / "adapter")
    _keep(lm, folder / "backbone", None if method in ("full", "pissa") else source)


def load_gpt(folder: Path, *, dtype: torch.dtype, attention: str) -> Any:
    """The GPT that ``save_gpt`` wrote, with its adapter. RunError or RecipeError where it cannot be read."""
    backbone = load_backbone(folder / "backbone", dtype=dtype, attention=attention)
    if (folder / "adapter").is_dir():
        from peft import PeftModel

        try:
            backbone = PeftModel.from_pretrained(backbone, str(folder / "adapter"), autocast_adapter_dtype=False)
        except Exception as error:  # a damaged or foreign folder: libraries raise whatever they like
            what = f"adapter cannot be read ({first_line(error)})"
            raise RunError(what, where=str(folder), mend="rerun sensorium fit") from error
    return backbone


def _keep(module: Any, folder: Path, source: Path | None) -> None:
    """Link (or copy) an unchanged part's files, or save a changed one."""
    for file in folder.glob("*.safetensors"):  # an earlier save's: it may be a link
        file.unlink()
    if source is None or not any(source.glob("*.safetensors")):
        module.save_pretrained(folder, state_dict=plain_state(module))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.suffix in KEPT and file.name != "manifest.json":
            put(file, folder / file.name)


def put(source: Path, target: Path) -> None:
    """Weights are linked, since nobody changes them in place; small files, which libraries rewrite, are copied."""
    target.unlink(missing_ok=True)
    if source.suffix in (".safetensors", ".bin"):
        try:
            return target.hardlink_to(source)
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)
