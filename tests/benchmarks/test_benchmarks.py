"""What the benchmarks compute by themselves; the figures are theirs to make, on a quiet machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from benchmarks import common, fusion_table, spoken_questions, training_speed
from benchmarks.curves import Clock, PeakMemory, Watch, best, reaches
from benchmarks.flops import products, shapes
from benchmarks.peer import IGNORED, Questions, Schedule, Setup, build, collate, encode, train, validation_loss
from benchmarks.runs import packed, unpacked
from sensorium.data.bundled.dialogue import Conversation, Turn
from sensorium.data.rows import Example
from sensorium.models.processor import Processor, ProcessorSettings
from sensorium.recipe import Recipe
from tests.tiny_parts import llama

POSITIONS, WIDTH = 5, 6
ASKED = [
    ("which colour?", "red"),
    ("what is it, then?", "a blue circle"),
    ("square?", "no"),
    ("which?", "green circle"),
]


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def questions(gpt: Path) -> Questions:
    pictures = torch.randn(len(ASKED), POSITIONS, WIDTH, generator=torch.Generator().manual_seed(0))
    return Questions(AutoTokenizer.from_pretrained(gpt), ASKED, lambda place: pictures[place])


def peer_of(gpt: Path, setup: Setup):  # type: ignore[no-untyped-def]
    statistics = torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(1))
    return build(str(gpt), setup, rank=2, width_in=WIDTH, dropout=0.0, statistics=statistics, seed=0)


# -- results ---------------------------------------------------------------------------------------


def test_results_go_on_where_they_stopped_and_never_mix_settings(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        results = common.Results(tmp_path, "x", {"rows": 3})
        assert results.once("a/0", lambda: calls.append(1) or {"value": 2}) == {"value": 2}  # type: ignore[func-returns-value]
    assert calls == [1]
    results.write_table("# x")
    assert 'Settings: `{"rows": 3}`' in (tmp_path / "x.md").read_text()
    assert json.loads((tmp_path / "x.json").read_text())["about"]["packages"]["torch"]
    with pytest.raises(SystemExit, match="other rows"):
        common.Results(tmp_path, "x", {"rows": 4})


def test_tables_and_figures_read_as_markdown() -> None:
    assert common.table(["a", "b"], [["x", 1]]) == "| a | b |\n|---|---:|\n| x | 1 |\n"
    assert common.percent([0.5, 0.7]) == "60.0 ± 14.1"
    assert common.percent([0.5]) == "50.0"
    assert common.interval({"value": 0.5, "low": 0.25, "high": 1.0}) == "50.0 (25.0 to 100.0)"


# -- curves ----------------------------------------------------------------------------------------


def test_the_clock_stands_still_while_one_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.curves.time.monotonic", lambda: now[0])
    losses = iter([3.0, 1.0, 2.0])

    def measured() -> tuple[float, int]:
        now[0] += 100
        return next(losses), 7

    watch = Watch(Clock(), measured, every=2)
    for _ in range(5):
        now[0] += 1
        watch()
    watch.measure()
    watch.measure()  # the same step again is not measured again
    assert [(p["seconds"], p["step"], p["loss"]) for p in watch.points] == [(2, 2, 3.0), (4, 4, 1.0), (5, 5, 2.0)]
    assert watch.tokens == 7 and watch.evaluation_seconds == 300
    assert watch.seconds_per_step(warm=2) == 1.0
    assert best(watch.points)["step"] == 4
    assert reaches(watch.points, 2.5) == 4 and reaches(watch.points, 0.5) is None
    with pytest.raises(ValueError, match="too few"):
        watch.seconds_per_step(warm=5)


def test_peak_memory_sees_what_is_taken_and_given_back() -> None:
    with PeakMemory() as memory:
        before = memory.to_dict()["peak_resident"]
        block = torch.ones(64 * 2**20, dtype=torch.uint8)
        torch.zeros(1)
        import time

        time.sleep(0.3)
        del block
    found = memory.to_dict()
    if before:  # elsewhere than on Linux nothing is known
        assert found["peak_resident"] >= found["peak_anonymous"] >= 64 * 2**20


# -- the peer --------------------------------------------------------------------------------------


def test_the_peer_reads_and_is_taught_the_same_tokens_as_sensorium(gpt: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gpt)
    fusion = {"kind": "tokens", "from_layer": 0, "tokens": 4}
    settings = ProcessorSettings(
        "generate", {"picture": "image", "question": "text"}, "text", fusion=fusion, encoders={"picture": "image"}
    )
    processor = Processor(settings, tokenizer)
    cached = {"picture": lambda row: torch.zeros(POSITIONS, WIDTH)}
    for question, answer in ASKED:
        theirs = encode(tokenizer, question, answer, positions=POSITIONS)
        ours = processor.sequence([Example(0, {"picture": b"", "question": question}, answer)], cached=cached)
        assert theirs["input_ids"] == ours.ids[: len(theirs["input_ids"])]  # ours may end with the template's newline
        assert [i for i, slot in enumerate(theirs["slots"]) if slot] == ours.media[0].slots
        taught = [(place - 1, label) for place, label in enumerate(theirs["labels"]) if label != IGNORED]
        assert taught == list(zip(ours.sources, ours.answers))


def test_logits_at_supervised_positions_give_the_peers_loss(gpt: Path, questions: Questions) -> None:
    batch = collate([questions[i] for i in range(len(questions))])
    losses = []
    for only in (False, True):
        peer = peer_of(gpt, Setup(supervised_only=only)).float().eval()
        losses.append(float(peer(**batch)["loss"].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    value, tokens = validation_loss(peer, questions, batch_size=3)
    assert value == pytest.approx(losses[1], rel=1e-5) and tokens == int((batch["labels"] != IGNORED).sum())


@pytest.mark.parametrize("setup", [Setup(), Setup("bf16", "eager", True)], ids=["defaults", "tuned"])
def test_the_peer_trains_what_it_says(gpt: Path, questions: Questions, setup: Setup) -> None:
    peer = peer_of(gpt, setup)
    trained = {name: p.dtype for name, p in peer.named_parameters() if p.requires_grad and "projector" not in name}
    assert all("lora_" in name for name in trained) and any(".mlp.down_proj." in name for name in trained)
    assert set(trained.values()) == {torch.float32 if setup.adapters == "fp32" else torch.bfloat16}
    before = {name: p.detach().clone() for name, p in peer.named_parameters() if p.requires_grad}
    watch = Watch(Clock(), lambda: validation_loss(peer, questions), every=2)
    train(peer, questions, setup, Schedule(4, batch_size=2, learning_rate=0.01, warmup=0.0), watch)
    assert len(watch.ends) == 4 and len(watch.points) == 2
    assert peer.training and watch.points[-1]["loss"] < 6.5
    moved = [name for name, p in peer.named_parameters() if p.requires_grad and not torch.equal(p, before[name])]
    assert any("lora_B" in name for name in moved) and any("projector.layers" in name for name in moved)


# -- rates -----------------------------------------------------------------------------------------


def test_the_models_own_shapes(gpt: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(gpt)
    found = shapes(config, 40, 7)
    heads = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    assert found[0] == (40, config.hidden_size, config.hidden_size) and found[1] == (40, config.hidden_size, heads)
    assert found[-2:] == [
        (40, config.intermediate_size, config.hidden_size),
        (7, config.hidden_size, config.vocab_size),
    ]
    assert products(found, config.num_hidden_layers, repeats=1)["flops_per_second"] > 0


def test_a_peers_schedule_fits_its_time() -> None:
    pace = {"train_rows": 100, "seconds_per_step": 2.0}
    assert training_speed.peer_steps(3, None, pace) == 21
    assert training_speed.peer_steps(3, 0.5, pace) == 15
    assert training_speed.peer_steps(3, 0.001, pace) == 1


def test_wall_time_to_the_peers_best_loss() -> None:
    theirs = {
        "tokens": 9,
        "curve": [{"seconds": s, "step": s, "loss": v} for s, v in ((10, 3.0), (20, 1.5), (30, 1.6))],
    }
    ours = {"tokens": 9, "curve": [{"seconds": s, "step": s, "loss": v} for s, v in ((4, 2.0), (8, 1.5), (12, 1.2))]}
    found = training_speed.compared(ours, theirs)
    assert found == {"loss": 1.5, "theirs": 20, "ours": 8, "ratio": 0.4, "our_best": 1.2}
    assert training_speed.compared(theirs, ours)["ratio"] is None
    with pytest.raises(SystemExit, match="8 and 9 tokens"):
        training_speed.compared({**ours, "tokens": 8}, theirs)


def test_the_fastest_setup_of_each_kind_is_taken(tmp_path: Path) -> None:
    results = common.Results(tmp_path, "speed", {})
    for number, name in enumerate(training_speed.PEER_RATES):
        results.values[f"rate/{name}"] = {"rows_per_second": float(number)}
    assert training_speed.peer_setup(results, "defaults") == {"autocast": True}
    assert Setup(**training_speed.peer_setup(results, "tuned")) == Setup("bf16", "sdpa", True)


# -- fusion table ----------------------------------------------------------------------------------


def test_folds_keep_concepts_together_and_test_every_row_once() -> None:
    concepts = [str(i // 3) for i in range(300)]
    columns = fusion_table.fold_columns(concepts)
    assert sum(column.count("test") for column in columns) == 300
    for row in range(300):
        assert [column[row] for column in columns].count("test") == 1
    for column in columns:
        parts = {part: {c for c, p in zip(concepts, column) if p == part} for part in ("train", "validation", "test")}
        assert not parts["train"] & parts["test"] and not parts["train"] & parts["validation"]
        assert len(parts["test"]) == 20 and len(parts["validation"]) == 10


@pytest.mark.parametrize("variant", fusion_table.VARIANTS)
def test_every_variant_is_a_recipe(variant: str, tmp_path: Path) -> None:
    made = fusion_table.recipe_of(
        "emoji-group", {"data.target": "subgroup", **fusion_table.VARIANTS[variant]}, tmp_path, 3
    )
    assert isinstance(made, Recipe) and made.training.seed == made.data.split.seed == 3
    assert made.data.split.group_by == "concept" and made.data.target == "subgroup"
    expected = variant if variant in fusion_table.FUSIONS else "attention"
    assert made.model.fusion.kind == expected
    assert (made.model.text is None) == (variant in ("tokens", "cross_attention"))


def test_rows_are_kept_in_short() -> None:
    assert packed([3, 10, 7]) == "3 10 7" and unpacked("3 10 7") == [3, 10, 7]
    assert unpacked(packed([1.0, 0.0])) == [1, 0] and unpacked("") == []


def test_the_fusion_is_chosen_on_validation(tmp_path: Path) -> None:
    results = common.Results(tmp_path, "fusion", {})
    names = [*(f"logistic regression, {r}" for r in fusion_table.REFERENCES)]
    results.values["reference/group/0"] = {
        n.removeprefix("logistic regression, "): {"accuracy": 1 - i / 10, "validation": i / 10}
        for i, n in enumerate(names)
    }
    for i, fusion in enumerate(fusion_table.FUSIONS):
        results.values[f"{fusion}/group/0"] = {"accuracy": i / 10, "validation": 1 - i / 10}
    args = type("Args", (), {"variants": list(fusion_table.VARIANTS), "targets": ["group"], "seeds": [0]})()
    assert fusion_table.choose(results, args) == ("tokens", "image + MiniLM name")


def test_a_setup_names_one_line_of_the_table() -> None:
    found = [Setup(**setup) for setup in training_speed.PEER_RATES.values()]
    assert len(set(found)) == len(found) and replace(Setup()) in found


# -- spoken questions ------------------------------------------------------------------------------


def conversation() -> Conversation:
    turns = (Turn((b"one",), "Which class is it?", "Objects"), Turn((b"two",), "And this one?", "Flags"))
    return Conversation("this_one", "c1", "test", turns, "en-us", 150, 50, (0, 1))


def kinds(messages: list[dict]) -> list[list[str]]:
    return [[part["type"] for part in m["content"]] for m in messages if m["role"] == "user"]


def test_a_question_without_its_history_keeps_the_system_the_question_and_the_answer() -> None:
    whole = spoken_questions.asked(conversation(), "typed")
    alone = spoken_questions.asked(conversation(), spoken_questions.ALONE)
    shown = spoken_questions.asked(conversation(), spoken_questions.SHOWN)
    assert kinds(whole) == [["image_url", "text"], ["image_url", "text"]]
    assert alone == [whole[0], whole[3], whole[4]]
    assert kinds(shown) == [["image_url", "image_url", "text"]] and shown[1]["content"][0] == whole[1]["content"][0]
    assert shown[1]["content"][1:] == whole[3]["content"]  # the earlier turns' words and answers are gone


def test_spoken_forms_say_the_same_questions() -> None:
    for form in spoken_questions.LEVELS:
        said = spoken_questions.asked(conversation(), form)
        assert kinds(said) == [["image_url", "input_audio"], ["image_url", "input_audio"]]
        assert [m["content"] for m in said if m["role"] == "assistant"] == ["Objects", "Flags"]


def test_gains_are_paired_and_in_points() -> None:
    before, after = [0, 0, 1, 1] * 10, [1, 0, 1, 1] * 10
    assert spoken_questions.gain(before, after, [str(i) for i in range(40)]).startswith("+25.0 (")
    assert spoken_questions.share(after, ["a", "b"] * 20).startswith("75.0 (")
