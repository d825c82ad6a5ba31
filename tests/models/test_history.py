"""Long conversations: system and newest turns stay whole; sounds in words; a row's cells told first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.models.history import in_words, newest, told_first

SHOWN = MediaPart("image", "image_url", "a.png")
SAID = MediaPart("audio", "input_audio", "a.wav")


def turn(role: str, words: str, *media: MediaPart) -> Message:
    return Message(role, (*media, TextPart(words)))  # type: ignore[arg-type]


def size(message: Message) -> tuple[int, int]:
    """A token a word; a picture takes ten."""
    media = sum(isinstance(part, MediaPart) for part in message.parts)
    return len(message.text.split()), 10 * media


TALK = [
    turn("system", "be brief"),
    turn("user", "one two three", SHOWN),
    turn("assistant", "four"),
    turn("user", "five six", SHOWN),
    turn("assistant", "seven"),
    turn("user", "eight"),
    turn("assistant", "nine"),
]


def test_what_fits_stays_as_it_is() -> None:
    assert newest(TALK, size, 11, None) == TALK
    assert newest(TALK, size, 11, 31) == TALK


def test_the_oldest_exchange_goes_first_and_goes_whole() -> None:
    assert newest(TALK, size, 10, None) == [TALK[0], *TALK[3:]]
    assert newest(TALK, size, 6, None) == [TALK[0], *TALK[5:]]


def test_media_count_towards_the_whole_and_not_towards_the_text() -> None:
    assert newest(TALK, size, 11, 30) == [TALK[0], *TALK[3:]]
    assert newest(TALK, size, 11, 16) == [TALK[0], *TALK[5:]]


def test_the_last_exchange_stays_however_long_and_system_turns_stay_where_they_are() -> None:
    assert newest(TALK, size, 1, 1) == [TALK[0], *TALK[5:]]
    late = [TALK[1], TALK[2], TALK[0], *TALK[3:]]
    assert newest(late, size, 10, None) == late[2:]
    assert newest([TALK[0], TALK[1]], size, 0, 0) == [TALK[0], TALK[1]]


def test_words_before_any_question_are_the_first_to_go() -> None:
    greeted = [turn("assistant", "good day to you"), *TALK[1:3]]
    assert newest(greeted, size, 8, None) == greeted and newest(greeted, size, 7, None) == TALK[1:3]


@given(
    st.lists(
        st.tuples(st.sampled_from(["system", "user", "assistant"]), st.integers(0, 5), st.booleans()), max_size=12
    ),
    st.integers(0, 30),
    st.one_of(st.none(), st.integers(0, 60)),
)
def test_what_is_kept_is_an_end_that_begins_with_the_user(turns: list, text: int, whole: int | None) -> None:
    talk = [turn(role, "w " * words, *([SHOWN] if media and role == "user" else [])) for role, words, media in turns]
    kept = newest(talk, size, text, whole)
    system = [message for message in talk if message.role == "system"]
    others = [message for message in talk if message.role != "system"]
    found = [message for message in kept if message.role != "system"]
    assert [message for message in kept if message.role == "system"] == system
    assert found == others[len(others) - len(found) :]
    if len(found) < len(others):
        assert found[0].role == "user"
    words = sum(size(message)[0] for message in kept)
    places = sum(sum(size(message)) for message in kept)
    fits = words <= text and (whole is None or places <= whole)
    users = [message for message in found if message.role == "user"]
    assert fits or len(users) <= 1  # only a last exchange may be longer


def test_cells_stand_before_the_first_users_words() -> None:
    told = told_first(TALK, "hour: 17")
    assert told[1].parts == (TextPart("hour: 17"), SHOWN, TextPart("one two three"))
    assert told[0] == TALK[0] and told[2:] == TALK[2:]
    assert told_first([turn("user", "hi")], "hour: 17")[0].parts == (TextPart("hour: 17\n"), TextPart("hi"))
    assert told_first(TALK, "") == TALK and told_first([], "hour: 17") == []


def test_a_sound_in_words_takes_its_place_or_follows_it() -> None:
    parts = (SHOWN, SAID, TextPart("please"))
    assert in_words(parts, lambda _: "what is it", False) == (SHOWN, TextPart("what is it\n"), TextPart("please"))
    assert in_words(parts, lambda _: "what is it", True) == (SHOWN, SAID, TextPart("what is it\n"), TextPart("please"))
    assert in_words((SAID,), lambda _: "what", False) == (TextPart("what"),)


def test_a_sound_without_words_leaves_nothing_in_words() -> None:
    assert in_words((SHOWN, SAID), lambda _: "", False) == (SHOWN,)
    assert in_words((SHOWN, SAID), lambda _: "", True) == (SHOWN, SAID)
    texts = (TextPart("a"), TextPart("b"))
    assert in_words(texts, lambda _: "never asked", False) == texts  # what the user wrote is not touched
