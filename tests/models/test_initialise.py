"""What new parts start from: standardised features, at the size of the stream that they join."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sensorium.data.collate import collate
from sensorium.models.initialise import fit_projectors, match_sizes
from tests.models.small import FEATURES, sequence, tiny_model


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize("layer", [0, 2])
def test_projected_features_join_at_the_stream_s_own_size(gpt: str, layer: int) -> None:
    model = tiny_model(gpt, kind="tokens", from_layer=layer)
    pictures = [torch.randn(3, FEATURES) * 7 + 3 for _ in range(4)]
    batch = collate([sequence(model, [1, 9, 9, 9, 5, 6, 7 + i], p, [1, 2, 3]) for i, p in enumerate(pictures)])
    (name,) = batch.media
    fit_projectors(model, {name: torch.stack([picture[0] for picture in pictures])})
    match_sizes(model, batch)
    found = model.project(batch)[name].detach().numpy()
    seen: list[torch.Tensor] = []
    stack = model.stack
    assert stack is not None
    hook = stack.layers[layer].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model._place = lambda hidden, *_: hidden  # type: ignore[method-assign]  the stream as it is without pictures
    with torch.no_grad():
        model.hidden_states(batch)
    hook.remove()
    stream = np.sqrt(np.square(seen[0].detach().numpy()).mean(-1))
    np.testing.assert_allclose(
        np.sqrt(np.square(found).mean(-1)).mean(), np.quantile(stream, 0.5, method="lower"), rtol=1e-4
    )


def test_what_is_missing_everywhere_changes_nothing() -> None:
    model = tiny_model("llama", kind="tokens", from_layer=1)
    batch = collate([sequence(model, [1, 9, 5, 6], None, [1])])
    match_sizes(model, batch)
    assert all(float(projector.gain) == 1.0 for projector in model.projectors.values())
