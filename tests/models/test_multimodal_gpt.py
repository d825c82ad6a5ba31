"""Padding, sharing, late entry, the trunk and missing modalities change nothing that they should not."""

from __future__ import annotations

import copy

import pytest
import torch

from sensorium.data.collate import Sequence, collate
from sensorium.models.decoding import answer_log_likelihoods
from sensorium.models.multimodal_gpt import MultimodalGPT
from sensorium.recipe import AdaptRecipe
from tests.models.small import FEATURES, sequence, tiny_gpt, tiny_model

EARLY = [
    {"kind": "tokens", "from_layer": 0},
    {"kind": "tokens", "from_layer": 2},
    {"kind": "cross_attention", "from_layer": 1},
    {"kind": "cross_attention", "from_layer": 2, "every": 2},
]
PICTURE = torch.randn(3, FEATURES, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=["llama", "gpt2"])
def gpt(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("fusion", EARLY)
class TestEarlyFusion:
    def rows(self, model: MultimodalGPT) -> tuple[Sequence, Sequence]:
        return (
            sequence(model, [1, 9, 9, 9, 5, 6, 7], PICTURE, [1, 2, 3]),
            sequence(model, [1, 9, 9, 9, 5, 8], PICTURE, [1, 2, 3]),
        )

    def test_padding_changes_nothing(self, gpt: str, fusion: dict) -> None:
        model = tiny_model(gpt, **fusion)
        long, short = self.rows(model)
        together, alone = model.hidden_states(collate([long, short])), model.hidden_states(collate([short]))
        torch.testing.assert_close(together[1, :6], alone[0], atol=1e-5, rtol=0)

    def test_order_in_the_batch_changes_nothing(self, gpt: str, fusion: dict) -> None:
        model = tiny_model(gpt, **fusion)
        long, short = self.rows(model)
        one, other = model.hidden_states(collate([long, short])), model.hidden_states(collate([short, long]))
        torch.testing.assert_close(one[0], other[1], atol=1e-5, rtol=0)

    def test_rows_that_share_a_picture_equal_rows_apart(self, gpt: str, fusion: dict) -> None:
        model = tiny_model(gpt, **fusion)
        long, short = self.rows(model)
        shared = Sequence(
            [1, 9, 9, 9, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5, 6, 5], [0] * 5 + [1, 1, 2], [-1, 0, 0], long.media, [0, 1]
        )
        shared.memory = long.memory
        hidden = model.hidden_states(collate([shared]))[0]
        torch.testing.assert_close(hidden[:7], model.hidden_states(collate([long]))[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(hidden[7], model.hidden_states(collate([short]))[0, 5], atol=1e-5, rtol=0)

    def test_a_cached_trunk_changes_nothing(self, gpt: str, fusion: dict) -> None:
        model = tiny_model(gpt, **fusion)
        batch = collate(list(self.rows(model)))
        whole = model.hidden_states(batch)
        batch.trunk = model.trunk(batch)
        assert model.trunk_depth == min(fusion["from_layer"], 2)
        torch.testing.assert_close(model.hidden_states(batch), whole, atol=1e-6, rtol=0)

    def test_the_picture_matters_only_from_its_entry_on(self, gpt: str, fusion: dict) -> None:
        model = tiny_model(gpt, **fusion)
        one = collate([sequence(model, [1, 9, 9, 9, 5, 6], PICTURE, [1, 2, 3])])
        other = collate([sequence(model, [1, 9, 9, 9, 5, 6], PICTURE + 1, [1, 2, 3])])
        torch.testing.assert_close(model.trunk(one), model.trunk(other))
        assert (model.hidden_states(one)[0, -1] - model.hidden_states(other)[0, -1]).abs().max() > 1e-3

    def test_a_missing_picture_is_learned_and_never_looked_at(self, gpt: str, fusion: dict) -> None:
        model = tiny_model(gpt, **fusion)
        present = sequence(model, [1, 9, 9, 9, 5, 6], PICTURE, [1, 2, 3])
        missing = sequence(model, [1, 9, 5, 6], None, [1])
        together = model.hidden_states(collate([present, missing]))[1, :4]
        alone = model.hidden_states(collate([missing]))[0]
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
        with torch.no_grad():
            model.projectors["picture"].missing.normal_()  # not a shift: LayerNorm would not see it
        assert (model.hidden_states(collate([missing]))[0] - alone).abs().max() > 1e-3

    def test_every_trainable_parameter_has_a_gradient_whatever_is_missing(self, gpt: str, fusion: dict) -> None:
        model = tiny_model(gpt, inputs=("picture", "photo"), **fusion).train()
        model(collate([sequence(model, [1, 9, 5, 6], None, [1])])).sum().backward()
        without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []


def test_options_behind_a_shared_prompt_have_the_likelihood_they_have_alone() -> None:
    model = tiny_model(kind="tokens", from_layer=2)
    item = sequence(model, [1, 9, 9, 9, 5], PICTURE, [1, 2, 3], taught=0).media
    shared = Sequence([1, 9, 9, 9, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5, 6, 5], [0] * 5 + [1, 1, 2], [-1, 0, 0], item, [0])
    shared.sources, shared.answers, shared.owners, shared.answers_count = [4, 5, 4], [6, 7, 8], [0, 0, 1], 2
    apart = [
        sequence(model, [1, 9, 9, 9, 5, 6, 7], PICTURE, [1, 2, 3], taught=2),
        sequence(model, [1, 9, 9, 9, 5, 8], PICTURE, [1, 2, 3], taught=1),
    ]
    with torch.no_grad():
        together = answer_log_likelihoods(model, collate([shared]))
        alone = answer_log_likelihoods(model, collate(apart))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_eager_and_sdpa_see_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sdpa, eager = tiny_gpt(attention="sdpa"), tiny_gpt(attention="eager")
    eager.load_state_dict(sdpa.state_dict())
    one = tiny_model(kind="tokens", from_layer=2, adapt=AdaptRecipe(method="frozen"))
    other = copy.deepcopy(one)
    one.backbone, other.backbone = sdpa, eager
    batch = collate(
        [sequence(one, [1, 9, 9, 9, 5, 6], PICTURE, [1, 2, 3]), sequence(one, [1, 9, 9, 9], PICTURE, [1, 2, 3])]
    )
    torch.testing.assert_close(one.hidden_states(batch), other.hidden_states(batch), atol=1e-5, rtol=0)


def test_own_stack_equals_the_library_s_forward(gpt: str) -> None:
    """Without media, running layer by layer is what transformers does."""
    backbone = tiny_gpt(gpt)
    model = tiny_model(gpt, kind="tokens", adapt=AdaptRecipe(method="frozen"))
    model.backbone = backbone
    ids = [3, 7, 2, 9, 11]
    plain = Sequence(ids, list(range(5)), [0] * 5, [-1], [], [0])
    hidden = model.hidden_states(collate([plain]))
    with torch.no_grad():
        expected = backbone(input_ids=torch.tensor([ids])).logits
        torch.testing.assert_close(model.logits(hidden), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["concat", "weighted", "attention"])
def test_late_fusion_ignores_padding_and_learns_what_is_missing(kind: str) -> None:
    model = tiny_model(classes=3, kind=kind)
    long, short = sequence(model, [1, 5, 6, 7], PICTURE, []), sequence(model, [1, 8], None, [])
    together, alone = model(collate([long, short])), model(collate([short]))
    assert together.shape == (2, 3)
    torch.testing.assert_close(together[1], alone[0], atol=1e-5, rtol=0)


def test_modality_dropout_withholds_in_training_only() -> None:
    model = tiny_model(classes=3, kind="weighted")
    model.config.modality_dropout = 0.999999
    batch = collate([sequence(model, [1, 5, 6], PICTURE, [])])
    shown = model(batch)
    torch.testing.assert_close(model(batch), shown)
    model.train()
    assert (model(batch) - shown).abs().max() > 1e-4


def test_the_gpt_s_reading_is_withheld_together_with_the_text_that_it_reads() -> None:
    model = tiny_model(classes=3, kind="weighted")
    model.config.inputs = {"name": "text", "picture": "image"}
    model.config.modality_dropout = 0.5
    there = {name: torch.rand(400) < 0.9 for name in ("name", "picture")}
    there["gpt"] = there["name"].clone()
    model.train()
    torch.manual_seed(3)
    kept = model._withhold(there)
    assert torch.equal(kept["gpt"], kept["name"])
    assert not torch.equal(kept["picture"], kept["name"])
    for name, present in there.items():
        assert not (kept[name] & ~present).any() and 0.35 < float(kept[name].float().mean()) < 0.55
    model.eval()
    assert all(torch.equal(kept, there[name]) for name, kept in model._withhold(there).items())


@pytest.mark.parametrize(
    "method", ["lora", "dora", "rslora", "ia3", "vera", "oft", "prefix", "prompt", "p_tuning", "full", "frozen"]
)
def test_every_way_of_adapting_runs_and_trains_what_it_says(method: str) -> None:
    adapt = AdaptRecipe(method=method, rank=4, virtual_tokens=4)
    model = tiny_model(adapt=adapt, kind="tokens")
    batch = collate([sequence(model, [1, 9, 9, 9, 5, 6], PICTURE, [1, 2, 3])])
    model.train()
    model(batch).logsumexp(-1).sum().backward()
    trained = {name for name, p in model.backbone.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert bool(trained) == (method != "frozen")


def test_prefix_tuning_runs_whole_and_ignores_padding() -> None:
    model = tiny_model(adapt=AdaptRecipe(method="prefix", virtual_tokens=4), kind="tokens")
    assert model.stack is None
    long, short = (sequence(model, ids, PICTURE, [1, 2, 3]) for ids in ([1, 9, 9, 9, 5, 6, 7], [1, 9, 9, 9, 5]))
    together, alone = model.hidden_states(collate([long, short])), model.hidden_states(collate([short]))
    torch.testing.assert_close(together[1, :5], alone[0], atol=1e-5, rtol=0)
