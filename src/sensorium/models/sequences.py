"""From messages and answers to token sequences: what the GPT reads, and which tokens it is taught.

Text is rendered through the backbone's chat template. Contents are tokenised apart from the template and without
special tokens, so that a cell which holds ``<|im_end|>`` is read as those characters, never as the end of a turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as Items
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from sensorium.data.collate import MediaItem, Sequence
from sensorium.data.messages import MediaPart, Message, TextPart
from sensorium.errors import DataError

# Line feeds as expressions, since templates drop those behind a block; before the words, since a space there would be
# a token of its own that words never begin with otherwise.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
_MARK = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True)
class Token:
    """One place of a flat sequence: a token, whether it is taught, and the media position that it stands for."""

    id: int
    taught: bool = False
    medium: tuple[int, int] | None = None  # (which medium of the row, which position of it)


@dataclass
class Flat:
    """One row before it joins others: its tokens, and its media in order (column, identity, value, positions)."""

    tokens: list[Token]
    media: list[MediaItem]
    keys: list[str]


def flatten(
    messages: Items[Message],
    tokenizer: Any,
    media: list[MediaItem],
    keys: list[str],
    *,
    placeholders: bool,
    answering: bool,
    max_text_tokens: int,
    last_only: bool = False,
) -> Flat:
    """Messages -> tokens by the chat template.

    Args:
        media: one item for each MediaPart of ``messages``, in order; ``keys`` name their contents.
        placeholders: whether media take places among the tokens (fusion ``tokens``).
        answering: end with the start of an assistant's turn, instead of teaching the assistant's turns.
        max_text_tokens: the longest texts are cut to fit; media and the template are never cut.
        last_only: teach the last turn alone, where it is the assistant's.

    Raises:
        DataError: the chat template refuses these messages.
    """
    parts = [
        (message.role == "assistant" and (number == len(messages) - 1 or not last_only), part)
        for number, message in enumerate(messages)
        for part in message.parts
    ]
    counter = iter(range(len(parts)))
    contents = ["".join(f"\ue000{next(counter)}\ue001" for _ in message.parts) for message in messages]
    turns = [{"role": m.role, "content": text} for m, text in zip(messages, contents, strict=True)]
    template = None if tokenizer.chat_template else PLAIN_TEMPLATE
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=answering, chat_template=template
        )
    except Exception as error:  # noqa: BLE001 - jinja's own errors: templates raise whatever they like
        raise DataError(f"the chat template refuses these turns ({error})", mend="check the order of roles") from None
    texts = _cut([part.text if isinstance(part, TextPart) else None for _, part in parts], tokenizer, max_text_tokens)
    pad, end = tokenizer.eos_token_id or 0, end_of_turn(tokenizer)
    tokens: list[Token] = []
    numbers = {i: n for n, i in enumerate(i for i, (_, part) in enumerate(parts) if isinstance(part, MediaPart))}
    taught = False
    for index, piece in enumerate(_MARK.split(text)):
        if index % 2 == 0:
            ids = tokenizer.encode(piece, add_special_tokens=False)
            tokens += _literal(ids, taught, end)
            taught = False
            continue
        answers, part = parts[int(piece)]
        taught = answers and not answering
        if isinstance(part, MediaPart):
            number = numbers[int(piece)]
            count = media[number].positions if placeholders else 0
            tokens += [Token(pad, medium=(number, k)) for k in range(count)]
        else:
            tokens += [Token(i, taught) for i in texts[int(piece)] or []]
    last = max((place for place, token in enumerate(tokens) if token.taught), default=None)
    if last is not None and tokens[last].id != end:  # a template without an end of turn: the answer still ends
        tokens.insert(last + 1, Token(end, True))
    return Flat(tokens, media, keys)


def plain(
    texts: dict[str, str],
    tokenizer: Any,
    media: list[MediaItem],
    keys: list[str],
    *,
    placeholders: bool,
    max_text_tokens: int,
    always: bool = False,
) -> Flat:
    """A row for a head that classifies: media, then the texts, named where there are several; no chat template.

    A row without text and without placeholders is empty: there is nothing for the GPT to read. With ``always`` it
    still has its start token, since its last hidden state is classified.

    Args:
        texts: a text for every column, empty where it is missing, so that a column is named in all rows or in none.
    """
    named = [text if len(texts) == 1 else f"{name}: {text}\n" for name, text in texts.items() if text]
    cut = _cut(list(named), tokenizer, max_text_tokens)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id or 0
    slots = (
        [Token(start, medium=(n, k)) for n, item in enumerate(media) for k in range(item.positions)]
        if placeholders
        else []
    )
    words = [Token(i) for ids in cut for i in ids or []]
    return Flat([Token(start), *slots, *words] if slots or words or always else [], media, keys)


def options(answers: Items[str], tokenizer: Any) -> list[list[Token]]:
    """Each possible answer as taught tokens, closed by the end-of-turn token."""
    end = end_of_turn(tokenizer)
    return [[Token(i, True) for i in [*_encode(answer, tokenizer), end]] for answer in answers]


def end_of_turn(tokenizer: Any) -> int:
    """The token that ends an assistant's turn: the first special one that the template writes behind the words.

    Most templates write the tokenizer's end-of-sequence token; some (Gemma's) have another.
    """
    return _end_of_turn(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _end_of_turn(tokenizer: Any, template: str) -> int:
    end = tokenizer.eos_token_id or 0
    if not tokenizer.chat_template:
        return end
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "\ue0000\ue001"}]
    try:
        behind = _MARK.split(tokenizer.apply_chat_template(turns, tokenize=False))[-1]
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError):  # said where rows are rendered
        return end
    ids, special = tokenizer.encode(behind, add_special_tokens=False), set(tokenizer.all_special_ids)
    return end if end in ids else next((i for i in ids if i in special or i in tokenizer.added_tokens_decoder), end)


@lru_cache(maxsize=8)
def turn_tokens(tokenizer: Any) -> int:
    """Tokens that the chat template writes around a turn, on average over user and assistant, rounded up."""
    template = None if tokenizer.chat_template else PLAIN_TEMPLATE
    pair = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "?"}]
    try:
        one, three = (
            len(tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False, chat_template=template)))
            for turns in (pair, 3 * pair)
        )
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError):  # said where rows are rendered
        return 8
    return -(-(three - one) // 4)


def _literal(ids: list[int], after_answer: bool, end: int | None) -> list[Token]:
    """Template tokens; behind an answer they are taught up to the end-of-turn token."""
    closing = ids.index(end) + 1 if after_answer and end in ids else 0
    return [Token(i, place < closing) for place, i in enumerate(ids)]


def _encode(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))


def _cut(texts: list[str | None], tokenizer: Any, limit: int) -> list[list[int] | None]:
    """Token ids of each text; the longest are shortened until all fit ``limit`` together."""
    # A token has at least one character, and none has more than a few dozen: far longer text is cut unread.
    ids = [None if text is None else _encode(text[: 32 * limit], tokenizer) for text in texts]
    left, level = limit, 0
    lengths = sorted(len(i) for i in ids if i)
    for place, length in enumerate(lengths):  # the length that the longest are cut to, shorter ones left whole
        level = left // (len(lengths) - place)
        if length > level:
            left -= level * (len(lengths) - place)  # tokens over: one more for the first of them
            break
        left -= length
    else:
        return ids
    for text in ids:
        if text and len(text) > level:
            del text[level + (left > 0) :]
            left -= 1
    return ids


# -- joining rows ----------------------------------------------------------------------------------


def join(flats: list[Flat], rows: list[int], alternatives: list[list[Token]] | None = None) -> Sequence:
    """Rows that begin alike -> one sequence: the shared start once, then a branch a row.

    With ``alternatives`` there is one row, and every alternative is an answer behind it. They stand as a trie, so that
    the prompt, and whatever alternatives begin with in common, costs its tokens once.
    """
    sequence = Sequence([], [], [], [], [], rows)
    if alternatives is not None:
        prompt = flats[0].tokens
        _grow(sequence, prompt, -1, 0, 0)
        _grow_trie(sequence, alternatives, len(prompt))
        _attach(sequence, flats, prompt)
        return sequence
    shared = _common_start(flats)
    tails = [flat.tokens[len(shared) :] for flat in flats]
    if len(tails) == 1:
        shared, tails = [*shared, *tails[0]], []
    sequence.answers_count = max(len(tails), 1)
    _grow(sequence, shared, -1, 0, 0)
    for owner, tail in enumerate(tails):
        _grow(sequence, tail, 0 if shared else -1, len(shared), owner)
    _attach(sequence, flats, [*shared, *(token for tail in tails for token in tail)])
    return sequence


def _grow_trie(sequence: Sequence, answers: list[list[Token]], position: int) -> None:
    """Hang answers below branch 0; what several begin with is one branch, which counts for each of them.

    The last token of an answer is only predicted, never read, so that it takes no place.
    """
    sequence.answers_count = len(answers)
    waiting = [(0, len(sequence.ids) - 1, position, 0, list(range(len(answers))))]
    while waiting:
        parent, last, place, depth, owners = waiting.pop()
        for owner in owners:
            sequence.sources.append(last)
            sequence.answers.append(answers[owner][depth].id)
            sequence.owners.append(owner)
        nexts: dict[int, list[int]] = {}
        for owner in owners:
            if depth + 1 < len(answers[owner]):
                nexts.setdefault(answers[owner][depth].id, []).append(owner)
        for token, mine in nexts.items():
            branch = parent
            if len(nexts) > 1 or parent == 0 or len(mine) < len(owners):
                branch = len(sequence.parents)
                sequence.parents.append(parent)
            sequence.ids.append(token)
            sequence.positions.append(place)
            sequence.branches.append(branch)
            waiting.append((branch, len(sequence.ids) - 1, place + 1, depth + 1, mine))


def _common_start(flats: list[Flat]) -> list[Token]:
    """The longest start that all rows share, before anything that is taught; media must be the same."""
    first = flats[0]
    if len(flats) == 1 or any(flat.keys != first.keys for flat in flats):
        return first.tokens if len(flats) == 1 else []
    shared = 0
    for tokens in zip(*(flat.tokens for flat in flats), strict=False):
        if any(token != tokens[0] for token in tokens) or tokens[0].taught:
            break
        shared += 1
    return first.tokens[: min(shared, *(len(flat.tokens) - 1 for flat in flats))]


def _grow(sequence: Sequence, tokens: list[Token], parent: int, position: int, owner: int) -> None:
    """Append a branch; a taught token is predicted from the place before it, in this branch or at the parent's end."""
    branch, start = len(sequence.parents), len(sequence.ids)
    sequence.parents.append(parent)
    above = [place for place, b in enumerate(sequence.branches) if b == parent]
    for offset, token in enumerate(tokens):
        if token.taught and (offset or above):  # a sequence's very first token follows nothing
            before = start + offset - 1 if offset else above[-1]
            sequence.sources.append(before)
            sequence.answers.append(token.id)
            sequence.owners.append(owner)
        sequence.ids.append(token.id)
        sequence.positions.append(position + offset)
        sequence.branches.append(branch)


def _attach(sequence: Sequence, flats: list[Flat], tokens: list[Token]) -> None:
    """Give the sequence its media: once where rows share them at their common start, else each row's with its branch."""
    places: dict[tuple[int, int], list[int]] = {}
    for place, token in enumerate(tokens):
        if token.medium is not None:
            places.setdefault((sequence.branches[place], token.medium[0]), []).append(place)
    own = 1 if len(sequence.parents) > len(flats) else 0  # the first row's own branch
    alike = 0 in sequence.branches and all(flat.keys == flats[0].keys for flat in flats)
    apart = {n for branch, n in places if branch}  # media behind the common start: a row each
    for number, flat in enumerate(flats):
        for n, item in enumerate(flat.media):
            shared = alike and n not in apart
            if shared and number:
                continue
            branch = 0 if shared else number + own
            slots = places.get((branch, n), [])
            sequence.media.append(MediaItem(item.column, item.value, item.positions, slots, branch, item.cached))


def remember(sequence: Sequence) -> None:
    """For cross-attention: line up all media positions as a memory, in place of placeholder tokens."""
    for item in sequence.media:
        item.slots = list(range(len(sequence.memory), len(sequence.memory) + item.positions))
        sequence.memory += [item.branch] * item.positions
