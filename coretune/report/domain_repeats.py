"""Domains as columns over repeats of the whole search: the spread that DomainBed's tables have.

Two spreads are reported as "±" in this field. That over *seeds of one configuration* trains one choice again and again;
it is what a results directory has by itself (`coretune.report.domains`). That over *repeats of the whole search* lets
each repeat search, choose and train by itself, so that it holds the luck of the search too. Each repeat is a results
directory of the same study with another `seed`, and perhaps another `split_seed`, as DomainBed has it; what it says of
a domain is the mean over its final runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from coretune.errors import RequestError
from coretune.report.domains import DomainFigure, DomainRow, DomainTable, Place, compared, require, rule_of, worst_of
from coretune.report.notes import about_comparisons
from coretune.report.spread import NEW_SPLITS, ONE_SPLIT, Spread, over_repeats, over_seeds
from coretune.report.statistics import compare_paired, summarise
from coretune.report.study import read_study
from coretune.results.store import ResultsStore
from coretune.spec.study import Study

SPLIT_SEED = "split_seed"
REPEATS = "repeats"


def build_repeated(stores: Sequence[ResultsStore]) -> DomainTable:
    """Computes the table over repeats of a search; n counts repeats.

    Args:
        stores: The results directories of a study, each with another seed; two at least.

    Raises:
        RequestError: They are no repeats of one search, or some share their splits and some do not; says which.
        StorageError: A file cannot be read for a reason other than its content.
    """
    tables = [require(store) for store in stores]
    studies = _studies(stores)
    first = tables[0]
    found = [{(row.dataset, row.backbone, row.method): row for row in table.rows} for table in tables]
    rows = tuple(_row(place, found, first) for place in dict.fromkeys(place for each in found for place in each))
    whole = replace(
        first,
        rows=rows,
        complete=all(table.complete for table in tables) and all(one.complete for row in rows for one in row.figures),
        spread=_spread_of(studies),
    )
    own = (*_comparisons(whole), over_repeats(studies[0], whole.spread))
    return replace(whole, notes=(*_notes(tables, studies, whole), *own))


def _comparisons(table: DomainTable) -> list[str]:
    return about_comparisons(compared(table.rows), table.baseline)


def _notes(tables: Sequence[DomainTable], studies: Sequence[Study], whole: DomainTable) -> Iterator[str]:
    """Yields what is said of the repeats: of all of them as it is, of some with their seeds before it."""
    said: dict[str, list[int]] = {}
    for table, study in zip(tables, studies, strict=True):
        for note in (*_lacking(table, whole), *table.notes):
            if note not in (over_seeds(study), *_comparisons(table)):  # a table of repeats has its own of both
                said.setdefault(note, []).append(study.seed)
    for note, seeds in said.items():
        of = "" if len(seeds) == len(tables) else f"repeat of seed {' and of seed '.join(map(str, seeds))}: "
        yield f"{of}{note}"


def _studies(stores: Sequence[ResultsStore]) -> list[Study]:
    """Returns the study of each directory: all the same, but for name, seed and the seed of the splits.

    Raises:
        RequestError: They are not.
    """
    seeds: dict[int, ResultsStore] = {}
    studies: list[Study] = []
    for store in stores:
        study = read_study(store).study
        if study is None:
            raise RequestError(f"{store.root}: its study.yaml cannot be read, so that its seed is not known")
        if (other := seeds.setdefault(study.seed, store)) is not store:
            raise RequestError(
                f"{store.root} and {other.root} have the same seed, {study.seed}: a repeat of a search has a seed of "
                "its own; run the study with --set seed=N"
            )
        studies.append(study)
    for store, study in zip(stores, studies, strict=True):
        if differing := [name for name in COMPARED if _asked(study, name) != _asked(studies[0], name)]:
            raise RequestError(
                f"{store.root} is no repeat of {stores[0].root}: {', '.join(differing)} of the studies differ"
            )
    return studies


COMPARED = (
    "datasets",
    "backbones",
    "methods",
    "data",
    "train",
    "search",
    "finals",
    "objective",
    "selection",
    "adversary",
)
"""What is the same in all repeats, but for the seed of the splits."""


def _asked(study: Study, name: str) -> Any:
    """Returns what a study says under a key, without the seed of the splits."""
    if name == "datasets":
        return {label: _without_seed(raw) for label, raw in study.datasets.items()}
    return _without_seed(study.data.model_dump()) if name == "data" else getattr(study, name)


def _without_seed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != SPLIT_SEED}


def _spread_of(studies: Sequence[Study]) -> Spread:
    """Returns whether the repeats share their splits.

    Raises:
        RequestError: Some do.
    """
    found: dict[Spread, str] = {}
    for section in studies[0].held_out_sections:
        seeds = [study.datasets[section].get(SPLIT_SEED, study.data.split_seed) for study in studies]
        if 1 < len(set(seeds)) < len(seeds):
            raise RequestError(
                f"some repeats share a split of {section}, others do not: their split_seed is "
                f"{', '.join(map(str, seeds))}; run all with one, or each with its own (--set data.split_seed=N)"
            )
        found[ONE_SPLIT if len(set(seeds)) == 1 else NEW_SPLITS] = section
    if len(found) > 1:
        raise RequestError(
            f"the repeats share the split of {found[ONE_SPLIT]}, but not that of {found[NEW_SPLITS]}: one table has "
            "one spread; let split_seed of both be the same in all, or differ"
        )
    return next(iter(found), ONE_SPLIT)


def _row(place: Place, found: Sequence[dict[Place, DomainRow]], table: DomainTable) -> DomainRow:
    rows = [each[place] for each in found if place in each]
    dataset, backbone, method = place
    theirs = {} if table.baseline in (None, method) else _averages((dataset, backbone, str(table.baseline)), found)
    averages = _averages(place, found)
    shared = [number for number in averages if number in theirs]
    figures = tuple(
        _figure([row.figures[column] for row in rows], len(found)) for column in range(len(rows[0].figures))
    )
    compared = compare_paired([averages[n] for n in shared], [theirs[n] for n in shared]) if theirs else None
    return DomainRow(
        dataset=dataset,
        backbone=backbone,
        method=method,
        figures=figures,
        average=summarise(list(averages.values())),
        worst=worst_of(figures, table.direction),
        difference=compared,
        selection_rule=rule_of((row.selection_rule for row in rows), REPEATS),
    )


def _averages(place: Place, found: Sequence[dict[Place, DomainRow]]) -> dict[int, float]:
    """Returns the average over the domains of each repeat, by its number, that has one."""
    rows = {number: each[place] for number, each in enumerate(found) if place in each}
    return {number: row.average.mean for number, row in rows.items() if row.average.mean is not None}


def _figure(figures: Sequence[DomainFigure], repeats: int) -> DomainFigure:
    summary = summarise([figure.mean for figure in figures if figure.mean is not None])
    gaps = "; ".join(dict.fromkeys(figure.gap for figure in figures if figure.gap))
    return DomainFigure(
        domain=figures[0].domain,
        n=summary.n,
        mean=summary.mean,
        stderr=summary.stderr,
        selection_rule=rule_of((one.selection_rule for one in figures if one.mean is not None), REPEATS),
        marks=tuple(dict.fromkeys(mark for figure in figures for mark in figure.marks)),
        status=f"{summary.n} of {repeats} repeats" + (f"; {gaps}" if gaps else ""),
        complete=summary.n == repeats and all(figure.complete for figure in figures),
        run_ids=tuple(run_id for figure in figures for run_id in figure.run_ids),
        part=figures[0].part,
        gap="" if summary.n else gaps,
    )


def _lacking(table: DomainTable, whole: DomainTable) -> Iterator[str]:
    """Yields what a repeat lacks of figures that another one has."""
    there = {(row.dataset, row.backbone, row.method): row for row in whole.rows}
    for row in table.rows:
        for one, all_of_them in zip(row.figures, there[row.dataset, row.backbone, row.method].figures, strict=True):
            if one.gap and not all_of_them.gap:
                yield f"no score of {row.method} on {row.dataset}, {one.domain}, with {row.backbone}: {one.gap}"
