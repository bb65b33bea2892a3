"""Further evaluations of final runs as tables for people: Markdown and LaTeX. All digits are in the CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coretune.report.domain_signs import to_tex
from coretune.report.evaluated import EvaluatedRow
from coretune.report.leaderboard import Leaderboard
from coretune.report.metric_order import merged
from coretune.report.rule_signs import Selection
from coretune.report.typeset import compared_cells, latex_cells, latex_table, markdown_page


def evaluations_to_markdown(leaderboard: Leaderboard) -> str:
    """Returns the further evaluations as Markdown, a table each with what it is; empty if there are none."""
    header = _header(leaderboard)
    pages = [
        markdown_page(label, header, [_cells(row, Selection(rows)) for row in rows], _legend(rows), ())
        for label, rows in _tables(leaderboard)
    ]
    return "\n".join(pages)


def evaluations_to_latex(leaderboard: Leaderboard) -> str:
    """Returns the further evaluations as LaTeX tables for the package booktabs, one each; empty if there are none."""
    header = _header(leaderboard)
    tables = []
    for label, rows in _tables(leaderboard):
        groups: dict[str, list[list[str]]] = {}
        selection = Selection(rows)
        for row in rows:
            groups.setdefault(row.metric, []).append(latex_cells(_cells(row, selection)))
        caption = f"{label}. {_legend(rows)}"
        tables.append(to_tex(latex_table("llllrrrrr", header, groups.values(), caption, ())))
    return "\n".join(tables)


def _tables(leaderboard: Leaderboard) -> Iterable[tuple[str, Sequence[EvaluatedRow]]]:
    """Yields the title of each evaluation and its rows, metric by metric: cells, then means.

    Of two objectives each choice's final runs have tables of their own.
    """
    everything = (*leaderboard.evaluations, *leaderboard.evaluation_means)
    for choice, label in dict.fromkeys((row.choice, row.evaluation) for row in everything):
        rows = [row for row in everything if (row.choice, row.evaluation) == (choice, label)]
        cells: dict[tuple[str, str, str], list[str]] = {}
        for row in rows:
            cells.setdefault((row.dataset, row.backbone, row.method), []).append(row.metric)
        order = merged(cells.values())
        title = ", ".join(filter(None, (leaderboard.study, choice)))
        yield f"{title}: {label}", sorted(rows, key=lambda row: order.index(row.metric))


def _header(leaderboard: Leaderboard) -> list[str]:
    return [
        *("metric", "data set", "backbone", "method", "n (seeds)", "mean ± standard error", "95 % interval"),
        f"difference to {leaderboard.baseline or 'baseline'} (95 % interval)",
        "p, paired t",
    ]


def _legend(rows: Sequence[EvaluatedRow]) -> str:
    return (
        "± is the standard error of the mean over n final seeds, not the standard deviation; intervals are t-intervals "
        f"over seeds; differences are paired by seed, on the same images. Selection: {Selection(rows)}. "
        f"Evaluation: {rows[0].spec}"
    )


def _cells(row: EvaluatedRow, selection: Selection) -> list[str]:
    return [row.metric, *compared_cells(row, decimals(row.mean), selection.sign(row))]


def decimals(mean: float | None) -> int:
    """Returns how many decimals a metric of any unit is shown with, by its size: 66.67, 1.234, 0.01234."""
    size = abs(mean or 0.0)
    return 2 if size >= 10 else 3 if size >= 0.1 or size == 0 else 5
