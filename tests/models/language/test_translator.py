"""The encoder–decoder: padding, order and pictures count for what they should, and a search step equals training's pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.errors import RunError
from sensorium.models.language.translator import Translator
from tests.models.small_translator import TAG, memory, sentences, translator

SOURCE, TARGET = [TAG, 4, 5, 6, 1], [TAG, 3, 5, 4]


def states(model: Translator, *pairs: tuple[list[int], list[int]], picture=None) -> torch.Tensor:  # type: ignore[no-untyped-def]
    with torch.no_grad():
        found, _ = model(*sentences(*(s for s, _ in pairs)), *sentences(*(t for _, t in pairs)), picture)
    return found


def test_padding_changes_nothing() -> None:
    model, longer = translator(), ([TAG, 3, 3, 4, 4, 5, 1], [TAG, 6, 6, 5, 4, 3, 3])
    alone, together = states(model, (SOURCE, TARGET)), states(model, (SOURCE, TARGET), longer)
    torch.testing.assert_close(together[: len(TARGET)], alone)
    torch.testing.assert_close(together[len(TARGET) :], states(model, longer))


def test_a_position_does_not_see_what_follows() -> None:
    model = translator()
    changed = states(model, (SOURCE, [*TARGET[:3], 6]))
    before = states(model, (SOURCE, TARGET))
    torch.testing.assert_close(changed[:3], before[:3])
    assert not torch.allclose(changed[3], before[3])


def test_order_and_every_word_of_the_source_count() -> None:
    model = translator()
    before = states(model, (SOURCE, TARGET))
    for other in ([TAG, 5, 4, 6, 1], [TAG, 4, 5, 3, 1]):
        assert not torch.allclose(states(model, (other, TARGET)), before)


def test_search_steps_equal_the_pass_of_training() -> None:
    model = translator()
    cache = model.start(memory(model, SOURCE, [TAG, 6, 1]))
    whole = states(model, (SOURCE, TARGET), ([TAG, 6, 1], TARGET)).view(2, len(TARGET), -1)
    with torch.no_grad():
        for step, token in enumerate(TARGET):
            logits = model.step(torch.tensor([[token], [token]]), cache)
            torch.testing.assert_close(logits[:, 0], model.logits(whole[:, step]))


def test_attention_in_numpy() -> None:
    """The first encoder layer's attention, by its formula: softmax(QKᵀ/√d)V, heads side by side."""
    layer = translator().encoder[0].own  # type: ignore[union-attr]
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        ours = layer(x, x, torch.zeros(1, 1, 1, 5, dtype=torch.float64)).numpy()[0]

    def affine(linear: torch.nn.Linear, values: np.ndarray) -> np.ndarray:
        return values @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()

    values = x.numpy()[0]
    q, kv = affine(layer.queries, values), affine(layer.both, values)  # type: ignore[arg-type]
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        scores = q[:, part] @ kv[:, :8][:, part].T / 2.0
        share = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        heads.append(share @ kv[:, 8:][:, part])
    np.testing.assert_allclose(ours, affine(layer.out, np.concatenate(heads, -1)), atol=1e-12)  # type: ignore[arg-type]


def test_a_picture_is_seen_and_a_missing_one_is_not() -> None:
    model = translator(picture_width=6)
    features = torch.randn(1, 3, 6, dtype=torch.float64)
    there, gone = torch.tensor([True]), torch.tensor([False])
    seen = states(model, (SOURCE, TARGET), picture=(features, there))
    other = torch.randn(1, 3, 6, dtype=torch.float64)
    assert not torch.allclose(seen, states(model, (SOURCE, TARGET), picture=(other, there)))
    torch.testing.assert_close(
        states(model, (SOURCE, TARGET), picture=(features, gone)), states(model, (SOURCE, TARGET))
    )
    assert not torch.allclose(seen, states(model, (SOURCE, TARGET)))


def test_saved_and_opened_it_is_the_same(tmp_path: Path) -> None:
    model = translator().float()
    model.save_pretrained(tmp_path)
    opened = Translator.open(tmp_path)
    assert opened.config.tags == {"de": TAG}
    torch.testing.assert_close(states(opened, (SOURCE, TARGET)), states(model, (SOURCE, TARGET)), rtol=0, atol=0)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the model cannot be read"):
        Translator.open(tmp_path)
