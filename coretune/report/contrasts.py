"""The planned contrasts of a study: each pair of methods on each data set and backbone, judged with correction.

A contrast is first minus second over the final seeds that both have: runs with the same index and seed. Where domains
are held out and the study says so, it is of their average within each seed (a seed on all domains is one pair, so that
n counts seeds, and what a seed and a domain have in common drops out of the difference). The family of tests is all
pairs × data sets × backbones, finished or not, so that an early look at some of them is not judged more
kindly: p-values are adjusted by Holm's method, and an unfinished contrast counts as one with p = 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coretune.report import notes
from coretune.report.figures import average
from coretune.report.power import minimum_detectable_difference
from coretune.report.reader import Reader
from coretune.report.scores import Scores, Seed, read_scores
from coretune.report.statistics import compare_paired, equivalence_p, holm, paired_differences, std
from coretune.report.study import read_study
from coretune.results.cellfile import CellFile
from coretune.results.selection import Direction
from coretune.results.store import ResultsStore
from coretune.spec.contrasts import ContrastOptions
from coretune.spec.study import Study

INCOMPLETE, UNDECIDED = "incomplete", "undecided"
AVERAGE = ", average of "
"""What the label of a data set is followed by where a contrast is on the average over its held-out domains."""


@dataclass(frozen=True)
class Contrast:
    """One planned comparison, first minus second. What cannot be computed is None.

    Attributes:
        dataset: Label of the data set; for an average over held-out domains that of their entry, and how many they are.
        backbone: Label of the backbone.
        first: Label of the first method.
        second: Label of the second method.
        n: Seeds that both have a test score for.
        seeds: Final seeds that each will have.
        difference: Mean difference.
        ci_low: Lower end of its 95 % t-interval; None where the differences do not vary.
        ci_high: Upper end. The interval is of this contrast alone, not corrected.
        p: Two-sided p of the paired t-test.
        p_holm: It, adjusted over all contrasts of the study; None until both have all final seeds.
        p_tost: p of equivalence, two one-sided paired t-tests against ± the study's bound; None without a bound.
        p_tost_holm: It, adjusted likewise.
        mdd: Minimum detectable difference: the true difference that these n pairs with their spread would have found
            with 80 % power, at the study's level / number of contrasts.
        verdict: `better` or `worse` (the first method, by the metric's direction), `equivalent`, both
            (`better, but within ±0.5`), `undecided`, or `incomplete` until both have all final seeds.
    """

    dataset: str
    backbone: str
    first: str
    second: str
    n: int
    seeds: int
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    p_holm: float | None
    p_tost: float | None
    p_tost_holm: float | None
    mdd: float | None
    verdict: str


@dataclass(frozen=True)
class Contrasts:
    """All planned contrasts of a study.

    Attributes:
        study: Name of the study.
        metric: The objective's metric, on the test part.
        direction: Whether larger (max) or smaller (min) is better.
        level: Family-wise level of the differences, and of the equivalences.
        equivalence: The bound of equivalence in units of the metric; None: it is not tested.
        complete: Whether no contrast is incomplete.
        rows: In the study's order of data sets, backbones and pairs.
        notes: When they were planned, and what else a reader should know.
    """

    study: str
    metric: str
    direction: Direction
    level: float
    equivalence: float | None
    complete: bool
    rows: tuple[Contrast, ...]
    notes: tuple[str, ...]


def build(store: ResultsStore) -> Contrasts | None:
    """Judges the planned contrasts of a results directory, finished or not; None if its study plans none.

    Raises:
        StorageError: A file cannot be read for a reason other than its content.
    """
    reader = Reader(store)
    return build_from(reader, reader.cells())


def build_from(reader: Reader, cells: Sequence[CellFile]) -> Contrasts | None:
    """Judges the planned contrasts among these cells, without reading again what the reader knows."""
    asked = read_study(reader.store)
    study = asked.study
    if study is None or study.contrasts is None:
        return None
    named = {label for pair in study.contrasts.pairs for label in pair}
    table = {
        (cell.dataset, cell.backbone, cell.method): read_scores(reader, cell, asked.final_seeds)
        for cell in cells
        if asked.asks_for(cell) and cell.method in named
    }
    rows = _judged(_measured(study, study.contrasts, table), study)
    return Contrasts(
        study=asked.name,
        metric=study.objective.metrics[0],
        direction=study.direction,
        level=study.contrasts.level,
        equivalence=study.contrasts.equivalence,
        complete=all(row.verdict != INCOMPLETE for row in rows),
        rows=tuple(rows),
        notes=(
            *notes.about_plan(reader, study, list(table.values())),
            *_about_the_unfinished(rows, list(table.values())),
            *notes.about_searches(asked, list(table.values())),
            *_about_the_unvaried(rows),
            *notes.about_tests((), asked, None),
            *reader.warnings,
        ),
    )


_Table = Mapping[tuple[str, str, str], Scores]


def _measured(study: Study, options: ContrastOptions, table: _Table) -> list[Contrast]:
    """Returns every contrast with what its own seeds say; those that have all of them are `undecided` as yet."""
    places = list(itertools.product(_places(study, options).items(), study.backbones, options.pairs))
    level = options.level / len(places)
    return [
        _contrast(place, backbone, pair, study.finals.seeds, table, options.equivalence, level)
        for place, backbone, pair in places
    ]


def _places(study: Study, options: ContrastOptions) -> dict[str, tuple[str, ...]]:
    """Returns what contrasts are made on, in words: labels of data sets, several where their average is meant."""
    if options.domains == "each":
        return {label: (label,) for label in study.tuned}
    averaged = study.held_out_sections
    found: dict[str, tuple[str, ...]] = {}
    for section in study.sections:
        labels = averaged.get(section, (section,))
        found[section if section not in averaged else f"{section}{AVERAGE}{len(labels)} domains"] = labels
    return found


def _contrast(
    place: tuple[str, tuple[str, ...]],
    backbone: str,
    pair: tuple[str, str],
    seeds: int,
    table: _Table,
    bound: float | None,
    level: float,
) -> Contrast:
    said, datasets = place
    sides = [[table.get((dataset, backbone, label)) for dataset in datasets] for label in pair]
    cells = [scores for side in sides for scores in side if scores is not None]
    theirs, others = map(_by_seed, sides)
    paired = [seed for seed in sorted(theirs) if seed in others]
    first, second = [theirs[seed] for seed in paired], [others[seed] for seed in paired]
    compared = compare_paired(first, second)
    spread = std(paired_differences(first, second)) if compared.interval is not None else None
    there = len(cells) == 2 * len(datasets)
    complete = there and all(scores.complete and len(paired) == scores.expected for scores in cells)
    return Contrast(
        dataset=said,
        backbone=backbone,
        first=pair[0],
        second=pair[1],
        n=compared.n,
        seeds=max([seeds, *(scores.expected for scores in cells)]),
        difference=compared.difference,
        ci_low=compared.interval.low if compared.interval else None,
        ci_high=compared.interval.high if compared.interval else None,
        p=compared.p_t,
        p_holm=None,
        p_tost=equivalence_p(first, second, bound) if bound is not None else None,
        p_tost_holm=None,
        mdd=minimum_detectable_difference(spread, compared.n, level) if spread is not None else None,
        verdict=UNDECIDED if complete else INCOMPLETE,
    )


def _by_seed(side: Sequence[Scores | None]) -> Mapping[Seed, float]:
    """Returns the mean over a method's cells of each seed that has a score in all of them."""
    return average([{} if scores is None else scores.by_seed for scores in side])


def _judged(rows: Sequence[Contrast], study: Study) -> list[Contrast]:
    """Returns the contrasts with adjusted p-values and verdicts."""
    different = holm([row.p if row.verdict != INCOMPLETE else None for row in rows])
    alike = holm([row.p_tost if row.verdict != INCOMPLETE else None for row in rows])
    adjusted = [replace(row, p_holm=p, p_tost_holm=tost) for row, p, tost in zip(rows, different, alike, strict=True)]
    return [replace(row, verdict=_verdict(row, study)) for row in adjusted]


def _verdict(row: Contrast, study: Study) -> str:
    options = study.contrasts
    if row.verdict == INCOMPLETE or options is None:
        return row.verdict
    alike = row.p_tost_holm is not None and row.p_tost_holm <= options.level
    if row.p_holm is None or row.difference is None or row.p_holm > options.level:
        return "equivalent" if alike else UNDECIDED
    said = "better" if (row.difference > 0) == (study.direction == "max") else "worse"
    return f"{said}, but within ±{options.equivalence:g}" if alike else said


def _about_the_unfinished(rows: Sequence[Contrast], table: Sequence[Scores]) -> list[str]:
    """Returns what unfinished contrasts mean for the others, and which final runs failed."""
    unfinished = sum(row.verdict == INCOMPLETE for row in rows)
    found = []
    if unfinished:
        found.append(
            f"{unfinished} of {len(rows)} contrasts are incomplete: they count as p = 1 in the correction, and are "
            "judged when both methods have a test score of every final seed"
        )
    for scores in table:
        if failed := scores.count("failed"):
            found.append(f"{scores.cell.key}: {failed} of {scores.expected} final runs failed")
    return found


def _about_the_unvaried(rows: Sequence[Contrast]) -> list[str]:
    """Returns why a finished contrast of several seeds has no p: its differences are one and the same number."""
    found = []
    for row in rows:
        if row.verdict == INCOMPLETE or row.n < 2 or row.ci_low is not None:
            continue
        if row.difference == 0:
            said = (
                "both have the same score at every seed, so that there is nothing to test; look whether the "
                "configurations that were chosen are the same training (a contrast weight of 0, say)"
            )
        else:
            said = "the difference is the same at every seed, so that there is no spread to test it against"
        found.append(f"{row.dataset}, {row.backbone}, {row.first} − {row.second}: {said}")
    return found
