"""What a reader should know before quoting a number of the leaderboard: one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coretune.report.scores import Scores
from coretune.report.statistics import smallest_wilcoxon_p
from coretune.report.study import StudyFile
from coretune.results.cellfile import CellFile
from coretune.spec.study import Study

SIGNIFICANCE = 0.05


def about_cells(asked: StudyFile, table: Sequence[Scores], foreign: Sequence[CellFile]) -> list[str]:
    """Returns what is missing, failed or left out.

    Args:
        asked: The study.
        table: The cells that have a row.
        foreign: The cells that have none, because the study does not ask for them.
    """
    found = []
    if asked.problem:
        found.append(f"no baseline, and every cell found is listed: {asked.problem}")
    missing = asked.cell_count - len(table)
    if missing > 0:
        found.append(f"{missing} of {asked.cell_count} cells of the study have not begun")
    if foreign:
        keys = ", ".join(cell.key for cell in foreign)
        found.append(f"left out, because the study no longer asks for them with this objective: {keys}")
    for scores in table:
        if failed := scores.count("failed"):
            found.append(
                f"{scores.cell.key}: {failed} of {scores.expected} final runs failed and are missing from its mean"
            )
    return found


def about_means(means: Iterable[tuple[str, tuple[str, ...], int]], table: Sequence[Scores]) -> list[str]:
    """Returns over which data sets the mean rows are, if there are several.

    Args:
        means: Backbone, data sets and number of seeds of each mean row.
        table: The cells that have a row.
    """
    found: list[str] = []
    if len({scores.cell.dataset for scores in table}) < 2:
        return found
    for backbone, datasets in dict.fromkeys((backbone, datasets) for backbone, datasets, _ in means):
        all_of_them = dict.fromkeys(scores.cell.dataset for scores in table if scores.cell.backbone == backbone)
        left_out = [dataset for dataset in all_of_them if dataset not in datasets]
        over = ", ".join(datasets) or "no data set"
        because = f"; not every method has scores on {', '.join(left_out)}" if left_out else ""
        found.append(f"mean rows of {backbone} are over {over}{because}; their spread is over seeds, not data sets")
    return found


def about_tests(pairs: Sequence[int], asked: StudyFile, baseline: str | None) -> list[str]:
    """Returns what the p-values can and cannot say.

    Args:
        pairs: Number of pairs of each comparison with the baseline.
        asked: The study.
        baseline: Label of the baseline.
    """
    found = []
    if asked.study is not None:
        found.append(_what_varies(asked.study))
    if pairs:
        smallest = smallest_wilcoxon_p(min(pairs))
        if smallest is not None and smallest > SIGNIFICANCE:
            found.append(
                f"with {min(pairs)} pair{'s' if min(pairs) > 1 else ''} Wilcoxon's p cannot fall below {smallest:.3g}; "
                f"below {SIGNIFICANCE} takes 6"
            )
    if len(pairs) > 1:
        found.append(f"p-values are not corrected for the {len(pairs)} comparisons with {baseline}")
    return found


def _what_varies(study: Study) -> str:
    drawn = {
        raw.get("subset_seed", study.data.subset_seed)
        for raw in study.datasets.values()
        if _limited(raw) or _limited(study.data.model_dump())
    }
    if not drawn:
        subset = ""
    elif drawn == {"per_seed"}:
        subset = " and the draw of the labelled subset"
    elif drawn == {"fixed"}:
        subset = "; the labelled subset is one and the same"
    else:
        subset = " and on some data sets the draw of the labelled subset"
    return f"the spread over seeds is that of training{subset}; search, backbone and test images are shared"


def _limited(options: dict[str, object]) -> bool:
    return options.get("labels_per_class") is not None or options.get("label_fraction") is not None
