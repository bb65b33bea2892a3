"""Why a figure of the table of domains is not there, in words."""

from __future__ import annotations

from collections.abc import Sequence

from coretune.report.missing import Lacking
from coretune.report.scores import Scores


def gap_of(scores: Scores, trials: int | None) -> str:
    """Returns why a cell that has begun has no score; empty where it has one.

    How far it is stands in its status; cells of which the same can be said share a footnote.

    Args:
        scores: The cell's.
        trials: How many trials its search has, if known.
    """
    if scores.scored:
        return ""
    if (failure := scores.failure(trials)) is not None:
        return f"failed: {' '.join(failure.split())}"
    if scores.cell.choice is None:
        return "the search is not done"
    if scores.expected and scores.count("failed") == scores.expected:
        return "all final runs failed" if scores.expected > 1 else "the final run failed"
    return "no final run has its score yet"


def not_begun(section: str, backbone: str, lacking: Sequence[Lacking]) -> str:
    """Returns why a cell has not begun.

    Args:
        section: Label of the data set in the study file.
        backbone: Label of the backbone.
        lacking: What the last session found missing.
    """
    wanted = (("data set", section), ("checkpoint", backbone))
    things = [
        f"data set {one.label}" if one.kind == "data set" else f"the checkpoint of {one.label}"
        for one in lacking
        if (one.kind, one.label) in wanted
    ]
    verb = "were" if len(things) > 1 else "was"
    return f"not begun, {' and '.join(things)} {verb} missing in the last session" if things else "not begun"
