"""Modules by names that torch refuses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sensorium.models.named import TAKEN, Named

AWKWARD = ["", "my.photo", "items", "type", "train", "@x", "%2E", "a%2Eb", "a.b", "Фото ё", "training", "_modules"]


@given(st.lists(st.sampled_from([*AWKWARD, *sorted(TAKEN)]) | st.text(), unique=True, max_size=8))
def test_any_names_come_back_and_none_meet(names: list[str]) -> None:
    modules = {name: nn.Linear(1, 1) for name in names}
    named = Named(modules)
    assert list(named) == list(named.keys()) == names and len(named) == len(names)
    assert all(named[name] is modules[name] and name in named for name in names)
    assert dict(named.items()) == modules
    assert len(named.state_dict()) == 2 * len(names)
    again = Named({name: nn.Linear(1, 1) for name in names})
    again.load_state_dict(named.state_dict())
    assert all(torch.equal(again[name].weight, modules[name].weight) for name in names)


def test_ordinary_names_stand_as_they_are() -> None:
    assert set(Named({"picture": nn.Linear(1, 1)}).state_dict()) == {"picture.weight", "picture.bias"}


def test_a_name_that_is_not_there() -> None:
    named = Named({"a": nn.Linear(1, 1)})
    assert "b" not in named and 3 not in named
    with pytest.raises(KeyError):
        named["b"]
