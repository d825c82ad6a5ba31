"""What the GPT reads and is taught: the chat template's words, answers and their ends alone, media never cut, no leaks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sensorium.data.collate import MediaItem, Sequence, collate
from sensorium.data.messages import MediaPart, Message, TextPart, from_openai
from sensorium.data.rows import Example
from sensorium.errors import DataError
from sensorium.models.decoding import answer_log_likelihoods
from sensorium.models.sequences import Flat, Token, end_of_turn, flatten, join, options, plain
from tests.small_data import picture
from tests.tiny_models import model_of, part, processor_of

EARLY = [
    {"kind": "tokens", "from_layer": 0},
    {"kind": "tokens", "from_layer": 2},
    {"kind": "cross_attention", "from_layer": 1},
]
SPECIAL = ["<|start|>", "<|end|>", "[PAD]"]


@pytest.fixture(scope="module")
def chat() -> Any:
    return AutoTokenizer.from_pretrained(part("llama"))


@pytest.fixture(scope="module")
def bare() -> Any:
    return AutoTokenizer.from_pretrained(part("gpt2"))  # without a chat template


def turn(role: Any, *parts: str | MediaPart) -> Message:
    return Message(role, tuple(TextPart(p) if isinstance(p, str) else p for p in parts))


SHOWN = MediaPart("image", "picture", "a.png")


def flat(tokenizer: Any, messages: list[Message], counts: tuple[int, ...] = (), **options: Any) -> Flat:
    given = {"placeholders": True, "answering": False, "max_text_tokens": 512} | options
    media = [MediaItem("picture", None, count) for count in counts]
    return flatten(messages, tokenizer, media, [str(i) for i in range(len(counts))], **given)


# -- the template ----------------------------------------------------------------------------------

benign = st.text("abcdefgh ijklmno,.?!é", min_size=1, max_size=30).map(str.strip).filter(bool)


@settings(max_examples=40)
@given(st.lists(st.tuples(benign, benign), min_size=1, max_size=3), st.booleans(), st.booleans())
def test_benign_chats_are_tokenised_as_the_template_s_own(turns: list, system: bool, answering: bool) -> None:
    chat = AutoTokenizer.from_pretrained(part("llama"))
    messages = [turn("system", "be kind")] if system else []
    messages += [turn(role, text) for pair in turns for role, text in zip(("user", "assistant"), pair, strict=True)]
    messages = messages[:-1] if answering else messages
    plainly = [{"role": m.role, "content": m.text} for m in messages]
    expected = chat.apply_chat_template(plainly, add_generation_prompt=answering, return_dict=False)
    assert [t.id for t in flat(chat, messages, answering=answering).tokens] == expected


def test_without_a_template_turns_are_lines_and_answers_end(bare: Any) -> None:
    made = flat(bare, [turn("user", "what is it?"), turn("assistant", "a cat")])
    assert bare.decode([t.id for t in made.tokens]) == "user:\nwhat is it?\nassistant:\na cat<|end|>\n"
    assert bare.decode([t.id for t in made.tokens if t.taught]) == "a cat<|end|>"
    prompt = flat(bare, [turn("user", "what is it?")], answering=True)
    assert bare.decode([t.id for t in prompt.tokens]) == "user:\nwhat is it?\nassistant:\n"


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from([*SPECIAL, "\n", "user", " a", "assistant\n", "\ue0000\ue001", "\ue0001\ue001"]), max_size=8
    )
)
def test_hostile_words_never_become_special_tokens_or_turns(pieces: list[str]) -> None:
    chat = AutoTokenizer.from_pretrained(part("llama"))
    words = "x" + "".join(pieces)
    hostile, tame = (flat(chat, [turn("user", w, SHOWN), turn("assistant", w)], (2,)) for w in (words, "x"))
    special = set(chat.all_special_ids)

    def structure(made: Flat) -> list[Token]:
        return [t for t in made.tokens if t.id in special or t.medium is not None]

    assert structure(hostile) == structure(tame)
    assert chat.decode([t.id for t in hostile.tokens if t.taught]) == words + "<|end|>"
    taught = options([words], chat)[0]
    assert taught[:-1] == [t for t in hostile.tokens if t.taught][:-1] and taught[-1].id == chat.eos_token_id
    assert not {t.id for t in taught[:-1]} & special
    read = plain({"words": words}, chat, [], [], placeholders=True, max_text_tokens=512).tokens
    assert [t.id for t in read if t.id in special] == [chat.bos_token_id]


def test_a_template_that_refuses_is_told_in_one_line(chat: Any) -> None:
    strict = copy.deepcopy(chat)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(
        DataError, match=r"the chat template refuses these turns .*roles must alternate.*order of roles"
    ):
        flat(strict, [turn("user", "a")])


def test_the_end_of_a_turn_is_the_template_s_own_token(chat: Any) -> None:
    gemma = copy.deepcopy(chat)
    gemma.chat_template = chat.chat_template.replace("<|end|>", "[PAD]")  # ends turns by another token than eos
    assert (end_of_turn(chat), end_of_turn(gemma)) == (chat.eos_token_id, chat.pad_token_id)
    made = flat(gemma, [turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")])
    assert gemma.decode([t.id for t in made.tokens if t.taught]) == "b[PAD]d[PAD]"
    assert options(["b"], gemma)[0] == [t for t in made.tokens if t.taught][:2]


def test_answers_end_even_where_the_template_ends_no_turn(chat: Any) -> None:
    endless = copy.deepcopy(chat)
    endless.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    made = flat(endless, [turn("user", "a"), turn("assistant", "b")])
    assert endless.decode([t.id for t in made.tokens if t.taught]) == "b<|end|>"
    assert endless.decode([t.id for t in made.tokens]) == "user: a\nassistant: b<|end|>\n"


# -- what is taught --------------------------------------------------------------------------------


def test_answers_and_their_ends_are_taught_each_from_the_place_before(chat: Any) -> None:
    made = flat(chat, [turn("user", SHOWN, "what is it?"), turn("assistant", "a red circle")], (3,))
    sequence = join([made], [7])
    assert chat.decode(sequence.answers) == "a red circle<|end|>"
    assert [sequence.ids[source + 1] for source in sequence.sources] == sequence.answers
    assert sequence.owners == [0] * len(sequence.answers) and sequence.answers_count == 1 and sequence.rows == [7]
    assert sequence.positions == list(range(len(sequence.ids))) and sequence.parents == [-1]


def test_every_turn_of_the_assistant_is_taught_and_pictures_stand_where_they_were_shown(chat: Any) -> None:
    messages = [
        turn("system", "look"),
        turn("user", SHOWN, "first?"),
        turn("assistant", "one"),
        turn("user", "and", SHOWN, "these", SHOWN),
        turn("assistant", "two"),
    ]
    made = flat(chat, messages, (2, 3, 1))
    assert chat.decode([t.id for t in made.tokens if t.taught]) == "one<|end|>two<|end|>"
    runs = [(n, [i for i, t in enumerate(made.tokens) if t.medium and t.medium[0] == n]) for n in range(3)]
    assert [len(run) for _, run in runs] == [2, 3, 1]
    assert all(run == list(range(run[0], run[0] + len(run))) for _, run in runs)
    told = "".join("#" if t.medium else chat.decode([t.id]) for t in made.tokens)
    assert told == (
        "<|start|>system\nlook<|end|>\n<|start|>user\n##first?<|end|>\n<|start|>assistant\none<|end|>\n"
        "<|start|>user\nand###these#<|end|>\n<|start|>assistant\ntwo<|end|>\n"
    )
    sequence = join([made], [0])
    assert [item.slots for item in sequence.media] == [run for _, run in runs]
    untaught = flat(chat, messages[:-1], (2, 3, 1), answering=True)
    assert not any(t.taught for t in untaught.tokens)


def test_an_answer_in_several_parts_is_taught_whole(chat: Any) -> None:
    made = flat(chat, [turn("user", "a"), turn("assistant", "one", " two")])
    assert chat.decode([t.id for t in made.tokens if t.taught]) == "one two<|end|>"


def test_an_empty_answer_is_taught_to_end(chat: Any) -> None:
    made = flat(chat, [turn("user", "a"), turn("assistant", "")])
    assert [t.id for t in made.tokens if t.taught] == [chat.eos_token_id]


def test_openai_s_chats_come_through(chat: Any) -> None:
    raw = [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "?"}],
        },
        {"role": "assistant", "content": "red"},
    ]
    made = flat(chat, from_openai(raw), (2,))
    assert [t.medium for t in made.tokens if t.medium] == [(0, 0), (0, 1)]


# -- cutting ---------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(8, 50), st.integers(1, 6))
def test_long_texts_are_cut_to_the_limit_and_media_and_template_never(
    lengths: list[int], limit: int, count: int
) -> None:
    chat = AutoTokenizer.from_pretrained(part("llama"))
    alone = [len(chat.encode("z" * n, add_special_tokens=False)) for n in lengths]
    messages = [turn("user", "z" * n, SHOWN) for n in lengths] + [turn("assistant", "")]
    made = flat(chat, messages, (count,) * len(lengths), max_text_tokens=limit)
    nothing = flat(chat, [turn("user", SHOWN)] * len(lengths) + [turn("assistant", "")], (count,) * len(lengths))
    kept = [0] * len(lengths)
    which = 0
    z = set(chat.encode("z", add_special_tokens=False)) | set(chat.encode("zz", add_special_tokens=False))
    for token in made.tokens:
        which += token.medium is not None and token.medium[1] == 0
        kept[min(which, len(kept) - 1)] += token.id in z
    assert len(made.tokens) - len(nothing.tokens) == sum(kept) == min(sum(alone), limit)
    assert [t for t in made.tokens if t.medium] == [t for t in nothing.tokens if t.medium]
    level = max(kept)
    assert all(k == a or k >= level - 1 for k, a in zip(kept, alone, strict=True))  # only the longest are cut


def test_a_thousand_long_texts_are_cut_at_once(chat: Any) -> None:
    """One token at a time this would take minutes."""
    made = flat(chat, [turn("user", "z" * 400)] * 1000, max_text_tokens=2000)
    per_turn = len(flat(chat, [turn("user", "")]).tokens)
    assert len(made.tokens) == 1000 * per_turn + 2000


# -- rows that classify ----------------------------------------------------------------------------


def test_several_columns_are_named_in_every_row_one_is_not(chat: Any) -> None:
    def told(texts: dict[str, str]) -> str:
        return chat.decode([t.id for t in plain(texts, chat, [], [], placeholders=True, max_text_tokens=99).tokens[1:]])

    assert told({"a": "x", "b": "y"}) == "a: x\nb: y\n"
    assert told({"a": "", "b": "y"}) == "b: y\n"
    assert told({"a": "x"}) == "x"
    assert plain({"a": ""}, chat, [], [], placeholders=True, max_text_tokens=9).tokens == []
    assert len(plain({"a": ""}, chat, [], [], placeholders=True, max_text_tokens=9, always=True).tokens) == 1


# -- rows that share -------------------------------------------------------------------------------


def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [picture(colour, rng, 16) for colour in ("red", "green")]


def logits_of(model: Any, sequences: list[Sequence]) -> list[torch.Tensor]:
    """Each answer's logits, in order of owners."""
    batch = collate(sequences)
    with torch.no_grad():
        found = model(batch)
    return [found[batch.owners == owner] for owner in range(batch.answers_count)]


def assert_shared_equals_apart(processor: Any, model: Any, rows: list[Example]) -> Sequence:
    shared = processor.sequence(rows)
    together = logits_of(model, [shared])
    apart = logits_of(model, [processor.sequence([row]) for row in rows])
    assert len(together) == len(apart) == len(rows)
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    return shared


ASKED = {"picture": "image", "words": "text"}


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize("fusion", EARLY)
def test_rows_about_one_picture_equal_rows_apart(gpt: str, fusion: dict) -> None:
    processor = processor_of(ASKED, fusion=fusion, gpt=gpt)
    model = model_of(processor, gpt=gpt)
    red, green = pictures()
    asked = [("which colour?", "red"), ("which shape is it?", "a square"), ("which", "no"), ("which colour?", "blue")]
    rows = [Example(i, {"picture": red, "words": q}, a) for i, (q, a) in enumerate(asked)]
    shared = assert_shared_equals_apart(processor, model, rows)
    assert len(shared.media) == 1 and len(shared.parents) == 5
    once = sum(len(processor.sequence([row]).ids) for row in rows)
    assert len(shared.ids) < once
    # other pictures are never shared, though their tokens are alike
    rows[1] = Example(1, {"picture": green, "words": "which shape is it?"}, "a square")
    assert len(assert_shared_equals_apart(processor, model, rows).media) == 4
    # nor is a missing one taken for a picture
    rows[1] = Example(1, {"picture": None, "words": "which shape is it?"}, "a square")
    assert_shared_equals_apart(processor, model, rows)


@pytest.mark.parametrize("fusion", EARLY)
def test_chats_with_several_pictures_share_what_they_begin_with(fusion: dict) -> None:
    """The first picture stands in the common start, the second behind words that differ."""
    processor = processor_of({"image_url": "image"}, fusion=fusion)
    processor.settings.inputs = {}
    model = model_of(processor)
    red, green = pictures()

    def row(number: int, word: str, second: bytes) -> Example:
        first, other = (MediaPart("image", "image_url", data) for data in (red, second))
        messages = [turn("user", first, word), turn("assistant", "yes"), turn("user", other), turn("assistant", word)]
        return Example(number, {"messages": messages}, word)

    same = assert_shared_equals_apart(processor, model, [row(0, "what", green), row(1, "who", green)])
    if fusion["kind"] == "tokens":
        assert [(item.branch, len(item.slots)) for item in same.media] == [(0, 5), (1, 5), (2, 5)]
    assert_shared_equals_apart(processor, model, [row(0, "what", green), row(1, "who", red)])


@pytest.mark.parametrize("fusion", EARLY)
def test_rows_with_other_cells_never_share_a_table(fusion: dict) -> None:
    rows = [
        Example(i, {"picture": pictures()[0], "words": f"word {i}", "size": float(i), "shop": "ab"[i]}, "red")
        for i in range(2)
    ]
    inputs = ASKED | {"size": "number", "shop": "category"}
    processor = processor_of(inputs, rows=rows, fusion=fusion)
    assert_shared_equals_apart(processor, model_of(processor), rows)


@pytest.mark.parametrize("gpt", ["llama", "gpt2"])
@pytest.mark.parametrize("fusion", EARLY)
def test_choices_behind_one_prompt_have_the_likelihood_they_have_alone(gpt: str, fusion: dict) -> None:
    processor = processor_of(ASKED, fusion=fusion, gpt=gpt)
    model = model_of(processor, gpt=gpt)
    row = Example(0, {"picture": pictures()[0], "words": "which colour?"}, None)
    choices = ["red", "reddish", "blue green", "", "red", "é"]
    with torch.no_grad():
        together = answer_log_likelihoods(model, collate([processor.sequence([row], choices=choices)]))
        apart = [Example(i, row.inputs, choice) for i, choice in enumerate(choices)]
        alone = answer_log_likelihoods(model, collate([processor.sequence([one]) for one in apart]))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=6), st.integers(1, 3))
def test_a_trie_of_answers_predicts_each_token_behind_the_ones_before_it(answers: list[list[int]], prompt: int) -> None:
    end = 9
    tails = [[Token(i, True) for i in [*answer, end]] for answer in answers]
    sequence = join([Flat([Token(50)] * prompt, [], [])], [0], tails)
    line: dict[int, list[int]] = {}
    for branch, parent in enumerate(sequence.parents):
        line[branch] = [branch] + (line[parent] if parent >= 0 else [])
    found: dict[int, list[int]] = {n: [] for n in range(len(answers))}
    for source, answer, owner in zip(sequence.sources, sequence.answers, sequence.owners, strict=True):
        branch = sequence.branches[source]
        seen = [i for i in range(source + 1) if sequence.branches[i] in line[branch]]
        read = [sequence.ids[i] for i in seen]
        assert read == [50] * prompt + [*answers[owner]][: len(read) - prompt]
        assert [sequence.positions[i] for i in seen] == list(range(len(read)))
        assert answer == [*answers[owner], end][len(read) - prompt]
        found[owner].append(len(read) - prompt)
    assert all(sorted(depths) == list(range(len(answers[n]) + 1)) for n, depths in found.items())
    prefixes = {tuple(a[:k]) for a in answers for k in range(1, len(a) + 1)}
    assert len(sequence.ids) == prompt + len(prefixes)
