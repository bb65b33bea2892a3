"""Domains as columns, as CSV with all digits, and rounded for people: Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from coretune.report import domain_signs
from coretune.report.domain_signs import signed
from coretune.report.domains import DomainFigure, DomainRow, DomainTable
from coretune.report.export import table_to_csv
from coretune.report.spread import CONFIGURATION, unit_of
from coretune.report.statistics import Summary
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


def domains_to_csv(table: DomainTable) -> str:
    """Returns the table as CSV: a row per data set, backbone and method.

    Columns: dataset, backbone, method, metric; `<domain>.mean`, `.stderr`, `.n`, `.selection_rule` for each domain;
    `average.mean`, `.stderr`, `.n`; `worst.domain`, `.mean`, `.stderr`, `.n`; `diff` (of averages, to the baseline),
    `diff_ci_low`, `diff_ci_high`, `p_paired_t`, `n_pairs`; `spread` (what `stderr` and `n` are over), `held_out_part`,
    `marks` (what has to stand beside figures of the row), `complete` (whether all its final runs are there); for each
    domain `<domain>.marks`, and `.status`: how far it is, or why it has no score. What there is not is empty.
    """
    domains = dict.fromkeys(figure.domain for row in table.rows for figure in row.figures)
    columns = [
        *("dataset", "backbone", "method", "metric"),
        *(f"{domain}.{key}" for domain in domains for key in (*_NUMBERS, "selection_rule")),
        *(f"average.{key}" for key in _NUMBERS),
        *("worst.domain", *(f"worst.{key}" for key in _NUMBERS)),
        *("diff", "diff_ci_low", "diff_ci_high", "p_paired_t", "n_pairs"),
        *("spread", "held_out_part", "marks", "complete"),
        *(f"{domain}.{key}" for domain in domains for key in ("marks", "status")),
    ]
    rows = [_flat(row, table) for row in table.rows]
    return table_to_csv(columns, [{column: row.get(column) for column in columns} for row in rows])


def domains_to_markdown(table: DomainTable) -> str:
    """Returns the table as Markdown, a part for each data set, with what its numbers mean."""
    parts = []
    for dataset, rows in groupby(table.rows, key=lambda row: row.dataset):
        group = list(rows)
        remark = "" if _complete(group) else "**Not complete**: not every domain has all its final runs."
        page = markdown_page(
            f"{table.study}: {dataset}",
            header(group, table),
            [cells(row, table) for row in group],
            " ".join(legend(group, table)),
            table.notes,
            remark=remark,
        )
        parts.append(page)
    return "\n".join(parts)


def domains_to_latex(table: DomainTable) -> str:
    """Returns a LaTeX table for the package booktabs for each data set, with the notes in its caption."""
    parts = []
    for dataset, rows in groupby(table.rows, key=lambda row: row.dataset):
        group = list(rows)
        columns = "ll" + "r" * (len(header(group, table)) - 3) + "l"
        lines = grouped(group, lambda row: latex_cells(cells(row, table)))
        caption = f"{table.study}: {dataset}. {' '.join(legend(group, table))}"
        if not _complete(group):
            caption += " Not complete: not every domain has all its final runs."
        caption += "".join(f" Note: {note.rstrip('.')}." for note in table.notes)
        text = latex_table(columns, header(group, table), lines, caption, ())
        parts.append(domain_signs.to_tex(text))
    return "\n".join(parts)


def header(rows: Sequence[DomainRow], table: DomainTable) -> list[str]:
    """Returns the heads of the columns of one data set's table."""
    domains = [figure.domain for figure in rows[0].figures]
    baseline = table.baseline or "baseline"
    return [
        *("backbone", "method", *domains, f"average of {len(domains)}", "worst domain"),
        f"average − {baseline}'s (95 % interval)",
        *("p, paired t", f"n ({unit_of(table.spread)}s)", "selection rule"),
    ]


def cells(row: DomainRow, table: DomainTable) -> list[str]:
    """Returns a row's cells, as plain text."""
    digits, signs = digits_of(table.metric), domain_signs.signs_of(table)
    found = row.difference
    reach = interval_text(found.interval.low, found.interval.high, digits) if found and found.interval else ""
    difference = "" if found is None or found.difference is None else f"{found.difference:+.{digits}f}{reach}"
    worst = "" if row.worst is None else f"{row.worst.domain} {_number(row.worst, digits)}"
    return [
        row.backbone,
        row.method,
        *(signed(_number(figure, digits), domain_signs.of_figure(figure), signs) for figure in row.figures),
        signed(_number(row.average, digits), domain_signs.of_average(row, table), signs),
        signed(worst, domain_signs.of_worst(row), signs),
        signed(difference, domain_signs.of_difference(row, table), signs),
        p_text(found.p_t) if found is not None else "",
        numbers(row),
        row.selection_rule,
    ]


def legend(rows: Sequence[DomainRow], table: DomainTable) -> list[str]:
    """Returns what the columns of one data set's table mean, one sentence each; of an empty one why it is."""
    better = "Higher" if table.direction == "max" else "Lower"
    unit = UNITS.get(table.metric, "")
    signs, one = domain_signs.signs_of(table), unit_of(table.spread)
    marks = [f"{signs[mark]} {mark.rstrip('.')}." for mark in domain_signs.marks_of(rows, table)]
    if all(figure.mean is None for row in rows for figure in row.figures):
        return marks
    return [
        f"{better} is better. Test {table.metric} {unit} on the domain that was held out, {_spread(table)}.".replace(
            "  ", " "
        ),
        f"The average is over all these domains within each {one}, its spread over {one}s; the worst domain is the one "
        "with the worst mean.",
        *marks,
    ]


def numbers(row: DomainRow) -> str:
    """Returns how many seeds or repeats stand behind the figures of a row: one number where they agree, else each."""
    found = [figure.n for figure in row.figures]
    return str(found[0]) if len(set(found)) == 1 else " / ".join(map(str, found))


def _spread(table: DomainTable) -> str:
    if table.spread == CONFIGURATION:
        return "mean ± standard error over n final seeds of one configuration (not over repeats of the whole search)"
    return (
        f"mean ± standard error over n {table.spread}, each with a seed of its own (not over {CONFIGURATION}); "
        "a repeat counts as the mean of its final runs"
    )


_NUMBERS = ("mean", "stderr", "n")


def _flat(row: DomainRow, table: DomainTable) -> dict[str, Any]:
    found: dict[str, Any] = {"dataset": row.dataset, "backbone": row.backbone, "method": row.method}
    found["metric"] = table.metric
    named = [*((figure.domain, figure) for figure in row.figures), ("average", row.average), ("worst", row.worst)]
    for name, figure in named:
        if figure is not None:
            found |= {f"{name}.{key}": getattr(figure, key) for key in _NUMBERS}
    found |= {f"{figure.domain}.selection_rule": figure.selection_rule for figure in row.figures}
    found |= {f"{figure.domain}.marks": "; ".join(figure.marks) for figure in row.figures}
    found |= {f"{figure.domain}.status": figure.status for figure in row.figures}
    found["marks"] = "; ".join(dict.fromkeys(mark for figure in row.figures for mark in figure.marks))
    found["complete"] = _complete([row])
    found["held_out_part"] = " / ".join(dict.fromkeys(figure.part for figure in row.figures))
    found["spread"] = table.spread
    found["worst.domain"] = row.worst.domain if row.worst is not None else None
    if row.difference is not None:
        interval = row.difference.interval
        found |= {"diff": row.difference.difference, "p_paired_t": row.difference.p_t, "n_pairs": row.difference.n}
        found |= {"diff_ci_low": interval.low, "diff_ci_high": interval.high} if interval is not None else {}
    return found


def _number(figure: DomainFigure | Summary, digits: int) -> str:
    if figure.mean is None:
        return ""
    spread = "" if figure.stderr is None else f" ± {figure.stderr:.{digits}f}"
    return f"{figure.mean:.{digits}f}{spread}"


def _complete(rows: Sequence[DomainRow]) -> bool:
    return all(figure.complete for row in rows for figure in row.figures)
