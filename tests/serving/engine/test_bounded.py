"""A bounded dictionary never exceeds its bytes and lets go of what was not used for longest."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.serving.engine.bounded import Bounded


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 9)), max_size=40))
def test_the_bytes_stay_within_the_limit_and_the_oldest_goes_first(steps: list[tuple[bool, int, int]]) -> None:
    made: Bounded[int] = Bounded(12)
    used: list[int] = []  # keys, the latest used last
    sizes: dict[int, int] = {}
    for put, key, size in steps:
        if put:
            made.put(key, size, size)
            used = [k for k in used if k != key]
            sizes.pop(key, None)
            if size <= 12:
                while sum(sizes.values()) + size > 12:
                    sizes.pop(used.pop(0))
                used.append(key)
                sizes[key] = size
        else:
            assert made.get(key) == sizes.get(key)
            if key in sizes:
                used = [*(k for k in used if k != key), key]
        assert made.bytes == sum(sizes.values()) <= 12
        assert len(made) == len(sizes)


def test_what_is_larger_than_all_is_not_kept_and_drives_nothing_out() -> None:
    made: Bounded[str] = Bounded(10)
    made.put("a", "small", 10)
    made.put("b", "large", 11)
    assert made.get("a") == "small" and "b" not in made
