"""Domains as columns: how each method does on every held-out domain, on their average, and on the worst.

Every number is of the study's metric on held-out domains, over final runs only. A figure of a domain is the mean over
its cell's final seeds. The average is taken within each seed, over all domains that the data set's entry holds out, and
then over the seeds that all of them have: n counts seeds, and the spread is that of the average over *these* domains.
The worst domain is the one with the worst mean, with the figure that stands in its column: the models of two domains
are different models, so that a worst one drawn within each seed would only pick out noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from coretune.errors import RequestError
from coretune.report import notes
from coretune.report.domain_gaps import gap_of, not_begun
from coretune.report.front import metrics_of, panels_of, view
from coretune.report.held_out_notes import about_held_out
from coretune.report.missing import Lacking, missing_note, read_missing
from coretune.report.reader import Reader
from coretune.report.scores import Scores, Seed, held_out_marks, read_scores, shared_seeds
from coretune.report.spread import CONFIGURATION, Spread
from coretune.report.statistics import Comparison, Summary, compare_paired, summarise
from coretune.report.study import StudyFile, read_study
from coretune.results.cellfile import CellFile
from coretune.results.selection import Direction
from coretune.results.store import ResultsStore
from coretune.spec.domains import HeldOutPart, held_out_domains
from coretune.spec.study import Study

Place = tuple[str, str, str]
"""Data set, backbone, method."""


@dataclass(frozen=True)
class DomainFigure:
    """A method's score on one held-out domain.

    Attributes:
        domain: Its name.
        n: Final seeds that count.
        mean: Mean over them; None for none.
        stderr: Standard error of the mean; None for fewer than two.
        selection_rule: How configuration and weights were chosen; empty where none was.
        marks: What has to stand beside the figure, e.g. that it is transductive.
        status: How far the cell is, in words.
        complete: Whether every final run has its score.
        run_ids: The runs behind it.
        part: What of the domain is tested.
        gap: Why there is no mean, in words; empty where there is one.
    """

    domain: str
    n: int
    mean: float | None
    stderr: float | None
    selection_rule: str
    marks: tuple[str, ...]
    status: str
    complete: bool
    run_ids: tuple[str, ...]
    part: HeldOutPart = "whole"
    gap: str = ""


@dataclass(frozen=True)
class DomainRow:
    """One method on the domains of one data set.

    Attributes:
        dataset: Label of the data set in the study file.
        backbone: Label of the backbone.
        method: Label of the method.
        figures: One per held-out domain, in the study's order; of a cell that has not begun, without numbers.
        average: Over the domains; without numbers unless each has a score.
        worst: The domain with the worst mean; None unless each has a score.
        difference: The average less the baseline's, paired by seed; None for the baseline and without one.
        selection_rule: That of all figures, or that they differ.
    """

    dataset: str
    backbone: str
    method: str
    figures: tuple[DomainFigure, ...]
    average: Summary
    worst: DomainFigure | None
    difference: Comparison | None
    selection_rule: str


@dataclass(frozen=True)
class DomainTable:
    """What a study with held-out domains found.

    Attributes:
        study: Its name.
        metric: The objective's metric, on the held-out domains.
        direction: Whether larger (max) or smaller (min) is better.
        baseline: Label of the method that others are compared with, if it is known.
        rows: In the study's order of data sets, backbones and methods; those of cells that have not begun, too.
        complete: Whether every final run on every held-out domain has its score.
        notes: What a reader should know before quoting a number.
        spread: What ± and n are over: the final seeds of one configuration, or repeats of the whole search, each with a
            seed of its own, and with one split or each with its own.
    """

    study: str
    metric: str
    direction: Direction
    baseline: str | None
    rows: tuple[DomainRow, ...]
    complete: bool
    notes: tuple[str, ...]
    spread: Spread = CONFIGURATION


def build(store: ResultsStore) -> DomainTable | None:
    """Computes the table of a results directory, finished or not; None where no domain is held out.

    Raises:
        StorageError: A file cannot be read for a reason other than its content.
    """
    reader = Reader(store)
    return build_from(reader, reader.cells())


def require(store: ResultsStore) -> DomainTable:
    """Computes the table of a results directory, finished or not.

    Raises:
        RequestError: There is none.
        StorageError: A file cannot be read for a reason other than its content.
    """
    table = build(store)
    if table is None:
        raise RequestError(
            f"{store.root}: no domain is held out there (`held_out_domain` of a data set does), or no cell has begun"
        )
    return table


def build_from(reader: Reader, cells: Sequence[CellFile]) -> DomainTable | None:
    """Computes the table of these cells, without reading again what the reader knows."""
    asked = read_study(reader.store)
    cells = sorted((cell for cell in cells if cell.held_out is not None and asked.asks_for(cell)), key=asked.place)
    if not cells:
        return None
    measures = metrics_of(cells[0])
    role, metric, direction = panels_of(measures)[0]
    table = [read_scores(reader, view(cell, role, metric), asked.final_seeds) for cell in cells]
    several = [f"of two objectives: {metric}, of the configuration that is best by it"] if len(measures) > 1 else []
    lacking = read_missing(reader.store)
    baseline = asked.study.baseline_label if asked.study is not None else None
    rows = tuple(_rows(_placed(table), asked, baseline, direction, lacking))
    return DomainTable(
        study=asked.name,
        metric=metric,
        direction=direction,
        baseline=baseline,
        rows=rows,
        complete=all(figure.complete for row in rows for figure in row.figures),
        notes=(
            *several,
            *missing_note(lacking),
            *notes.about_failures(table),
            *notes.about_searches(asked, table),
            *notes.about_tests((), asked, baseline),
            *notes.about_comparisons(compared(rows), baseline),
            *about_held_out(cells),
            *reader.warnings,
        ),
    )


def compared(rows: Iterable[DomainRow]) -> int:
    """Returns how many rows have a difference to the baseline's."""
    return sum(row.difference is not None and row.difference.difference is not None for row in rows)


def _placed(table: Sequence[Scores]) -> dict[Place, dict[str, Scores]]:
    """Returns the cells of each place by the domain that is held out."""
    found: dict[Place, dict[str, Scores]] = {}
    for scores in table:
        cell, held_out = scores.cell, scores.cell.held_out
        if held_out is not None:
            found.setdefault((held_out.section, cell.backbone, cell.method), {})[held_out.domain] = scores
    return found


def _asked_places(study: Study) -> Iterator[Place]:
    for section in study.held_out_sections:
        if held_out_domains(study.datasets[section]):
            yield from ((section, backbone, method) for backbone in study.backbones for method in study.methods)


def _rows(
    found: Mapping[Place, Mapping[str, Scores]],
    asked: StudyFile,
    baseline: str | None,
    direction: Direction,
    lacking: Sequence[Lacking],
) -> Iterator[DomainRow]:
    """Yields a row for each place that the study asks for, whether it has begun or not."""
    for place in dict.fromkeys([*(_asked_places(asked.study) if asked.study is not None else ()), *found]):
        dataset, backbone, method = place
        by_domain = found.get(place, {})
        others = found.get((dataset, backbone, baseline), {}) if baseline not in (None, method) else {}
        known = dict.fromkeys(domain for key, each in found.items() if key[0] == dataset for domain in each)
        raw = asked.study.datasets[dataset] if asked.study is not None else {}
        domains = held_out_domains(raw) or tuple(known)
        averages = _averages(by_domain, domains)
        theirs = _averages(others, domains)
        shared = [seed for seed in averages if seed in theirs]
        none = DomainFigure("", 0, None, None, "", (), not_begun(dataset, backbone, lacking), False, ())
        none = replace(none, part=raw.get("held_out_part", "whole"), gap=none.status)
        figures = tuple(
            _figure(domain, by_domain[domain], asked.trials) if domain in by_domain else replace(none, domain=domain)
            for domain in domains
        )
        yield DomainRow(
            dataset=dataset,
            backbone=backbone,
            method=method,
            figures=figures,
            average=summarise(list(averages.values())),
            worst=worst_of(figures, direction),
            difference=compare_paired([averages[s] for s in shared], [theirs[s] for s in shared]) if others else None,
            selection_rule=rule_of((one.selection_rule for one in figures if one.mean is not None), "domains"),
        )


def rule_of(rules: Iterable[str], what: str) -> str:
    """Returns the selection rule of several figures, or that it differs; nothing where none has one.

    Args:
        rules: That of each figure, empty of one without.
        what: Between what it would differ.
    """
    found = list(dict.fromkeys(filter(None, rules)))
    return found[0] if len(found) == 1 else f"differs between {what}" if found else ""


def _averages(by_domain: Mapping[str, Scores], domains: Sequence[str]) -> dict[Seed, float]:
    """Returns the mean over all domains, of each seed that has a score on each of them."""
    if any(domain not in by_domain for domain in domains):
        return {}
    cells = [by_domain[domain] for domain in domains]
    return {seed: sum(scores.by_seed[seed] for scores in cells) / len(cells) for seed in shared_seeds(cells)}


def _figure(domain: str, scores: Scores, trials: int | None) -> DomainFigure:
    summary, held_out = summarise(list(scores.by_seed.values())), scores.cell.held_out
    return DomainFigure(
        domain=domain,
        n=summary.n,
        mean=summary.mean,
        stderr=summary.stderr,
        selection_rule=scores.selection_rule() if scores.cell.choice is not None else "",
        marks=tuple(held_out_marks(scores.cell)),
        status=scores.status(trials),
        complete=scores.complete,
        run_ids=tuple(final.run_id for final in scores.scored),
        part=held_out.part if held_out is not None else "whole",
        gap=gap_of(scores, trials),
    )


def worst_of(figures: Sequence[DomainFigure], direction: Direction) -> DomainFigure | None:
    """Returns the figure with the worst mean, the first of equals; None unless every domain has one."""
    means = [figure.mean for figure in figures if figure.mean is not None]
    if not means or len(means) < len(figures):
        return None
    return figures[means.index(min(means) if direction == "max" else max(means))]


def to_json(table: DomainTable) -> str:
    """Returns the table as JSON, as `to_dict` has it."""
    return json.dumps(to_dict(table), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_dict(table: DomainTable) -> dict[str, Any]:
    """Returns the table as plain values, one key per attribute, with `schema_version`."""
    plain = asdict(table)
    return {"schema_version": 1, **plain, "rows": list(plain["rows"]), "notes": list(plain["notes"])}
