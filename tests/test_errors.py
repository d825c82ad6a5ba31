"""One error is one line: what, where, and the mend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium import errors
from sensorium.errors import SensoriumError

CHILDREN = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SensoriumError)]


def test_a_line_says_where_what_and_the_mend() -> None:
    error = SensoriumError("not a picture", where="t.csv row 17", mend="give a PNG")
    assert str(error) == "t.csv row 17: not a picture; give a PNG"
    assert (error.what, error.where, error.mend) == ("not a picture", "t.csv row 17", "give a PNG")
    assert str(SensoriumError("not a picture")) == "not a picture"


@pytest.mark.parametrize("kind", CHILDREN, ids=lambda kind: kind.__name__)
def test_every_kind_exits_2_but_an_interruption(kind: type[SensoriumError]) -> None:
    assert kind("x").exit_code == (130 if kind is errors.Interrupted else 2)
    assert kind.__doc__


@given(what=st.text(), where=st.text(), mend=st.text())
def test_whatever_a_cell_holds_an_error_is_one_printable_line(what: str, where: str, mend: str) -> None:
    line = str(SensoriumError(what, where=where, mend=mend))
    assert line.isprintable()
    assert len(line) <= 3 * 500 + 4


def test_a_terminal_is_not_driven_by_an_error() -> None:
    assert "\x1b" not in str(SensoriumError("\x1b[2J\x1b]0;title\x07gone\r\nsecond"))


def test_a_long_cause_is_cut() -> None:
    assert str(SensoriumError("x" * 10_000)).endswith("x…")
