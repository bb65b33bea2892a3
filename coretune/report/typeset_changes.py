"""Two results directories side by side, as a table for people: Markdown and LaTeX. All digits are in the CSV."""

from __future__ import annotations

from coretune.report.compare import Change, Changes
from coretune.report.typeset import (
    UNITS,
    digits_of,
    grouped,
    interval_text,
    latex_cells,
    latex_table,
    markdown_page,
    p_text,
)


def changes_to_markdown(changes: Changes) -> str:
    """Returns two directories side by side as Markdown, with what the numbers mean."""
    rows = [_cells(row, changes) for row in changes.rows]
    title = f"{changes.first} and {changes.second}"
    return markdown_page(title, _header(changes), rows, " ".join(legend(changes)), changes.notes)


def changes_to_latex(changes: Changes) -> str:
    """Returns two directories side by side as a LaTeX table for the package booktabs; notes follow as comments."""
    groups = grouped(changes.rows, lambda row: latex_cells(_cells(row, changes)))
    caption = f"{changes.first} and {changes.second}. {' '.join(legend(changes))}"
    return latex_table("lllrrrrl", _header(changes), groups, caption, changes.notes)


def legend(changes: Changes) -> list[str]:
    """Returns what the columns mean, one sentence each."""
    better = "Higher" if changes.direction == "max" else "Lower"
    lines = [
        f"{better} is better. Means over n final seeds; the difference is second minus first, with its 95 % "
        "t-interval.",
    ]
    if any(row.paired and not row.same_runs for row in changes.rows):
        lines.append("Paired: over the seeds that both have; runs of one seed are not independent.")
    if any(row.n_first and row.n_second and not row.paired for row in changes.rows):
        lines.append("Welch: no seed is in both, the t-test is Welch's.")
    if any(row.same_runs for row in changes.rows):
        lines.append("Same runs: the very same trainings are behind both, so that nothing was compared.")
    lines.append("No p is corrected for the number of rows, and cells are matched by their labels alone.")
    return lines


def how_tested(row: Change) -> str:
    """Returns how a row was tested, in a word or two; empty where it was not."""
    if row.same_runs:
        return "same runs"
    if not row.n_first or not row.n_second:
        return "only in the first" if row.n_first else "only in the second" if row.n_second else "no scores"
    return f"paired, {row.comparison.n}" if row.paired else "Welch"


def _header(changes: Changes) -> list[str]:
    unit = UNITS.get(changes.metric, "")
    return [
        *("data set", "backbone", "method"),
        f"first, test {changes.metric} {unit} (n)".replace("  ", " "),
        "second (n)",
        "difference (95 % interval)",
        *("p", "test"),
    ]


def _cells(row: Change, changes: Changes) -> list[str]:
    digits = digits_of(changes.metric)
    found, reach = row.comparison, row.comparison.interval
    interval = "" if reach is None else interval_text(reach.low, reach.high, digits)
    return [
        row.dataset,
        row.backbone,
        row.method,
        "" if row.mean_first is None else f"{row.mean_first:.{digits}f} ({row.n_first})",
        "" if row.mean_second is None else f"{row.mean_second:.{digits}f} ({row.n_second})",
        "" if found.difference is None else f"{found.difference:+.{digits}f}{interval}",
        p_text(found.p_t),
        how_tested(row),
    ]
