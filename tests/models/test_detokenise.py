"""Text that comes token by token is the text that all tokens decode to, in whole characters."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sensorium.models.detokenise import TextStream, text_pieces
from tests.tiny_models import part


@cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(part("llama"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 270), max_size=30))
def test_any_tokens_whether_or_not_they_are_text(ids: list[int]) -> None:
    whole = tokenizer().decode(ids, skip_special_tokens=True)
    assert "".join(text_pieces(ids, tokenizer())) == whole


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_characters_are_whole(text: str) -> None:
    stream = TextStream(tokenizer())
    said = [stream.add(token) for token in tokenizer().encode(text, add_special_tokens=False)]
    assert "".join(said) + stream.end() == text
    assert "\ufffd" not in "".join(said) or "\ufffd" in text
