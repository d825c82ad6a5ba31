"""The model on disk, its refusals, its own tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sensorium.errors import RecipeError, RunError
from sensorium.models.backbone import causal_lm, load_backbone
from sensorium.models.drawing.drawing_gpt import DrawingGPT, drawing_gpt
from sensorium.models.drawing.sequences import batch_of, draw
from sensorium.models.fusion import rms
from sensorium.recipe import AdaptRecipe
from tests.models.drawing.small_drawer import FEATURES, codes_of, drawer
from tests.models.drawing.test_sequences import every_form
from tests.models.small import VOCABULARY, WIDTH, tiny_gpt


@pytest.mark.parametrize("adapt", [None, AdaptRecipe(method="lora", layers=2), AdaptRecipe(method="frozen")])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_saved_model_gives_the_same_logits(kind: str, adapt: AdaptRecipe | None, tmp_path: Path) -> None:
    model = drawer(kind, adapt=adapt)
    model.save_pretrained(tmp_path)
    opened = DrawingGPT.open(tmp_path)
    assert (tmp_path / "adapter").is_dir() == (adapt is not None and adapt.method == "lora")
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.pt"))
    batch = batch_of(every_form(), model.vocabulary)
    with torch.no_grad():
        for mine, theirs in zip(model(batch), opened(batch), strict=True):
            assert torch.equal(mine, theirs)


def test_with_adapters_the_pretrained_weights_are_linked_and_the_words_table_is_untouched(tmp_path: Path) -> None:
    source = tmp_path / "gpt"
    tiny_gpt().save_pretrained(source)
    model = drawer(adapt=AdaptRecipe(method="lora", layers=2))
    before = causal_lm(model.backbone).get_input_embeddings().weight.clone()
    batch = batch_of(every_form(), model.vocabulary)
    words, codes = model.train()(batch)
    (words.logsumexp(-1).sum() + codes.logsumexp(-1).sum()).backward()
    learns = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {
        "grown.weight",
        "levels.table.weight",
        "levels.head.weight",
        "code_head.weight",
        "end_head.weight",
        "place_rows.weight",
    } <= learns
    assert all("lora_" in name for name in learns if name.startswith("backbone."))
    model.save_pretrained(tmp_path / "model", source=source)
    weights = tmp_path / "model" / "backbone" / "model.safetensors"
    assert weights.samefile(source / "model.safetensors")
    kept = load_backbone(tmp_path / "model" / "backbone", dtype=torch.float32, attention="sdpa")
    assert torch.equal(kept.get_input_embeddings().weight, before)


def test_a_damaged_model_is_refused_in_a_line(tmp_path: Path) -> None:
    drawer().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="cannot be read"):
        DrawingGPT.open(tmp_path)
    with pytest.raises(RunError, match="cannot be read"):
        DrawingGPT.open(tmp_path / "nowhere")


def test_what_cannot_be_combined_is_refused() -> None:
    with pytest.raises(RecipeError, match="virtual tokens"):
        drawing_gpt(tiny_gpt(), (5, 4), 3, adapt={"method": "prefix"})
    with pytest.raises(RecipeError, match="no room for words"):
        drawing_gpt(tiny_gpt(), (5, 4), 32)


def test_room_is_what_fits_the_window() -> None:
    model = drawer()
    words = [1] * model.room("draw")
    assert len(draw(model.vocabulary, words, codes_of(1)[0]).ids) == model.config.window
    assert model.room("caption", features=4) == model.room("draw") - 4
    assert model.room("edit") == model.room("draw") - 10


def test_what_is_grown_starts_at_the_words_own_size() -> None:
    model = drawing_gpt(tiny_gpt(), (20, 20), 3, feature_width=FEATURES)
    words = model.backbone.get_input_embeddings().weight
    assert abs(float(model.grown.weight.detach().std() / words.detach().std()) - 1) < 0.1
    features = torch.randn(30, 4, FEATURES) * 7 + 3
    model.fit_reader(features)
    assert model.reader is not None
    read = model.reader(features, torch.ones(30, dtype=torch.bool))
    assert abs(float((rms(read).mean() / rms(words).mean()).detach()) - 1) < 0.01


def test_a_word_is_foretold_among_words_and_the_end() -> None:
    model = drawer()
    words, codes = model(batch_of(every_form(), model.vocabulary))
    assert words.shape[1] == VOCABULARY + 1 and codes.shape[1] == 20 and words.dtype == codes.dtype == torch.float32
    hidden = torch.randn(3, WIDTH)
    logits = model.word_logits(hidden)
    assert torch.allclose(logits[:, :-1], model.backbone.get_output_embeddings()(hidden))
