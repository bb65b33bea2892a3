"""The leaderboard as a table for people: Markdown and LaTeX. Rounded; all digits are in the CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from coretune.report.domain_signs import to_tex
from coretune.report.evaluated import EvaluatedRow
from coretune.report.leaderboard import Leaderboard, Row
from coretune.report.panels import panels
from coretune.report.rule_signs import Selection

UNITS = {"top1": "%", "mean_per_class": "%", "robust_top1": "%", "miou": "%", "cross_entropy": "nats"}
LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "−": "$-$",
    "√": r"$\surd$",
    "×": r"$\times$",
    "η": r"$\eta$",
    "τ": r"$\tau$",
    "α": r"$\alpha$",
    "γ": r"$\gamma$",
    "λ": r"$\lambda$",
}
"""What stands for a character in LaTeX text, which without packages knows no Greek."""
NEGATIVE = re.compile(r"(?<![\w.])-(?=[0-9])")


class Placed(Protocol):
    """A row that belongs to a data set and a backbone."""

    @property
    def dataset(self) -> str:
        """Label of the data set."""

    @property
    def backbone(self) -> str:
        """Label of the backbone."""


PlacedT = TypeVar("PlacedT", bound=Placed)


def to_markdown(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard as Markdown: what ± means is said, and how many seeds are behind it.

    Mean rows are left out where there is only one data set. Of two objectives there is a table per choice and metric.
    """
    return "\n".join(map(_markdown, panels(leaderboard)))


def _markdown(leaderboard: Leaderboard) -> str:
    rows = [_cells(row, leaderboard) for row in _shown(leaderboard)]
    remark = "" if leaderboard.complete else "**Not complete**: not every final run has its test score."
    return markdown_page(
        leaderboard.study, _header(leaderboard), rows, _legend(leaderboard), leaderboard.notes, remark=remark
    )


def to_latex(leaderboard: Leaderboard) -> str:
    """Returns the leaderboard as a LaTeX table for the package booktabs; the best of each data set is bold.

    The caption says what ± means and how configurations were chosen; notes follow as comments. Of two objectives there
    is a table per choice and metric.
    """
    return "\n".join(map(_latex, panels(leaderboard)))


def _latex(leaderboard: Leaderboard) -> str:
    def cells(row: Row) -> list[str]:
        found = latex_cells(_cells(row, leaderboard))
        if row.rank == 1:
            found[4] = rf"\textbf{{{found[4]}}}"
        return found

    header = _header(leaderboard)
    caption = f"{leaderboard.study}. {_legend(leaderboard)}"
    if not leaderboard.complete:
        caption += " Not complete: not every final run has its test score."
    columns = "lllr" + "r" * (len(header) - 5) + "l"
    return to_tex(latex_table(columns, header, grouped(_shown(leaderboard), cells), caption, leaderboard.notes))


def markdown_page(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    legend: str,
    notes: Sequence[str],
    *,
    remark: str = "",
) -> str:
    """Returns a table with its title, what its numbers mean, and notes.

    Args:
        title: As plain text, like all below but the remark.
        header: Heads of the columns.
        rows: Cells.
        legend: What the numbers mean.
        notes: What a reader should know, one item each.
        remark: Markdown that stands between legend and notes.
    """
    lines = [f"## {title}", "", *markdown_table(header, rows), "", escaped(legend)]
    if remark:
        lines += ["", remark]
    if notes:
        lines += ["", *(f"- {escaped(note)}" for note in notes)]
    return "\n".join(lines) + "\n"


def grouped(rows: Iterable[PlacedT], cells: Callable[[PlacedT], list[str]]) -> list[list[list[str]]]:
    """Returns the cells of rows, in a group for each data set and backbone, in the order of their first rows."""
    groups: dict[tuple[str, str], list[list[str]]] = {}
    for row in rows:
        groups.setdefault((row.dataset, row.backbone), []).append(cells(row))
    return list(groups.values())


def latex_cells(cells: Iterable[str]) -> list[str]:
    """Returns plain cells as LaTeX, with minus signs before negative numbers."""
    return [latex(NEGATIVE.sub("−", cell)) for cell in cells]


def latex_table(
    columns: str,
    header: Sequence[str],
    groups: Iterable[Sequence[Sequence[str]]],
    caption: str,
    notes: Iterable[str],
) -> str:
    """Returns a table for the package booktabs.

    Args:
        columns: How each column is set, `llr`.
        header: Their heads, as plain text.
        groups: Rows of cells in LaTeX, with a rule before each group.
        caption: As plain text.
        notes: What follows as comments.
    """
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(latex, header)) + r" \\",
    ]
    for group in groups:
        lines += [r"\midrule", *(" & ".join(cells) + r" \\" for cells in group)]
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{latex(caption)}}}", r"\end{table}"]
    lines += [f"% {' '.join(note.split())}" for note in notes]
    return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Returns text as LaTeX prints it."""
    return "".join(LATEX.get(sign, sign) for sign in " ".join(text.split()))


def digits_of(metric: str) -> int:
    """Returns how many decimals a metric is shown with."""
    return 2 if UNITS.get(metric) == "%" else 4


def p_text(p: float | None) -> str:
    """Returns a p-value for people: three digits, `<0.001` below that, empty for None."""
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _shown(leaderboard: Leaderboard) -> tuple[Row, ...]:
    several = len({row.dataset for row in leaderboard.rows}) > 1
    return (*leaderboard.rows, *(leaderboard.means if several else ()))


def _header(leaderboard: Leaderboard) -> list[str]:
    unit = UNITS.get(leaderboard.metric, "")
    return [
        *("data set", "backbone", "method", "n (seeds)"),
        f"test {leaderboard.metric} {unit}, mean ± standard error".replace("  ", " "),
        "95 % interval",
        f"difference to {leaderboard.baseline or 'baseline'} (95 % interval)",
        *("p, paired t", "p, Wilcoxon", "rank", "status"),
    ]


def _legend(leaderboard: Leaderboard) -> str:
    better = "Higher" if leaderboard.direction == "max" else "Lower"
    return (
        f"{better} is better. ± is the standard error of the mean over n final seeds, not the standard "
        "deviation; intervals are t-intervals over seeds; differences are paired by seed. "
        f"Selection: {str(Selection(leaderboard.rows)) or 'none yet'}."
    )


def _cells(row: Row, leaderboard: Leaderboard) -> list[str]:
    return [
        *compared_cells(row, digits_of(leaderboard.metric), Selection(leaderboard.rows).sign(row)),
        p_text(row.p_wilcoxon),
        "" if row.rank is None else str(row.rank),
        row.status,
    ]


def compared_cells(row: Row | EvaluatedRow, digits: int, sign: str) -> list[str]:
    """Returns the cells that the rows of scores and of further evaluations share: whose they are, n to p.

    Args:
        row: The row.
        digits: Decimals.
        sign: What stands beside its mean.
    """
    spread = "" if row.stderr is None else f" ± {row.stderr:.{digits}f}"
    reach = interval_text(row.diff_ci_low, row.diff_ci_high, digits)
    return [
        row.dataset,
        row.backbone,
        row.method,
        str(row.n),
        "" if row.mean is None else f"{row.mean:.{digits}f}{spread}{sign}",
        interval_text(row.ci_low, row.ci_high, digits).strip(" ()"),
        "" if row.diff is None else f"{row.diff:+.{digits}f}{reach}",
        p_text(row.p_paired_t),
    ]


def interval_text(low: float | None, high: float | None, digits: int) -> str:
    """Returns an interval as it follows its mean, ` (1.20 to 3.40)`; empty for None."""
    return "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table of plain texts."""
    return ["| " + " | ".join(map(escaped, line)) + " |" for line in (header, ["---"] * len(header), *rows)]


def escaped(text: str) -> str:
    """Returns text as Markdown shows it within a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
