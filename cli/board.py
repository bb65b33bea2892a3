"""The leaderboard on the screen: from a `Leaderboard` to what Rich draws. Pure functions, no input or output."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from coretune_cli.class_board import IOU, class_tables
from coretune_cli.columns import DECORATION, Column, fitted
from coretune_cli.evaluation_text import described

if TYPE_CHECKING:
    from coretune.report.evaluated import EvaluatedRow
    from coretune.report.leaderboard import Leaderboard, Row
    from coretune.report.rule_signs import Selection

PERCENT = ("top1", "mean_per_class", "robust_top1", "miou")
BAR = 26


@dataclass(frozen=True)
class Axis:
    """What the two ends of a bar stand for."""

    low: float
    high: float

    def place(self, value: float, width: int) -> int:
        """Returns the character, from 0 to width − 1, at which a value stands."""
        share = (value - self.low) / (self.high - self.low)
        return min(width - 1, max(0, math.floor(share * width)))


def board(leaderboard: Leaderboard, width: int) -> RenderableType:
    """Draws a leaderboard, and says under it what its numbers mean; of two objectives a table per choice and metric."""
    from coretune.report.panels import panels

    found = panels(leaderboard)
    parts = [_board(panel, width, explained=panel is found[-1]) for panel in found]
    return parts[0] if len(parts) == 1 else Group(*itertools.chain.from_iterable((part, Text("")) for part in parts))


def _board(leaderboard: Leaderboard, width: int, *, explained: bool) -> RenderableType:
    several = len({row.dataset for row in leaderboard.rows}) > 1
    rows = [*_by_rank(leaderboard.rows), *(_by_rank(leaderboard.means) if several else ())]
    axes = {name: axis([row for row in rows if row.dataset == name], leaderboard.metric) for name in _datasets(rows)}
    head = Text.assemble((leaderboard.study, "bold"), "  ", (_objective(leaderboard), "dim"))
    table = fitted(board_columns(leaderboard, axes, width), rows, width)
    further = further_tables(leaderboard, width)
    return Group(head, table, Text(""), *further, *map(footnote, footnotes(leaderboard, axes, explained=explained)))


def further_tables(leaderboard: Leaderboard, width: int) -> list[RenderableType]:
    """Draws the further evaluations of final runs: a table each, a row per cell and mean, a column per metric."""
    from coretune.report.rule_signs import Selection

    parts: list[RenderableType] = []
    everything = (*leaderboard.evaluations, *leaderboard.evaluation_means)
    for label in dict.fromkeys(row.evaluation for row in everything):
        found = [row for row in everything if row.evaluation == label]
        cells: dict[tuple[str, str, str], dict[str, EvaluatedRow]] = {}
        for row in found:
            cells.setdefault((row.dataset, row.backbone, row.method), {})[row.metric] = row
        metrics = dict.fromkeys(row.metric for row in found)
        if any(metric.startswith(IOU) for metric in metrics):
            parts += [*class_tables(label, found, width), *_other_rule(found, leaderboard)]
            continue
        columns: list[Column[tuple[tuple[str, str, str], dict[str, EvaluatedRow]]]] = [
            *([Column("data set", _part(0), least=12)] if len({key[0] for key in cells}) > 1 else []),
            *([Column("backbone", _part(1), least=10)] if len({key[1] for key in cells}) > 1 else []),
            Column("method", _part(2), least=14),
            Column("n", lambda item: str(max(row.n for row in item[1].values())), 1, "right"),
            *(_metric(metric, rank, Selection(found)) for rank, metric in enumerate(metrics, 2)),
        ]
        words = described(found[0].spec)
        head = [Text(label, style="bold"), *([Text(words, style="dim")] if words not in ("", label) else [])]
        parts += [*head, fitted(columns, list(cells.items()), width), Text(""), *_other_rule(found, leaderboard)]
    return parts


def _other_rule(rows: Sequence[EvaluatedRow], leaderboard: Leaderboard) -> list[RenderableType]:
    """Draws how configuration and weights of a further evaluation were chosen, where the leaderboard's rows do not."""
    from coretune.report.rule_signs import Selection

    own = Selection(rows)
    if len(own.rules) == 1 and own.rules == Selection(leaderboard.rows).rules:
        return []
    return [footnote(f"Selection of {rows[0].evaluation}: {own}."), Text("")]


def _part(place: int) -> Callable[[tuple[tuple[str, str, str], dict[str, EvaluatedRow]]], str]:
    return lambda item: item[0][place]


def _metric(
    metric: str, rank: int, selection: Selection
) -> Column[tuple[tuple[str, str, str], dict[str, EvaluatedRow]]]:
    """Returns the column of a metric of a further evaluation; of many metrics the last go first."""
    from coretune.report.typeset_evaluated import decimals

    def shown(item: tuple[tuple[str, str, str], dict[str, EvaluatedRow]]) -> Text:
        row = item[1].get(metric)
        if row is None or row.mean is None:
            return Text("–", style="dim")
        digits = decimals(row.mean)
        tail = "" if row.stderr is None else f" ± {row.stderr:.{digits}f}"
        return Text.assemble(f"{row.mean:.{digits}f}", (tail, "dim"), selection.sign(row))

    return Column(metric, shown, rank, "right")


def board_columns(leaderboard: Leaderboard, axes: dict[str, Axis | None], width: int) -> list[Column[Row]]:
    """Returns the columns; the least important ones go where room is scarce."""
    from coretune.report.rule_signs import Selection

    selection = Selection(leaderboard.rows)
    digits = 2 if leaderboard.metric in PERCENT else 4
    length = BAR if width >= 120 else 16
    backbones = {row.backbone for row in leaderboard.rows}
    columns: list[Column[Row] | None] = [
        Column("#", lambda row: "" if row.rank is None else str(row.rank), 0, "right"),
        Column("data set", lambda row: row.dataset, least=16) if len(axes) > 1 else None,
        Column("method", lambda row: Text(row.method, style="bold" if row.rank == 1 else ""), least=14),
        Column("backbone", lambda row: row.backbone, DECORATION if len(backbones) == 1 else 0, least=10),
        Column("n", lambda row: str(row.n), 1, "right"),
        Column("mean ± s.e.", lambda row: spread(row, digits, selection.sign(row)), 0, "right"),
        Column("95 % interval", lambda row: interval_bar(row, axes.get(row.dataset), length), 6, fixed=length),
        Column("", lambda row: interval(row.ci_low, row.ci_high, digits), 7, "right"),
        Column(
            f"− {leaderboard.baseline}", lambda row: difference(row, digits, leaderboard.baseline), 0, "right", least=9
        ),
        Column("(95 %)", lambda row: interval(row.diff_ci_low, row.diff_ci_high, digits), 8, "right"),
        Column("p (t)", lambda row: p_value(row.p_paired_t), 0, "right"),
        Column("p (W)", lambda row: p_value(row.p_wilcoxon), 5, "right"),
        None if leaderboard.complete else Column("status", lambda row: Text(row.status, style="dim"), 3, least=9),
    ]
    rows = (*leaderboard.rows, *leaderboard.means)
    without = () if any(row.mean is not None for row in rows) else ("95 % interval", "")
    if leaderboard.baseline is None or all(row.diff is None for row in rows):
        without = (*without, f"− {leaderboard.baseline}", "(95 %)", "p (t)", "p (W)")
    return [column for column in columns if column is not None and column.title not in without]


def axis(rows: Iterable[Row], metric: str) -> Axis | None:
    """Returns the axis of the bars of one data set: all intervals, and a little room; None without a mean."""
    values = [value for row in rows for value in (row.mean, row.ci_low, row.ci_high) if value is not None]
    if not values:
        return None
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, 1e-3 * max(abs(high), abs(low), 1.0))
    low, high = low - room, high + room
    if metric in PERCENT:
        return Axis(max(0.0, low), min(100.0, high))
    return Axis(max(0.0, low), high)


def interval_bar(row: Row, axis: Axis | None, width: int) -> Text:
    """Draws a mean as a bar and its interval at the bar's end: `━━━━━━├──●──┤`."""
    if axis is None or row.mean is None:
        return Text("")
    mean = axis.place(row.mean, width)
    low = axis.place(row.ci_low, width) if row.ci_low is not None else mean
    high = axis.place(row.ci_high, width) if row.ci_high is not None else mean
    chars = ["━" if place < low else "─" if place <= high else " " for place in range(width)]
    chars[low], chars[high], chars[mean] = "├", "┤", "●"
    style = "green" if row.rank == 1 else "cyan"
    return Text.assemble(("".join(chars[:low]), style), "".join(chars[low : high + 1]))


def spread(row: Row, digits: int, sign: str = "") -> Text:
    """Writes a mean and its standard error, and the sign that stands beside them."""
    if row.mean is None:
        return Text("–", style="dim")
    tail = f" ± {row.stderr:.{digits}f}" if row.stderr is not None else ""
    return Text.assemble((f"{row.mean:.{digits}f}", "bold" if row.rank == 1 else ""), (tail, "dim"), sign)


def interval(low: float | None, high: float | None, digits: int) -> Text:
    """Writes an interval."""
    known = "" if low is None or high is None else f"{low:.{digits}f} … {high:.{digits}f}"
    return Text(known.replace("-", "−"), style="dim")


def difference(row: Row, digits: int, baseline: str | None) -> Text:
    """Writes the difference to the baseline, coloured only where its interval leaves out zero."""
    if row.diff is None:
        return Text("baseline" if row.method == baseline else "–", style="dim")
    return signed(row.diff, row.diff_ci_low, row.diff_ci_high, row.direction, digits)


def signed(value: float, low: float | None, high: float | None, direction: str, digits: int) -> Text:
    """Writes a difference with its sign: green for better and red for worse, where its interval leaves out zero."""
    style = ""
    if low is not None and high is not None and low * high > 0:
        style = "green" if (value > 0) == (direction == "max") else "red"
    return Text(f"{value:+.{digits}f}".replace("-", "−"), style=style)


def p_value(p: float | None) -> str:
    """Writes a p-value."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def footnotes(leaderboard: Leaderboard, axes: dict[str, Axis | None], *, explained: bool = True) -> list[str]:
    """Returns what a reader must know of the table: what ± means, the test, the selection, the bars' ends.

    Args:
        leaderboard: What is drawn.
        axes: The bars' ends by data set.
        explained: Whether signs are explained; under one of several tables that is enough.
    """
    from coretune.report.rule_signs import Selection

    lines = []
    if explained:
        lines.append(
            "± is the standard error of the mean over n final seeds, not the standard deviation; intervals are 95 % "
            "t-intervals over seeds."
        )
    if explained and any(row.diff is not None for row in leaderboard.rows):
        lines.append(
            f"− {leaderboard.baseline}: difference to the baseline, paired by seed; p (t) of a paired t-test, "
            "p (W) of Wilcoxon's signed-rank test."
        )
    if leaderboard.rows:
        lines.append(f"Selection: {Selection(leaderboard.rows)}.")
    lines += _ends(axes)
    if any(row.metric == "relative_mce" for row in leaderboard.evaluations):
        lines.append(
            f"relative_mce: errors under corruptions as shares of those of {leaderboard.baseline}, mean, per cent."
        )
    if not leaderboard.complete:
        lines.append("Not complete: not every final run has its test score.")
    return lines + [f"Note: {note.rstrip('.')}." for note in leaderboard.notes]


def _ends(axes: dict[str, Axis | None]) -> list[str]:
    """Returns what the ends of bars are: of those that begin at zero, and of those that do not."""
    found = []
    for said, cut in (("Bars", False), ("Bars that do not begin at zero", True)):
        own = [(name, ends) for name, ends in axes.items() if ends is not None and (ends.low > 0) == cut]
        if own:
            found.append(f"{said}: {', '.join(f'{name} {ends.low:.4g} to {ends.high:.4g}' for name, ends in own)}.")
    return found


def footnote(text: str) -> Text:
    """Draws one remark under the table."""
    return Text(text, style="bold magenta" if text.startswith("Not complete") else "dim")


def _objective(leaderboard: Leaderboard) -> str:
    unit = " %" if leaderboard.metric in PERCENT else " nats" if leaderboard.metric == "cross_entropy" else ""
    better = "higher" if leaderboard.direction == "max" else "lower"
    return f"test {leaderboard.metric}{unit}, {better} is better" if leaderboard.metric else "no cell has begun"


def _by_rank(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows with the best first within data set and backbone; those without a score last."""
    datasets, backbones = _datasets(rows), list(dict.fromkeys(row.backbone for row in rows))

    def place(row: Row) -> tuple[int, int, bool, int]:
        return datasets.index(row.dataset), backbones.index(row.backbone), row.rank is None, row.rank or 0

    return sorted(rows, key=place)


def _datasets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.dataset for row in rows))
