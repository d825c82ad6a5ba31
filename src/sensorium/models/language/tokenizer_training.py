"""Training a tokenizer: byte-level BPE (Sennrich et al. 2016; over bytes as in Radford et al. 2019), by ``tokenizers``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sensorium.errors import DataError, RecipeError

BYTES = 256  # a byte-level vocabulary holds each, so that no text is unknown
LONG_RUN = (
    r"\S{100}|\s{100}"  # merging takes time with the square of a word's length: a run of a megabyte would take hours
)
# What a special token is for, where its name says so.
ROLES = {
    "<pad>": "pad_token",
    "<s>": "bos_token",
    "</s>": "eos_token",
    "<mask>": "mask_token",
    "<sep>": "sep_token",
    "<cls>": "cls_token",
}


def train_tokenizer(texts: Iterable[str], vocabulary: int, special: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most ``vocabulary`` entries; the same texts in any order give the same one.

    Args:
        texts: read once, one at a time; fewer merges than asked for are made where the texts have no more.
        special: tokens that stand for themselves, with ids 0, 1, … in this order; ``ROLES`` names those with a role.

    It adds no special token of its own accord, keeps every byte (decoding gives the text back), and, called with
    ``split_special_tokens=True``, reads a text that holds the name of a special token as those characters.

    Raises:
        RecipeError: the vocabulary has no room for all bytes and special tokens.
        DataError: there is no text.
    """
    least = BYTES + len(special)
    if vocabulary < least:
        raise RecipeError(
            f"a vocabulary of {vocabulary} has no room for {BYTES} bytes and {len(special)} special tokens",
            where="model.scratch.vocabulary",
            mend=f"set at least {least}",
        )
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LONG_RUN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    seen = 0

    def counted() -> Iterable[str]:
        nonlocal seen
        for text in texts:
            seen += bool(text)
            yield text

    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(counted(), trainer)
    if not seen:
        raise DataError("no text to train a tokenizer on", mend="check the splits and the quarantined rows")
    roles = {ROLES[token]: token for token in special if token in ROLES}
    others = [token for token in special if token not in ROLES]
    # Spaces before punctuation are the text's own: cleaning them up would change it.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, extra_special_tokens=others, clean_up_tokenization_spaces=False, **roles
    )
