"""The benchmark of large catalogues, with small ones."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.catalogue import learn, ranked, written

ARGS = Namespace(items=2000, users=9, width=8, top=5, stretches=[4, 9], repeats=2, clock="cpu", sizes=[300])


def test_both_ways_of_ranking_find_the_same() -> None:
    found = ranked(ARGS)
    assert found["same"] is True
    assert set(found["seconds"]) == {
        "bare, 4 at once", "bare, 9 at once", "top_k", "top_k, bias, without what was met",
    }  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["by rows", "dense"])
def test_steps_are_taken_and_the_tables_told_apart(kind: str) -> None:
    found = learn(300, kind, 8, 2)
    assert found["tables"] == 3 * 300 * 8 * 4 and found["beside"] == found["peak"] - found["tables"]
    text = written(ARGS, {"seconds": {"bare, 4 at once": 2.0, "top_k": 1.0}, "same": True}, {kind: {300: found}})
    assert "| top_k | 1.00 | 0.50 |" in text and f"| {kind} | 300 |" in text
