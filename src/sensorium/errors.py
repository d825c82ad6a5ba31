"""What can go wrong through the user's input, said in one line: what, where, and the mend."""

from __future__ import annotations


class SensoriumError(Exception):
    """The user's input is wrong. ``str(error)`` is one line; the command line exits with ``exit_code``.

    Args:
        what: the cause, in plain words, without a final full stop.
        where: the file, row, key or flag that holds the cause; empty where there is none.
        mend: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = (_one_line(part) for part in (what, where, mend))
        place = f"{self.where}: " if self.where else ""
        cure = f"; {self.mend}" if self.mend else ""
        super().__init__(f"{place}{self.what}{cure}")


class RecipeError(SensoriumError):
    """The recipe is wrong: an unknown key, a value out of range, parts that cannot be combined."""


class DataError(SensoriumError):
    """The data are wrong: a missing file or column, an unreadable table, nothing left to train on."""


class MediaError(DataError):
    """One picture or sound cannot be used; the row that holds it is quarantined."""


class AssetError(SensoriumError):
    """A pretrained part or a bundled data set cannot be had, or is not what its pin says."""


class RunError(SensoriumError):
    """A run's folder is locked, belongs to another recipe, or is damaged."""


class NonFiniteLoss(SensoriumError):
    """The loss became NaN or infinite; the message names the rows of the batch."""


class Interrupted(SensoriumError):
    """SIGINT or SIGTERM arrived and a checkpoint was written."""

    exit_code = 130


def first_line(error: BaseException, limit: int = 160) -> str:
    """What a library's error says, for a line of ours: its first line, or its kind where it says nothing."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return said[:limit] or type(error).__name__


def _one_line(text: str, limit: int = 500) -> str:
    """``text`` with control characters and line breaks as spaces, so that one error stays one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
