"""The leaderboard: one row per cell, and one per method and backbone for the mean over data sets.

Every number is of the study's metric on the *test* part, over final runs only. A spread is over final seeds: of a
cell, over the scores of its final runs; of a mean row, over one number per seed, the mean of that seed's scores over
the data sets. So n counts seeds in both, and a mean row's spread says how far the mean over *these* data sets would
move with other seeds, not how much data sets differ. A method is compared with the baseline pair by pair: final runs
with the same index and seed, which share the labelled subset, the order and the augmentation as far as methods allow.

A study of two objectives has a row per cell, choice (best by each objective, knee) and metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from coretune.report import notes
from coretune.report.evaluated import MEAN, EvaluatedRow, evaluated
from coretune.report.figures import average, figures, in_common
from coretune.report.front import FrontPoint, front_points, metrics_of, panels_of, view
from coretune.report.held_out_notes import about_held_out
from coretune.report.missing import missing_note, read_missing
from coretune.report.reader import Reader
from coretune.report.scores import Final, Scores, Seed, partner, read_scores
from coretune.report.statistics import RESOLUTION
from coretune.report.study import StudyFile, read_study
from coretune.results.cellfile import CellFile
from coretune.results.selection import Direction
from coretune.results.store import ResultsStore


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard. What cannot be computed is None.

    Attributes:
        kind: `cell`, or `mean` for a mean over data sets.
        dataset: Label of the data set; `mean` in mean rows.
        backbone: Label of the backbone.
        method: Label of the method.
        metric: top1, mean_per_class or robust_top1 (per cent), or cross_entropy (nats), on the test part.
        direction: Whether larger (max) or smaller (min) is better.
        selection_rule: How the configuration was chosen, and which weights are tested.
        n: Final seeds that count.
        mean: Mean over seeds.
        std: Standard deviation over seeds, ddof = 1.
        stderr: Standard error of the mean, std / √n.
        ci_low: Lower end of the mean's 95 % t-interval.
        ci_high: Upper end.
        diff: Mean difference to the baseline, method minus baseline, over the shared seeds; None for the baseline.
        diff_ci_low: Lower end of its 95 % t-interval; None where the differences do not vary.
        diff_ci_high: Upper end.
        p_paired_t: Two-sided p of the paired t-test; None where the differences do not vary.
        p_wilcoxon: Two-sided exact p of Wilcoxon's signed-rank test; None where all differences are zero.
        n_pairs: Seeds that both have; 0 for the baseline.
        rank: 1 is best, within data set and backbone; equal means share the lower number. None without a mean.
        status: How far the cell is, in words.
        params: The chosen configuration: values by path.
        seeds: The final seeds that count, in order.
        values: Their scores, in the same order.
        run_ids: The runs behind them, in the same order (a mean row: data set by data set).
        datasets: The data sets that count: one, or those of a mean.
        choice: Of two objectives, which configuration's final runs these are: best_top1, best_robust_top1, knee.
    """

    kind: Literal["cell", "mean"]
    dataset: str
    backbone: str
    method: str
    metric: str
    direction: Direction
    selection_rule: str
    n: int
    mean: float | None
    std: float | None
    stderr: float | None
    ci_low: float | None
    ci_high: float | None
    diff: float | None
    diff_ci_low: float | None
    diff_ci_high: float | None
    p_paired_t: float | None
    p_wilcoxon: float | None
    n_pairs: int
    rank: int | None
    status: str
    params: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    run_ids: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    choice: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """Records and evaluations, aggregated.

    Attributes:
        study: Name of the study.
        metric: The objective's metric, of two the first, on the test part; empty while there is no cell.
        direction: Whether larger (max) or smaller (min) is better.
        baseline: Label of the method that others are compared with; None if there is no study.yaml to name it.
        selection_rule: As in the rows; where they differ, that it stands there.
        complete: Whether every final run of every cell of the study has its test score.
        rows: One per cell, in the study's order of data sets, backbones and methods.
        means: One per backbone and method, over the data sets on which all methods have scores.
        notes: What a reader should know before quoting a number.
        evaluations: Further evaluations of the final runs, by cell, evaluation and metric.
        evaluation_means: Their means over the data sets on which all methods that have the evaluation have it, where
            there are several, by backbone, evaluation, metric and method.
        objectives: Where there are two, metric and direction of each; rows then differ in `metric` and `choice`.
        front: Where there are two, the trials of each cell on the validation part.
    """

    study: str
    metric: str
    direction: Direction
    baseline: str | None
    selection_rule: str
    complete: bool
    rows: tuple[Row, ...]
    means: tuple[Row, ...]
    notes: tuple[str, ...]
    evaluations: tuple[EvaluatedRow, ...] = ()
    evaluation_means: tuple[EvaluatedRow, ...] = ()
    objectives: tuple[tuple[str, Direction], ...] = ()
    front: tuple[FrontPoint, ...] = ()


def build(store: ResultsStore) -> Leaderboard:
    """Computes the leaderboard of a results directory, finished or not.

    Raises:
        StorageError: A file cannot be read for a reason other than its content.
    """
    reader = Reader(store)
    return build_from(reader, reader.cells())


def build_from(reader: Reader, cells: Sequence[CellFile]) -> Leaderboard:
    """Computes the leaderboard of these cells, without reading again what the reader knows."""
    asked = read_study(reader.store)
    cells = sorted(cells, key=asked.place)
    ours = [cell for cell in cells if asked.asks_for(cell)]
    baseline = asked.study.baseline_label if asked.study is not None else None
    objectives = _objectives(asked, ours)
    tables = [
        (role, [read_scores(reader, view(cell, role, metric), asked.final_seeds) for cell in ours])
        for role, metric, _ in panels_of(objectives)
    ]
    rows = [row for role, table in tables for row in _panel_rows(table, role, baseline, asked.trials)]
    means = [replace(row, choice=role) for role, table in tables for row in _ranked(_mean_rows(table, baseline))]
    whole = [scores for _, table in tables for scores in table]
    several = len(objectives) > 1
    first, *others = tables[:: len(objectives)]
    further = [evaluated(reader, table, baseline, choice=role) for role, table in (first, *others)]
    return Leaderboard(
        study=asked.name,
        metric=objectives[0][0],
        direction=objectives[0][1],
        baseline=baseline,
        selection_rule=common_rule(rows),
        complete=bool(ours) and len(ours) >= asked.cell_count and all(scores.complete for scores in whole),
        rows=_by_cell(rows) if several else tuple(rows),
        means=tuple(means),
        notes=(
            *notes.about_cells(
                asked,
                first[1],
                [cell for cell in cells if not asked.asks_for(cell)],
                missing_note(read_missing(reader.store)),
            ),
            *notes.about_searches(asked, [scores for _, table in (first, *others) for scores in table]),
            *notes.about_attack(whole),
            *about_held_out(ours),
            *notes.about_choices([scores for _, table in others for scores in table]),
            *notes.about_means([(row.backbone, row.datasets, row.n) for row in means], first[1]),
            *notes.about_tests([row.n_pairs for row in rows if row.diff is not None], asked, baseline),
            *reader.warnings,
        ),
        evaluations=tuple(row for found in further for row in found.rows),
        evaluation_means=tuple(row for found in further for row in found.means),
        objectives=objectives if several else (),
        front=tuple(point for cell in ours for point in front_points(cell)) if several else (),
    )


def _objectives(asked: StudyFile, cells: Sequence[CellFile]) -> tuple[tuple[str, Direction], ...]:
    """Returns metric and direction of each objective: the study's, or where it is not known those of its cells."""
    if asked.study is not None:
        objective = asked.study.objective
        return tuple(zip(objective.metrics, objective.directions, strict=True))
    return metrics_of(cells[0]) if cells else (("", "max"),)


def _panel_rows(table: Sequence[Scores], role: str, baseline: str | None, trials: int | None) -> list[Row]:
    """Returns the ranked rows of all cells, as one choice and one metric see them."""
    rows = _ranked([_cell_row(scores, partner(scores, table, baseline), trials) for scores in table])
    return [replace(row, choice=role) for row in rows]


def _by_cell(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Returns rows cell by cell, in the order in which cells, and in each of them choices and metrics, are found."""
    cells = list(dict.fromkeys((row.dataset, row.backbone, row.method) for row in rows))
    return tuple(sorted(rows, key=lambda row: cells.index((row.dataset, row.backbone, row.method))))


def _cell_row(scores: Scores, baseline: Scores | None, trials: int | None) -> Row:
    cell = scores.cell
    row = _row(
        kind="cell",
        scores=scores,
        values=scores.by_seed,
        baseline=baseline.by_seed if baseline is not None else None,
        status=scores.status(trials),
        runs=scores.scored,
    )
    params = cell.choice.params if cell.choice is not None else {}
    return replace(row, dataset=cell.dataset, datasets=(cell.dataset,), params=params)


def _mean_rows(table: Sequence[Scores], baseline: str | None) -> list[Row]:
    """Returns a row per backbone and method: per seed the mean over data sets, then statistics over seeds."""
    rows = []
    for backbone in dict.fromkeys(scores.cell.backbone for scores in table):
        group = [scores for scores in table if scores.cell.backbone == backbone]
        datasets = common_datasets(group)
        methods = {
            method: [scores for scores in group if scores.cell.method == method and scores.cell.dataset in datasets]
            for method in dict.fromkeys(scores.cell.method for scores in group)
        }
        averages = {method: average([scores.by_seed for scores in cells]) for method, cells in methods.items()}
        for method, cells in methods.items():
            counted = [
                final for scores in cells for final in scores.scored if (final.index, final.seed) in averages[method]
            ]
            row = _row(
                kind="mean",
                scores=next(scores for scores in group if scores.cell.method == method),
                values=averages[method],
                baseline=averages.get(baseline) if baseline not in (None, method) else None,
                status=f"over {len(datasets)} data set{'' if len(datasets) == 1 else 's'}",
                runs=counted,
            )
            rules = dict.fromkeys(scores.rule() for scores in cells) or {row.selection_rule: None}
            rows.append(replace(row, datasets=tuple(datasets), selection_rule=" / ".join(rules)))
    return rows


def common_datasets(group: Sequence[Scores]) -> list[str]:
    """Returns the data sets on which all methods have scores, in order.

    Args:
        group: The cells of one backbone.
    """
    cells = [scores.cell for scores in group if scores.scored]
    return in_common((scores.cell.method for scores in group), ((cell.dataset, cell.method) for cell in cells))


def _row(
    *,
    kind: Literal["cell", "mean"],
    scores: Scores,
    values: Mapping[Seed, float],
    baseline: Mapping[Seed, float] | None,
    status: str,
    runs: Sequence[Final],
) -> Row:
    return Row(
        kind=kind,
        dataset=MEAN,
        backbone=scores.cell.backbone,
        method=scores.cell.method,
        metric=scores.cell.metric,
        direction=scores.cell.direction,
        selection_rule=scores.rule(),
        rank=None,
        status=status,
        run_ids=tuple(final.run_id for final in runs),
        **figures(values, baseline),
    )


def _ranked(rows: Sequence[Row]) -> list[Row]:
    return [replace(row, rank=_rank(row, rows)) for row in rows]


def _rank(row: Row, rows: Sequence[Row]) -> int | None:
    """Returns 1 plus the number of clearly better means in the row's group."""
    if row.mean is None:
        return None
    sign = 1 if row.direction == "max" else -1
    rivals = [
        other.mean
        for other in rows
        if other.mean is not None and (other.dataset, other.backbone) == (row.dataset, row.backbone)
    ]
    return 1 + sum(sign * (mean - row.mean) > RESOLUTION * max(abs(mean), abs(row.mean)) for mean in rivals)


def common_rule(rows: Sequence[Row | EvaluatedRow]) -> str:
    """Returns how the configurations and weights of rows were chosen, or that this differs."""
    rules = dict.fromkeys(row.selection_rule for row in rows)
    return next(iter(rules)) if len(rules) == 1 else ("differs between cells; each row has its own" if rules else "")
