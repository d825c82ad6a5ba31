"""Stop texts end an answer wherever they lie in its pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.serving.engine.stops import StopTexts

PIECES = st.lists(st.text("ab<>", max_size=4), max_size=12)


@settings(max_examples=300, deadline=None)
@given(PIECES, st.lists(st.text("ab<>", min_size=1, max_size=4), max_size=3))
def test_what_is_said_ends_before_the_first_stop_and_holds_none_of_it(pieces: list[str], stops: list[str]) -> None:
    text = StopTexts(tuple(stops))
    said = ""
    for place, piece in enumerate(pieces):
        so_far = "".join(pieces[: place + 1])
        said += text.add(piece)
        assert so_far.startswith(said)
        if text.stopped:
            break
        assert not any(stop in so_far for stop in stops)
        held = so_far[len(said) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)  # no longer than it must
    else:
        assert said + text.end() == "".join(pieces)
        return
    ends = [so_far.find(stop) for stop in stops if stop in so_far]
    assert said == so_far[: min(ends)]
