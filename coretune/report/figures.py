"""What is said of the values of one method over seeds, and of them beside the baseline's: the same for all tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from coretune.report.scores import Seed
from coretune.report.statistics import compare_paired, summarise


class Figures(TypedDict):
    """Columns that the rows of scores and of further evaluations share; what cannot be computed is None.

    `n` to `ci_high` are of the values; `diff` to `n_pairs` of the differences to the baseline over the seeds that both
    have, method minus baseline; `seeds` and `values` are in the same order.
    """

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


def figures(values: Mapping[Seed, float], baseline: Mapping[Seed, float] | None) -> Figures:
    """Returns the figures of a method's values.

    Args:
        values: By final run; one of the baseline's is its partner if it has the same index and seed.
        baseline: The baseline's, or None for the baseline itself and where there is none.
    """
    summary = summarise(list(values.values()))
    theirs = baseline or {}
    pairs = [seed for seed in values if seed in theirs]
    compared = compare_paired([values[seed] for seed in pairs], [theirs[seed] for seed in pairs])
    own, between = summary.interval, compared.interval
    return Figures(
        n=summary.n,
        mean=summary.mean,
        std=summary.std,
        stderr=summary.stderr,
        ci_low=own.low if own else None,
        ci_high=own.high if own else None,
        diff=compared.difference,
        diff_ci_low=between.low if between else None,
        diff_ci_high=between.high if between else None,
        p_paired_t=compared.p_t,
        p_wilcoxon=compared.p_wilcoxon,
        n_pairs=compared.n,
        seeds=tuple(seed for _, seed in values),
        values=tuple(values.values()),
    )


def average(by_dataset: Sequence[Mapping[Seed, float]]) -> dict[Seed, float]:
    """Returns the mean over data sets of each final seed that has a value on all of them, in order."""
    if not by_dataset:
        return {}
    shared = set.intersection(*(set(values) for values in by_dataset))
    return {seed: sum(values[seed] for values in by_dataset) / len(by_dataset) for seed in sorted(shared)}


def in_common(methods: Iterable[str], placed: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the data sets on which all of some methods have values, in order.

    Args:
        methods: Labels.
        placed: A data set and a method of each cell that has values.
    """
    wanted = set(methods)
    have: dict[str, set[str]] = {}
    for dataset, method in placed:
        have.setdefault(dataset, set()).add(method)
    return [dataset for dataset, found in have.items() if wanted <= found]
