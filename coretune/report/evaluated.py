"""The further evaluations of final runs, aggregated as scores are: one row per cell, evaluation and metric.

Whatever lies beside a final run's record is read: what the study asks for (`evaluations`), and what was made later
(`coretune robust eval`). A method is compared with the baseline pair by pair, over final runs with the same index and
seed that both have the evaluation, on the same images.

One number is made here: `relative_mce`, of common corruptions. With E_c the error of corruption c over all severities,

    100 · mean over c of E_c(method) / E_c(baseline)

per pair: ImageNet-C's mCE (arXiv 1903.12261) with the baseline, CE-tuning, in AlexNet's place. It is 100 for the
baseline, and below it for what is more robust. A corruption on which the baseline has no error is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from coretune.report.reader import Reader
from coretune.report.scores import Scores, Seed, further_evaluations, partner
from coretune.report.statistics import compare_paired, mean, summarise
from coretune.results.record import Evaluation
from coretune.spec.frozen import canonical_json, digest
from coretune.spec.run import EvalSpec

RELATIVE = "relative_mce"
CORRUPTIONS = "corruptions"

ByLabel = Mapping[str, Mapping[Seed, Evaluation]]
Further = tuple[Seed, Evaluation]
"""An evaluation of a final run, and which final run."""


@dataclass(frozen=True)
class EvaluatedRow:
    """One metric of one further evaluation of a cell's final runs. What cannot be computed is None.

    Attributes:
        dataset: Label of the data set.
        backbone: Label of the backbone.
        method: Label of the method.
        evaluation: What the study calls it, else its name, with a part of its hash where others have the name, too.
        metric: Name of the metric.
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
        n_pairs: Seeds that both have; 0 for the baseline.
        seeds: The final seeds that count, in order.
        values: Their values, in the same order.
        spec: The evaluation's description, canonical JSON.
        choice: As in a leaderboard's row.
    """

    dataset: str
    backbone: str
    method: str
    evaluation: str
    metric: str
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
    n_pairs: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    spec: str
    choice: str = ""


def evaluated_rows(reader: Reader, table: Sequence[Scores], baseline: str | None) -> tuple[EvaluatedRow, ...]:
    """Returns the rows of all cells, in their order, by evaluation, each metric in its evaluation's order.

    Args:
        reader: Where evaluations are.
        table: The cells and their final runs.
        baseline: Label of the method that others are compared with.
    """
    further = _all_further(reader, table)
    names = labels(table, further)
    order = {label: place for place, label in enumerate(dict.fromkeys(names.values()))}
    found = {key: _by_label(evaluations, names) for key, evaluations in further.items()}
    rows: list[EvaluatedRow] = []
    for scores in table:
        cell = scores.cell
        compared = partner(scores, table, baseline)
        for label, runs in sorted(found[cell.key].items(), key=lambda item: order[item[0]]):
            others = found[compared.cell.key].get(label, {}) if compared is not None else {}
            rows += _rows(scores, label, runs, others, is_baseline=cell.method == baseline)
    return tuple(rows)


def labels(table: Sequence[Scores], further: Mapping[str, Sequence[Further]]) -> dict[str, str]:
    """Returns what further evaluations of final runs are called, by their descriptions as canonical JSON.

    Those of the study come first, in its order, then the others by name.
    """
    given = {_text(spec): label for scores in table for label, spec in further_evaluations(scores.cell).items()}
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
    """Yields the evaluations of a cell's completed final runs beside the one that scores them."""
    for final in scores.finals:
        if final.state in ("failed", "unfinished"):
            continue
        own = scores.own_evaluations(final.run_id)
        for evaluation in reader.evaluations(final.run_id):
            if evaluation.eval_id not in own:
                yield (final.index, final.seed), evaluation


def _by_label(evaluations: Sequence[Further], names: Mapping[str, str]) -> ByLabel:
    found: dict[str, dict[Seed, Evaluation]] = {}
    for seed, evaluation in evaluations:
        found.setdefault(names[_text(evaluation.spec)], {})[seed] = evaluation
    return found


def _rows(
    scores: Scores,
    label: str,
    runs: Mapping[Seed, Evaluation],
    others: Mapping[Seed, Evaluation],
    *,
    is_baseline: bool,
) -> Iterator[EvaluatedRow]:
    metrics = dict.fromkeys(name for evaluation in runs.values() for name in evaluation.metrics)
    for metric in metrics:
        values = {seed: each.metrics[metric] for seed, each in runs.items() if metric in each.metrics}
        theirs = {seed: each.metrics[metric] for seed, each in others.items() if metric in each.metrics}
        yield _row(scores, label, metric, runs, values, None if is_baseline else theirs)
    if any(_name(evaluation) == CORRUPTIONS for evaluation in runs.values()):
        pairs = {seed: (each, runs[seed] if is_baseline else others.get(seed)) for seed, each in runs.items()}
        ratios = {seed: relative_mce(own, base) for seed, (own, base) in pairs.items() if base is not None}
        known = {seed: ratio for seed, ratio in ratios.items() if ratio is not None}
        if known:
            yield _row(scores, label, RELATIVE, runs, known, None)


def relative_mce(own: Evaluation, baseline: Evaluation) -> float | None:
    """Returns the mean ratio of errors under corruptions in per cent, or None where there is none to be had."""
    mine, theirs = (each.details.get("mean_error", {}) for each in (own, baseline))
    return mean([100 * mine[name] / theirs[name] for name in mine if theirs.get(name)])


def _row(
    scores: Scores,
    label: str,
    metric: str,
    runs: Mapping[Seed, Evaluation],
    values: Mapping[Seed, float],
    others: Mapping[Seed, float] | None,
) -> EvaluatedRow:
    summary = summarise(list(values.values()))
    pairs = [seed for seed in values if others is not None and seed in others]
    compared = compare_paired([values[seed] for seed in pairs], [(others or {})[seed] for seed in pairs])
    return EvaluatedRow(
        dataset=scores.cell.dataset,
        backbone=scores.cell.backbone,
        method=scores.cell.method,
        evaluation=label,
        metric=metric,
        n=summary.n,
        mean=summary.mean,
        std=summary.std,
        stderr=summary.stderr,
        ci_low=summary.interval.low if summary.interval else None,
        ci_high=summary.interval.high if summary.interval else None,
        diff=compared.difference,
        diff_ci_low=compared.interval.low if compared.interval else None,
        diff_ci_high=compared.interval.high if compared.interval else None,
        p_paired_t=compared.p_t,
        n_pairs=compared.n,
        seeds=tuple(seed for _, seed in values),
        values=tuple(values.values()),
        spec=_text(next(iter(runs.values())).spec),
    )


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
