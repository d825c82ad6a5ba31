"""Answers of a given form: grammars of llguidance, and which tokens may come next under one.

https://github.com/guidance-ai/llguidance
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from sensorium.errors import first_line
from sensorium.serving.protocols import BadGrammar

# Small models like to go on with white space where a grammar allows it without end.
COMPACT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
ANY_OBJECT = {"type": "object"}


def grammar_of_schema(schema: dict[str, Any]) -> str:
    """The grammar of JSON texts that a JSON schema allows (``ANY_OBJECT``: any object); for ``Sampling.grammar``.

    Raises:
        BadGrammar: the schema is not valid, or uses what llguidance does not know.
    """
    try:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=COMPACT)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadGrammar(first_line(error)) from None
    return _checked(grammar)


def grammar_of_choices(choices: list[str]) -> str:
    """The grammar of exactly these texts; for ``Sampling.grammar``.

    Raises:
        BadGrammar: there are none, or one is empty.
    """
    if not choices or not all(choices):
        raise BadGrammar("choices are a list of at least one text, none of them empty")
    return _checked(LLMatcher.grammar_from_lark("start: " + " | ".join(json.dumps(choice) for choice in choices)))


def _checked(grammar: str) -> str:
    if said := LLMatcher.validate_grammar(grammar):
        raise BadGrammar(first_line(ValueError(said)))
    return grammar


class Vocabulary:
    """A tokenizer's tokens as bytes, and matchers over them.

    Args:
        tokenizer: a fast one. size: entries of the model's logits. ends: tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, size: int, ends: list[int]) -> None:
        self._tokens: LLTokenizer = from_tokenizer(tokenizer, n_vocab=size, eos_token=ends)

    def data(self, token: int) -> bytes:
        """The bytes that a token writes."""
        return self._tokens.decode_bytes([token])

    def matcher(self, grammar: str) -> Matcher:
        """A matcher at its start. Raises BadGrammar where the grammar does not compile."""
        return Matcher(self._tokens, grammar)


class Matcher:
    """What one answer may go on with."""

    def __init__(self, tokens: LLTokenizer, grammar: str) -> None:
        self._matcher = LLMatcher(tokens, grammar, log_level=0)
        if said := self._matcher.get_error():
            raise BadGrammar(first_line(ValueError(said)))

    def allowed(self, size: int) -> Tensor:
        """(size,) bool: the tokens that may come next; a whole answer may be followed by its end alone.

        Raises:
            BadGrammar: llguidance gave up, since the grammar is too complex at this place.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.zeros(size, dtype=bool)
        flags = np.unpackbits(bits, bitorder="little")[:size]
        mask[: len(flags)] = flags
        if self._matcher.is_error() or not mask.any():
            raise BadGrammar("the grammar became too complex on the way")
        return torch.from_numpy(mask)

    def take(self, token: int) -> bool:
        """Go on with ``token``; whether the answer is whole and nothing can follow."""
        self._matcher.consume_token(token)
        return bool(self._matcher.is_stopped())
