"""One numbering for all that a drawing GPT reads and writes: words, then picture codes, then marks.

This is the backbone's vocabulary grown by the codes and the marks. What is grown has tables of its own (see
``drawing_gpt``), so that a pretrained vocabulary's weights stay untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

# marks, counted from the last code on
WORDS, PICTURE, SOURCE, MASKED, HIDDEN, FEATURE, END = range(7)
MARKS = 7


@dataclass(frozen=True)
class Vocabulary:
    """The numbering.

    Attributes:
        words: entries of the backbone's own vocabulary, ids 0 to ``words`` - 1.
        codes: entries of the picture tokenizer's codebook; code c has id ``words`` + c.
        grid: codes a side of a picture, which has ``grid`` * ``grid`` places, numbered row by row.

    The marks that follow say: words begin, a picture begins, a source picture begins, a picture with hidden codes
    begins, a code is hidden, a feature of an image encoder stands here, the words end.
    """

    words: int
    codes: int
    grid: int

    @property
    def places(self) -> int:
        """Codes of one picture."""
        return self.grid * self.grid

    @property
    def size(self) -> int:
        """Words, codes and marks."""
        return self.words + self.codes + MARKS

    def mark(self, mark: int) -> int:
        """The id of one of the marks above."""
        return self.words + self.codes + mark
