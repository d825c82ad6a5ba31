"""A saved model stands alone, answers as before, opens with the plain libraries, and never touches what it came from."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from sensorium.data.collate import Batch, collate
from sensorium.errors import RunError
from sensorium.models.multimodal_gpt import MultimodalGPT, MultimodalGPTConfig
from sensorium.models.processor import Processor
from tests.tiny_models import COLOURS, MIXED, mixed_rows, model_of, part, processor_of, sources_of

METHODS = ["lora", "dora", "rslora", "pissa", "ia3", "vera", "oft", "prefix", "prompt", "p_tuning", "full", "frozen"]
ROWS, NUMBERED = mixed_rows(6, missing=True), mixed_rows(6, missing=True, target="number")


def batch_of(processor: Processor) -> Batch:
    regression = processor.settings.task == "classify" and not processor.settings.classes
    return collate([processor.sequence([row]) for row in (NUMBERED if regression else ROWS)])


def trained(model: MultimodalGPT) -> MultimodalGPT:
    """Every weight that trains moved a little, and the projectors' statistics."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
        for projector in model.projectors.values():
            projector.fit(torch.randn(8, len(projector.mean)))
    return model


def answers(model: MultimodalGPT, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model(batch)


def assert_saved(model: MultimodalGPT, processor: Processor, folder: Path, **how: Any) -> MultimodalGPT:
    expected = answers(model, batch_of(processor))
    model.save_pretrained(folder, **how)
    again = MultimodalGPT.from_pretrained(folder)
    assert not again.training
    torch.testing.assert_close(answers(again, batch_of(processor)), expected, atol=1e-5, rtol=1e-5)
    return again


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_every_way_of_adapting_is_found_again(method: str, linked: bool, tmp_path: Path) -> None:
    """With and without the folders that the parts came from: a hub id is no folder."""
    processor = processor_of({"words": "text", "picture": "image"}, fusion={"kind": "tokens", "from_layer": 0})
    model = trained(model_of(processor, adapt={"method": method, "rank": 4, "virtual_tokens": 4, "layers": 2}))
    assert_saved(model, processor, tmp_path / "model", sources=sources_of(processor) if linked else None)


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "fusion", [{"kind": "tokens", "from_layer": 2}, {"kind": "cross_attention", "from_layer": 1}, {"kind": "attention"}]
)
@pytest.mark.parametrize("classes", [list(COLOURS), None])
def test_every_input_fusion_and_head_is_found_again(gpt: str, fusion: dict, classes: Any, tmp_path: Path) -> None:
    processor = processor_of(
        MIXED, rows=mixed_rows(6), task="classify", classes=classes, gpt=gpt, fusion=fusion, text_encoder=True
    )
    model = trained(model_of(processor, gpt=gpt))
    again = assert_saved(model, processor, tmp_path / "model", sources=sources_of(processor, gpt))
    assert again.config.table == {"numbers": 2, "categories": [4]} and set(again.encoders) == set(model.encoders)
    assert again.trunk_depth == model.trunk_depth


def test_tuned_encoders_are_written_and_frozen_ones_linked(tmp_path: Path) -> None:
    processor = processor_of(
        MIXED, rows=mixed_rows(6), task="classify", classes=list(COLOURS), fusion={"kind": "concat"}
    )
    model = trained(model_of(processor, tuned_encoders=True))
    assert_saved(model, processor, tmp_path / "model", sources=sources_of(processor))
    one, other = (folder / "model.safetensors" for folder in (part("vit"), tmp_path / "model/encoders/image"))
    assert one.read_bytes() != other.read_bytes()


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_links_share_bytes_and_saving_over_them_leaves_the_asset_alone(tmp_path: Path) -> None:
    asset = shutil.copytree(part("llama"), tmp_path / "asset")
    (asset / "manifest.json").write_text("{}")
    before = contents(asset)
    processor = processor_of({"words": "text"})
    model = model_of(processor)
    saved = tmp_path / "model"
    model.save_pretrained(saved, sources={"backbone": asset})
    assert (saved / "backbone/model.safetensors").samefile(asset / "model.safetensors")
    assert not (saved / "backbone/manifest.json").exists()
    model.save_pretrained(saved, sources={"backbone": asset})  # links are renewed
    model.save_pretrained(saved)  # and written over without them
    assert not (saved / "backbone/model.safetensors").samefile(asset / "model.safetensors")
    assert contents(asset) == before


def test_a_source_without_safetensors_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "asset").mkdir()
    shutil.copy(part("llama") / "config.json", tmp_path / "asset")
    processor = processor_of({"words": "text"})
    assert_saved(model_of(processor), processor, tmp_path / "model", sources={"backbone": tmp_path / "asset"})


@pytest.mark.parametrize("method", ["lora", "dora", "pissa", "ia3", "prefix"])
@pytest.mark.parametrize("linked", [True, False])
def test_peft_alone_opens_the_adapter_with_the_same_text_logits(method: str, linked: bool, tmp_path: Path) -> None:
    from peft import PeftModel

    processor = processor_of({"words": "text"})
    model = trained(model_of(processor, adapt={"method": method, "rank": 4, "virtual_tokens": 4}))
    model.save_pretrained(tmp_path, sources=sources_of(processor) if linked else None)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "backbone"), tmp_path / "adapter")
    sequence = processor.sequence([ROWS[0]])
    with torch.no_grad():
        found = plain.eval()(input_ids=torch.tensor([sequence.ids])).logits[0, sequence.sources]
    torch.testing.assert_close(answers(model, collate([sequence])), found, atol=1e-5, rtol=1e-5)


def test_the_saved_gpt_is_plain_transformers(tmp_path: Path) -> None:
    processor = processor_of({"words": "text"})
    trained(model_of(processor)).save_pretrained(tmp_path)
    saved, made = (AutoModelForCausalLM.from_pretrained(f) for f in (tmp_path / "backbone", part("llama")))
    assert all(torch.equal(a, b) for a, b in zip(saved.state_dict().values(), made.state_dict().values(), strict=True))


def test_the_auto_classes_know_it(tmp_path: Path) -> None:
    processor = processor_of({"words": "text", "picture": "image"}, fusion={"kind": "tokens", "from_layer": 2})
    model = trained(model_of(processor))
    model.save_pretrained(tmp_path, sources=sources_of(processor))
    config = AutoConfig.from_pretrained(tmp_path)
    assert (
        isinstance(config, MultimodalGPTConfig) and config.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()
    )
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, MultimodalGPT)
    torch.testing.assert_close(answers(again, batch_of(processor)), answers(model, batch_of(processor)))


def test_own_tensors_alone_are_in_the_own_file(tmp_path: Path) -> None:
    from safetensors import safe_open

    processor = processor_of(
        MIXED, rows=mixed_rows(6), task="classify", classes=list(COLOURS), fusion={"kind": "weighted"}
    )
    model_of(processor).save_pretrained(tmp_path, sources=sources_of(processor))
    with safe_open(str(tmp_path / "model.safetensors"), "pt") as file:
        rooms = {name.split(".")[0] + ("." + name.split(".")[1]) * name.startswith("encoders") for name in file.keys()}  # noqa: SIM118
    assert rooms == {"projectors", "fusion", "head", "encoders.table"}


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    processor = processor_of({"words": "text", "picture": "image"}, fusion={"kind": "tokens", "from_layer": 0})
    model_of(processor).save_pretrained(tmp_path, sources=sources_of(processor))
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"inputs": {"picture": "image", "photo": "image"}}, {"classes": 3}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(RunError, match="tensors do not fit the config"):
            MultimodalGPT.from_pretrained(tmp_path)


# -- what is frozen stays as it was ----------------------------------------------------------------


def test_training_leaves_frozen_parts_at_rest() -> None:
    """Batch statistics of a frozen encoder would drift, and the saved, linked encoder would not have drifted."""
    from sensorium.models.encoders import ImageEncoder
    from tests.models.test_efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig

    torch.manual_seed(0)
    net = EfficientNetLite(
        EfficientNetLiteConfig(stem_channels=4, stages=[[1, 3, 1, 1, 8]], hidden_size=16, num_classes=0)
    )
    processor = processor_of({"words": "text", "picture": "image"}, fusion={"kind": "tokens", "from_layer": 2})
    for gpt in ("llama", "gpt2"):
        model = model_of(processor, gpt=gpt)
        model.encoders["image"] = ImageEncoder(net).requires_grad_(False)
        before = copy.deepcopy(net.state_dict())
        batch = batch_of(processor)
        model.train()
        trunk = model.trunk(batch)
        model(batch).sum().backward()
        assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
        torch.testing.assert_close(trunk, model.trunk(batch))  # no dropout below what trains
        assert model.backbone.training and model.eval().backbone.training is False


def test_tuned_encoders_train() -> None:
    processor = processor_of({"words": "text", "picture": "image"}, fusion={"kind": "tokens", "from_layer": 0})
    model = model_of(processor, tuned_encoders=True).train()
    assert model.encoders["image"].training
    missing = collate([processor.sequence([row]) for row in ROWS if row.inputs["picture"] is None])
    for batch in (batch_of(processor), missing):
        model.zero_grad()
        model(batch).sum().backward()
        assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
