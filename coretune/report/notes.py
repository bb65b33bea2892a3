"""What a reader should know before quoting a number of the leaderboard: one sentence each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from coretune.report.reader import Reader
from coretune.report.scores import Scores
from coretune.report.spread import over_seeds
from coretune.report.statistics import smallest_wilcoxon_p
from coretune.report.study import StudyFile
from coretune.results.cellfile import CellFile
from coretune.results.planned import Plan, changes, plan_of
from coretune.spec.budget import unequal_budgets
from coretune.spec.study import Study

SIGNIFICANCE = 0.05


def about_cells(
    asked: StudyFile, table: Sequence[Scores], foreign: Sequence[CellFile], lacking: Sequence[str] = ()
) -> list[str]:
    """Returns what is missing, failed or left out.

    Args:
        asked: The study.
        table: The cells that have a row.
        foreign: The cells that have none, because the study does not ask for them.
        lacking: Remarks on what the last session found missing.
    """
    found: list[str] = []
    if asked.problem:
        found.append(f"no baseline, and every cell found is listed: {asked.problem}")
    missing = asked.cell_count - len(table)
    if missing > 0:
        found.append(f"{missing} of {asked.cell_count} cells of the study have not begun")
    found += lacking
    if foreign:
        keys = ", ".join(cell.key for cell in foreign)
        found.append(f"left out, because the study no longer asks for them with this objective: {keys}")
    return found + about_failures(table)


def about_failures(table: Iterable[Scores]) -> list[str]:
    """Returns of which cells final runs failed."""
    return [
        f"{scores.cell.key}: {failed} of {scores.expected} final runs failed and are missing from its mean"
        for scores in table
        if (failed := scores.count("failed"))
    ]


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


def about_searches(asked: StudyFile, table: Sequence[Scores]) -> list[str]:
    """Returns where budgets differ, and where a search chose a value that stands beside its range.

    Args:
        asked: The study.
        table: The cells that have a row.
    """
    found: list[str] = []
    cells = [scores.cell for scores in table]
    if asked.study is not None:
        ended = {cell.method: len(cell.trials) for cell in cells if cell.choice is not None}
        found += filter(None, [unequal_budgets(asked.study, ended)])
    chosen: dict[tuple[str, float], list[str]] = {}
    for cell in cells:
        places = [cell.dataset, cell.method, *([cell.backbone] if len({one.backbone for one in cells}) > 1 else [])]
        places += ["/".join(cell.choice.roles)] if cell.choice is not None and cell.choice.roles else []
        for path, value in (cell.choice.params if cell.choice is not None and cell.trials else {}).items():
            if value in (cell.space.get(path, {}).get("also") or ()):
                chosen.setdefault((path, value), []).append(", ".join(places))
    for (path, value), where in chosen.items():
        meaning = "; there the method is trained without its contrast" if (path, value) == ("method.eta", 0) else ""
        found.append(
            f"the search chose {path} = {value:g}, beside its range, for {'; '.join(dict.fromkeys(where))}{meaning}"
        )
    return found


def about_attack(table: Sequence[Scores]) -> list[str]:
    """Returns under which attack the scores are, if they are under one.

    Args:
        table: The cells that have a row.
    """
    found: dict[str, None] = {}
    for scores in table:
        spec = scores.evaluation
        if spec is None or spec.evaluation.name != "attack":
            continue
        params = spec.evaluation.params
        norm = "L2" if params.get("norm") == "l2" else "L∞"
        images = "" if spec.limit is None else f" of {spec.limit:,} test images at most"
        found[
            f"robust_top1: accuracy{images} under PGD, {norm} {', '.join(params['eps'])}, {params['steps']} steps: "
            "an upper bound; AutoAttack is a further evaluation (docs/robustness.md)"
        ] = None
    return list(found)


def about_choices(table: Sequence[Scores]) -> list[str]:
    """Returns what the choices of two objectives are, and which of their final runs failed.

    Args:
        table: The cells as the choices after the first one see them; empty for one objective.
    """
    if not table:
        return []
    found = [
        "choices are those of the validation part: the best by each objective, and the knee of the front, the trial "
        "farthest beyond the line between its ends, both axes normalised by them; a configuration that is several of "
        "them is trained once and stands in the rows of each"
    ]
    failures = {
        f"{scores.cell.key}: {failed} of {scores.expected} final runs of trial {scores.cell.choice.trial} failed"
        for scores in table
        if scores.cell.choice is not None and (failed := scores.count("failed"))
    }
    return found + sorted(failures)


def about_tests(pairs: Sequence[int], asked: StudyFile, baseline: str | None) -> list[str]:
    """Returns what the p-values can and cannot say.

    Args:
        pairs: Number of pairs of each comparison with the baseline.
        asked: The study.
        baseline: Label of the baseline.
    """
    found = []
    if asked.study is not None:
        found += _limits(asked.study)
        found.append(over_seeds(asked.study))
    if pairs:
        smallest = smallest_wilcoxon_p(min(pairs))
        if smallest is not None and smallest > SIGNIFICANCE:
            found.append(
                f"with {min(pairs)} pair{'s' if min(pairs) > 1 else ''} Wilcoxon's p cannot fall below {smallest:.3g}; "
                f"below {SIGNIFICANCE} takes 6"
            )
    return found + about_comparisons(len(pairs), baseline)


def about_comparisons(count: int, baseline: str | None) -> list[str]:
    """Returns that the p-values of several comparisons with the baseline are not corrected for their number."""
    return [f"p-values are not corrected for the {count} comparisons with {baseline}"] if count > 1 else []


def about_plan(reader: Reader, study: Study, table: Sequence[Scores]) -> list[str]:
    """Returns when the contrasts of a study were planned, and how that was changed, after how many test scores.

    Args:
        reader: Where `planned.json` and the evaluations are.
        study: The study as it is now.
        table: The cells that the contrasts compare.
    """
    planned = reader.store.planned()
    if planned is None:
        return ["nothing says when the contrasts were planned: there is no planned.json, which `study run` writes"]
    first, *later = planned.entries
    found = [f"planned on {_day(first)} {_after(first)}"]
    if not first.test_scores and (older := _older(reader, table, first.date)):
        found = [
            f"planned on {_day(first)} before any test score was in this directory; {older} of the test scores are "
            "older: their runs were taken over from other results"
        ]
    for before, entry in itertools.pairwise(planned.entries):
        found.append(f"the plan was changed on {_day(entry)} {_after(entry)}: {_listed(before.plan, entry.plan)}")
    last = later[-1] if later else first
    if changed := _listed(last.plan, plan_of(study)):
        found.append(f"study.yaml is not what was planned: {changed}")
    return found


def _day(entry: Plan) -> str:
    return entry.date.partition("T")[0]


def _after(entry: Plan) -> str:
    scores = entry.test_scores
    return f"after {scores} test score{'' if scores == 1 else 's'}" if scores else "before any test score was there"


def _listed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return ", ".join(changes(before, after))


def _older(reader: Reader, table: Sequence[Scores], date: str) -> int:
    """Returns how many test scores had been made before a date."""
    found = [
        reader.evaluation(final.run_id, scores.evaluation.eval_id(final.run_id))
        for scores in table
        if scores.evaluation is not None
        for final in scores.scored
    ]
    return sum(evaluation is not None and _earlier(evaluation.created, date) for evaluation in found)


def _earlier(one: str, two: str) -> bool:
    try:
        return datetime.fromisoformat(one) < datetime.fromisoformat(two)
    except (ValueError, TypeError):  # a time that is no time, or one of two without a zone
        return False


def _limits(study: Study) -> list[str]:
    """Returns that images were limited, where they were: such scores are not those of the data set."""
    found = []
    for key, what in (("limit", "training saw"), ("held_out_limit", "the validation and the test part have")):
        own = [study.datasets[label].get(key, getattr(study.data, key)) for label in study.sections]
        if limits := sorted({limit for limit in own if isinstance(limit, int)}):
            most = " or ".join(f"{limit:,}" for limit in limits)
            found.append(f"{what} at most {most} images (data.{key}): these are not scores of the data set")
    return found
