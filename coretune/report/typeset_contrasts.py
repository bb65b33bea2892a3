"""Planned contrasts as a table for people: Markdown and LaTeX. Rounded; all digits are in the CSV."""

from __future__ import annotations

from coretune.report.contrasts import AVERAGE, Contrast, Contrasts
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


def contrasts_to_markdown(contrasts: Contrasts) -> str:
    """Returns planned contrasts as Markdown, with when they were planned and what the numbers mean."""
    rows = [_cells(row, contrasts) for row in contrasts.rows]
    title = f"{contrasts.study}: planned contrasts"
    return markdown_page(title, _header(contrasts), rows, " ".join(legend(contrasts)), contrasts.notes)


def contrasts_to_latex(contrasts: Contrasts) -> str:
    """Returns planned contrasts as a LaTeX table for the package booktabs; notes follow as comments."""
    groups = grouped(contrasts.rows, lambda row: latex_cells(_cells(row, contrasts)))
    caption = f"{contrasts.study}: planned contrasts. {' '.join(legend(contrasts))}"
    return latex_table("lllrrrrrrl", _header(contrasts), groups, caption, contrasts.notes)


def legend(contrasts: Contrasts) -> list[str]:
    """Returns what the columns of a table of contrasts mean, one sentence each."""
    better = "Higher" if contrasts.direction == "max" else "Lower"
    lines = [
        f"{better} is better. Differences are of the test {contrasts.metric}, first minus second, paired by n final "
        "seeds, with their 95 % t-interval; p is of a paired t-test.",
        f"Holm: adjusted over all {len(contrasts.rows)} contrasts of the study; better or worse if at most "
        f"{contrasts.level:g}.",
    ]
    if any(AVERAGE in row.dataset for row in contrasts.rows):
        lines.append("An average over held-out domains is taken within each seed; a pair is a seed on all of them.")
    if contrasts.equivalence is not None:
        lines.append(
            f"TOST: p of two one-sided t-tests against ±{contrasts.equivalence:g}, adjusted likewise; "
            f"equivalent if at most {contrasts.level:g}."
        )
    lines.append(
        "MDD, minimum detectable difference: the true difference that these n pairs with their spread would have shown "
        f"with 80 % power at level {contrasts.level:g} / {len(contrasts.rows)}."
    )
    return lines


def _header(contrasts: Contrasts) -> list[str]:
    unit = UNITS.get(contrasts.metric, "")
    return [
        *("data set", "backbone", "contrast", "n (pairs)"),
        f"difference in test {contrasts.metric} {unit} (95 % interval)".replace("  ", " "),
        *("p, paired t", "p, Holm", "p, TOST, Holm", "MDD", "verdict"),
    ]


def _cells(row: Contrast, contrasts: Contrasts) -> list[str]:
    digits = digits_of(contrasts.metric)
    reach = interval_text(row.ci_low, row.ci_high, digits)
    return [
        row.dataset,
        row.backbone,
        f"{row.first} − {row.second}",
        str(row.n),
        "" if row.difference is None else f"{row.difference:+.{digits}f}{reach}",
        p_text(row.p),
        p_text(row.p_holm),
        p_text(row.p_tost_holm),
        "" if row.mdd is None else f"{row.mdd:.{digits}f}",
        row.verdict,
    ]
