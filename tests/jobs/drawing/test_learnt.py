"""A prompt in words that a run has not learnt is refused, and says what the run did learn."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import DataError, RunError
from sensorium.jobs.drawing.learnt import FILE, Learnt, open_learnt, save_learnt, scripts, words_of

PROMPTS = ["red apple", "woman firefighter: dark skin tone", "man in steamy room", "keycap: 1"]


@pytest.fixture
def learnt(tmp_path: Path) -> Learnt:
    save_learnt(tmp_path, PROMPTS, ["en"], pretrained=False)
    return open_learnt(tmp_path)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("красное яблоко", "the words are written in Cyrillic letters; this run learnt English"),
        ("赤いりんご", "letters; this run learnt English"),
        ("تفاحة حمراء", "written in Arabic letters"),
        ("ein Haus in Berlin", "none of the words was learnt; this run learnt English"),
        ("une pomme", "none of the words was learnt"),
        ("firefigther", "none of the words was learnt; did you mean firefighter?"),
        ("🦊", "there are no words"),
        ("?!", "there are no words"),
    ],
)
def test_another_language_is_refused(learnt: Learnt, prompt: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        learnt.check(prompt)
    assert said in str(caught.value) and str(caught.value).startswith("prompt: ")


@pytest.mark.parametrize(
    ("prompt", "unlearnt"),
    [
        ("red apple", []),
        ("RED  Apple!", []),
        ("\uff52\uff45\uff44 apple", []),  # the wide forms of Latin letters
        ("red π apple", ["π"]),
        ("a purple apple", ["a", "purple"]),
        ("1", []),
    ],
)
def test_what_was_not_learnt_is_named(learnt: Learnt, prompt: str, unlearnt: list[str]) -> None:
    assert learnt.check(prompt) == unlearnt


def test_without_the_languages_name_its_letters_and_words_are_told(tmp_path: Path) -> None:
    save_learnt(tmp_path, ["roter apfel", "roter hut"], pretrained=False)
    with pytest.raises(DataError, match="this run learnt words in Latin letters, such as roter, apfel, hut"):
        open_learnt(tmp_path).check("яблоко")


def test_a_pretrained_gpt_knows_more_words_but_no_other_letters(tmp_path: Path) -> None:
    save_learnt(tmp_path, PROMPTS, ["en"], pretrained=True)
    learnt = open_learnt(tmp_path)
    assert learnt.check("a kitten") == []
    with pytest.raises(DataError, match="Cyrillic"):
        learnt.check("котёнок")


def test_a_run_without_the_file_lets_everything_pass_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    assert open_learnt(tmp_path).check("яблоко") == []
    (tmp_path / FILE).write_text('{"words": 3}')
    with pytest.raises(RunError, match="is damaged"):
        open_learnt(tmp_path)


@given(st.text(max_size=60))
def test_any_text_passes_or_is_refused_in_a_line(text: str) -> None:
    learnt = Learnt(("red", "apple"), ("en",))
    try:
        unlearnt = learnt.check(text)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert set(unlearnt) < set(words_of(text))
    assert sum(scripts([text]).values()) >= 0
