"""The result as one table of at most 80 columns: Rich on a terminal, the same in plain text when piped."""

from __future__ import annotations

import io
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from sensorium.evaluation.verdict import bare, label, plain
from sensorium.metrics.names import METRICS

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

SHORT = {"majority": "majority", "linear_probe": "probe", "nearest_neighbour": "nearest"}
SHORT_LABEL = {  # no word longer than 10, so that nothing breaks within one
    "balanced_accuracy": "balanced acc.",
    "precision_macro": "precision macro",
    "recall_macro": "recall macro",
    "f1_macro": "F1 macro",
    "calibration_error": "calibr. error",
    "log_likelihood": "log-lik.",
}
WIDTH = 80


def results(metrics: dict[str, Any], *, interval: bool = True) -> Table:
    """A row a metric: before and after, each over its 95 % interval, their difference with p, and three baselines.

    Args:
        metrics: the content of ``metrics.json``, or one group of its ``by``.
        interval: whether the intervals are shown, on a second line.
    """
    table = _empty("metric", metrics)
    for name in metrics["after"]:
        if name == "perplexity":  # the log-likelihood in another unit, and too wide
            continue
        _row(table, SHORT_LABEL.get(name, label(name)), metrics, name, interval)
    return table


def groups(metrics: dict[str, Any], column: str) -> Table:
    """A row a value of ``column``: the primary metric of each system on its rows."""
    primary = metrics["primary"]
    table = _empty(f"{column}: {label(primary)}{_unit(primary)}", metrics)
    for value, part in metrics["by"][column].items():
        _row(table, f"{value} ({part['rows']:,})", part, primary, False)
    return table


def everything(metrics: dict[str, Any]) -> Group:
    """All tables, the verdict on all rows and the notes, one under the other; the report has the groups' verdicts too."""
    from rich.console import Group
    from rich.text import Text

    from sensorium.evaluation.verdict import findings

    heading = f"{metrics['split']} split, {metrics['rows']:,} rows; shares in %, with 95 % intervals"
    parts: list[Any] = [Text(heading), results(metrics)]
    parts += [groups(metrics, column) for column, values in metrics.get("by", {}).items() if len(values) > 1]
    parts += [Text(f"• {finding.text}") for finding in findings(metrics) if not finding.group]
    parts += [Text(note, style="dim") for note in metrics.get("notes", [])]
    return Group(*parts)


def text(renderable: Any, width: int = WIDTH) -> str:
    """Plain text, at most ``width`` columns, without colour."""
    from rich.console import Console

    page = io.StringIO()
    Console(file=page, width=width, color_system=None, force_terminal=False, markup=False, emoji=False).print(
        renderable
    )
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


def _empty(first: str, metrics: dict[str, Any]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(Text(clean(first)), min_width=13, max_width=24, overflow="fold")
    for name in _columns(metrics):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _columns(metrics: dict[str, Any]) -> list[str]:
    paired = ["before", "after", "change", "p"] if "before" in metrics else ["after"]
    return paired + [_short(name) for name in _baselines(metrics)]


def _short(name: str) -> str:
    """A baseline's name in lines of eight letters, or one word each."""
    return SHORT.get(name) or "\n".join(word[:10] for word in wrap(plain(name), 8, break_long_words=False))


def _baselines(metrics: dict[str, Any]) -> list[str]:
    """At most three that any part of the results has, so that the table stays within its width."""
    parts = [metrics, *(part for column in metrics.get("by", {}).values() for part in column.values())]
    return list(dict.fromkeys(name for part in parts for name in part.get("baselines", {})))[:3]


def _row(table: Table, first: str, part: dict[str, Any], name: str, interval: bool) -> None:
    from rich.text import Text

    headers = [str(column.header) for column in table.columns[1:]]
    cells = []
    for header in headers:
        if header in ("before", "after"):
            cells.append(_value(part.get(header, {}).get(name), name, interval))
        elif header in ("change", "p"):
            gap = (part.get("difference") or {}).get(name)
            shown = "" if gap is None else bare(name, gap["value"], True) if header == "change" else _p(gap["p"])
            cells.append(Text(shown, style=_style(name, gap) if header == "change" else ""))
        else:
            found = {_short(b): measures for b, measures in part.get("baselines", {}).items()}
            cells.append(_value(found.get(header, {}).get(name), name, False))
    table.add_row(Text(clean(first)), *cells)


def _value(measured: dict[str, float] | None, name: str, interval: bool) -> Any:
    from rich.text import Text

    if measured is None:
        return Text("–", style="dim")
    shown = Text(bare(name, measured["value"]))
    if interval:
        shown.append(f"\n{bare(name, measured['low'])}–{bare(name, measured['high'])}", style="dim")
    return shown


def _unit(name: str) -> str:
    return " %" if METRICS[name].unit == "share" else ""


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<.001"


def _style(name: str, gap: dict[str, float] | None) -> str:
    """Green or red where the change is significant; the sign and p say the same without colour."""
    if gap is None or gap["p"] >= 0.05:
        return ""
    return "green" if (gap["value"] > 0) == METRICS[name].higher_is_better else "red"


def clean(text: str) -> str:
    """Control characters of a hostile cell made visible, line breaks as spaces."""
    return "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in text)
