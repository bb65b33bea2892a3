"""The further evaluations of final runs, aggregated as scores are: one row per cell, evaluation and metric, and means.

Whatever lies beside a final run's record is read: what the study asks for (`evaluations`), and what was made later
(`coretune robust eval`). A method is compared with the baseline pair by pair, over final runs with the same index and
seed that both have the evaluation, on the same images. A mean row is over the data sets on which all methods that have
the evaluation have it, as the leaderboard's mean rows are: one number per seed.

One number is made here: `relative_mce`, of common corruptions. With E_c the error of corruption c over all severities,

    100 · mean over c of E_c(method) / E_c(baseline)

per pair: ImageNet-C's mCE (arXiv 1903.12261) with the baseline, CE-tuning, in AlexNet's place. It is 100 for the
baseline, and below it for what is more robust. A corruption on which the baseline has no error is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from coretune.report.figures import average, figures, in_common
from coretune.report.metric_order import merged
from coretune.report.reader import Reader
from coretune.report.scores import Scores, Seed, further_evaluations, partner
from coretune.report.statistics import mean
from coretune.results.record import Evaluation
from coretune.spec.frozen import canonical_json, digest
from coretune.spec.run import EvalSpec
from coretune.spec.segmentation import MIOU

RELATIVE = "relative_mce"
CORRUPTIONS = "corruptions"
MEAN = "mean"
TEST = "test"
"""Label of what the evaluation that scores a segmentation tells beside the score; no label of a study (`TAKEN`)."""

ByLabel = Mapping[str, Mapping[Seed, Evaluation]]
Further = tuple[Seed, Evaluation]
"""An evaluation of a final run, and which final run."""


@dataclass(frozen=True)
class EvaluatedRow:
    """One metric of one further evaluation of a cell's final runs. What cannot be computed is None.

    Attributes:
        dataset: Label of the data set; `mean` in mean rows.
        backbone: Label of the backbone.
        method: Label of the method.
        evaluation: What the study calls it, else its name, with a part of its hash where others have the name, too.
        metric: Name of the metric.
        selection_rule: How the configuration was chosen, and which weights are evaluated: perhaps others than those
            that are tested.
        n: Final runs that have it.
        mean: Mean over seeds.
        std: Standard deviation over seeds, ddof = 1.
        stderr: Standard error of the mean.
        ci_low: Lower end of the mean's 95 % t-interval.
        ci_high: Upper end.
        diff: Mean difference to the baseline over the shared seeds; None for the baseline.
        diff_ci_low: Lower end of its 95 % t-interval.
        diff_ci_high: Upper end.
        p_paired_t: Two-sided p of the paired t-test.
        p_wilcoxon: Two-sided exact p of Wilcoxon's signed-rank test.
        n_pairs: Seeds that both have; 0 for the baseline.
        seeds: The final seeds that count, in order.
        values: Their values, in the same order.
        spec: The evaluation's description, canonical JSON.
        datasets: The data sets that count: one, or those of a mean.
        kind: `cell`, or `mean` for a mean over data sets.
        choice: As in a leaderboard's row.
    """

    dataset: str
    backbone: str
    method: str
    evaluation: str
    metric: str
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
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    spec: str
    datasets: tuple[str, ...]
    kind: Literal["cell", "mean"]
    choice: str = ""


class Evaluated(NamedTuple):
    """Rows by cell, evaluation and metric; and the means over data sets, of which there are none for one data set."""

    rows: tuple[EvaluatedRow, ...]
    means: tuple[EvaluatedRow, ...]


@dataclass(frozen=True)
class _Series:
    """One metric of a cell's final runs.

    Attributes:
        cell: The cell's data set, backbone and method.
        of: The evaluation's label, and the metric.
        values: By final run.
        spec: The evaluation's description.
        rule: How configuration and weights were chosen.
        paired: Whether it is compared with the baseline.
    """

    cell: tuple[str, str, str]
    of: tuple[str, str]
    values: Mapping[Seed, float]
    spec: str
    rule: str
    paired: bool


def evaluated(reader: Reader, table: Sequence[Scores], baseline: str | None, *, choice: str = "") -> Evaluated:
    """Returns the rows of all cells, in their order, by evaluation, each metric in its evaluation's order, and means.

    Args:
        reader: Where evaluations are.
        table: The cells and their final runs.
        baseline: Label of the method that others are compared with.
        choice: Of two objectives, whose final runs these are.
    """
    further = _all_further(reader, table)
    names = labels(table, further)
    order = {label: place for place, label in enumerate(dict.fromkeys(names.values()))}
    found = {key: _by_label(evaluations, names) for key, evaluations in further.items()}
    series: list[_Series] = []
    for scores in table:
        cell = scores.cell
        compared = partner(scores, table, baseline)
        for label, runs in sorted(found[cell.key].items(), key=lambda item: order[item[0]]):
            others = found[compared.cell.key].get(label, {}) if compared is not None else {}
            series += _series(scores, label, runs, runs if cell.method == baseline else others)
    by_place = {(each.cell, each.of): each.values for each in series}
    rows = []
    for each in series:
        dataset, backbone, method = each.cell
        theirs = by_place.get(((dataset, backbone, baseline or ""), each.of))
        rows.append(_row(each, each.values, None if method == baseline else theirs, (dataset,)))
    means = _means(series, baseline)
    return Evaluated(*(tuple(replace(row, choice=choice) for row in every) for every in (rows, means)))


def _means(series: Sequence[_Series], baseline: str | None) -> Iterator[EvaluatedRow]:
    """Yields the mean rows: per seed the mean over data sets, then statistics over seeds."""
    groups: dict[tuple[str, tuple[str, str]], list[_Series]] = {}
    for each in series:
        groups.setdefault((each.cell[1], each.of), []).append(each)
    for group in groups.values():
        methods = dict.fromkeys(each.cell[2] for each in group)
        datasets = in_common(methods, ((each.cell[0], each.cell[2]) for each in group))
        if len(datasets) < 2:
            continue
        counted = {
            method: [each for each in group if each.cell[2] == method and each.cell[0] in datasets]
            for method in methods
        }
        averages = {method: average([each.values for each in own]) for method, own in counted.items()}
        theirs = averages.get(baseline or "")
        for method, own in counted.items():
            against = None if method == baseline else theirs
            rules = " / ".join(dict.fromkeys(each.rule for each in own))
            yield _row(replace(own[0], rule=rules), averages[method], against, tuple(datasets), mean=True)


def labels(table: Sequence[Scores], further: Mapping[str, Sequence[Further]]) -> dict[str, str]:
    """Returns what further evaluations of final runs are called, by their descriptions as canonical JSON.

    Those of the study come first, in its order, then the others by name.
    """
    given = {_text(scores.evaluation): TEST for scores in table if scores.evaluation and _of_pixels(scores)}
    given |= {_text(spec): label for scores in table for label, spec in further_evaluations(scores.cell).items()}
    others: dict[str, list[str]] = {}
    for evaluations in further.values():
        for _, evaluation in evaluations:
            text = _text(evaluation.spec)
            if text not in given and text not in others.setdefault(_name(evaluation), []):
                others[_name(evaluation)].append(text)
    taken = set(given.values())
    for name, texts in sorted(others.items()):
        alone = len(texts) == 1 and name not in taken
        given |= {text: name if alone else f"{name}-{digest(text)[:4]}" for text in sorted(texts)}
    return given


def further_labels(reader: Reader, table: Sequence[Scores]) -> dict[str, dict[str, str]]:
    """Returns the ids of the further evaluations of final runs, by run and label."""
    further = _all_further(reader, table)
    names = labels(table, further)
    found: dict[str, dict[str, str]] = {}
    for evaluations in further.values():
        for _, evaluation in evaluations:
            found.setdefault(evaluation.run_id, {})[names[_text(evaluation.spec)]] = evaluation.eval_id
    return found


def _all_further(reader: Reader, table: Sequence[Scores]) -> dict[str, tuple[Further, ...]]:
    """Returns the further evaluations of each cell's final runs, by the cell's key."""
    return {scores.cell.key: tuple(_further(reader, scores)) for scores in table}


def _further(reader: Reader, scores: Scores) -> Iterator[Further]:
    """Yields the evaluations of a cell's completed final runs beside the one that scores them.

    Of segmentation that one, too: it has the pixel accuracy and each class's IoU beside the score.
    """
    for final in scores.finals:
        if final.state in ("failed", "unfinished"):
            continue
        own = scores.own_evaluations(final.run_id)
        for evaluation in reader.evaluations(final.run_id):
            if evaluation.eval_id not in own or _of_pixels(scores):
                yield (final.index, final.seed), evaluation


def _by_label(evaluations: Sequence[Further], names: Mapping[str, str]) -> ByLabel:
    found: dict[str, dict[Seed, Evaluation]] = {}
    for seed, evaluation in evaluations:
        found.setdefault(names[_text(evaluation.spec)], {})[seed] = evaluation
    return found


def _series(
    scores: Scores, label: str, runs: Mapping[Seed, Evaluation], baseline: Mapping[Seed, Evaluation]
) -> Iterator[_Series]:
    """Yields the metrics of an evaluation of a cell's final runs; `baseline` has the same of the baseline's."""
    cell, said = scores.cell, next(iter(runs.values())).spec
    place, spec, rule = (
        (cell.dataset, cell.backbone, cell.method),
        _text(said),
        scores.rule(str(said.get("weights", "last"))),
    )
    scored = (cell.metric,) if label == TEST else ()  # the leaderboard's own rows have it
    for metric in merged(evaluation.metrics for evaluation in runs.values()):
        if metric in scored:
            continue
        values = {seed: each.metrics[metric] for seed, each in runs.items() if metric in each.metrics}
        yield _Series(place, (label, metric), values, spec, rule, paired=True)
    if any(_name(evaluation) == CORRUPTIONS for evaluation in runs.values()):
        ratios = {seed: relative_mce(each, baseline[seed]) for seed, each in runs.items() if seed in baseline}
        known = {seed: ratio for seed, ratio in ratios.items() if ratio is not None}
        if known:
            yield _Series(place, (label, RELATIVE), known, spec, rule, paired=False)


def relative_mce(own: Evaluation, baseline: Evaluation) -> float | None:
    """Returns the mean ratio of errors under corruptions in per cent, or None where there is none to be had."""
    mine, theirs = (each.details.get("mean_error", {}) for each in (own, baseline))
    return mean([100 * mine[name] / theirs[name] for name in mine if theirs.get(name)])


def _row(
    series: _Series,
    values: Mapping[Seed, float],
    baseline: Mapping[Seed, float] | None,
    datasets: tuple[str, ...],
    *,
    mean: bool = False,
) -> EvaluatedRow:
    dataset, backbone, method = series.cell
    return EvaluatedRow(
        dataset=MEAN if mean else dataset,
        backbone=backbone,
        method=method,
        evaluation=series.of[0],
        metric=series.of[1],
        selection_rule=series.rule,
        spec=series.spec,
        datasets=datasets,
        kind="mean" if mean else "cell",
        **figures(values, baseline if series.paired else None),
    )


def _of_pixels(scores: Scores) -> bool:
    """Returns whether the evaluation that scores a cell has more to tell than the score."""
    return scores.cell.metric == MIOU


def _name(evaluation: Evaluation) -> str:
    return str(evaluation.spec.get("evaluation", {}).get("name", "evaluation"))


def _text(spec: EvalSpec | Mapping[str, Any]) -> str:
    """Returns an evaluation's description as canonical JSON, whether or not defaults are written in it."""
    if not isinstance(spec, EvalSpec):
        try:
            spec = EvalSpec.model_validate(spec)
        except ValidationError:  # of another version of coretune: then it is compared as it stands
            return canonical_json(spec)
    return canonical_json(spec.model_dump(mode="json", exclude_defaults=True))
