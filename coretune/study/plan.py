"""What a study would do, without doing it: cells, trials, runs, and what is recorded already."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from coretune.data.mask_pack import are_packed
from coretune.data.pack import is_packed
from coretune.data.roots import cache_root
from coretune.data.source import open_masks, open_source
from coretune.results.cellfile import CellFile
from coretune.results.front import roles_of
from coretune.results.retry import needed_weights, should_evaluate, should_train
from coretune.results.store import ResultsStore
from coretune.spec.budget import unequal_budgets
from coretune.spec.cells import Cell, DatasetChoice
from coretune.spec.domains import LEAVE_ONE_OUT
from coretune.spec.load import LoadedStudy
from coretune.spec.run import RunSpec, TrainSpec
from coretune.spec.selection_rule import selection_in_words
from coretune.spec.study import SearchOptions, Study
from coretune.study.found import datasets_of, look
from coretune.study.held_out import validation_domains
from coretune.study.missing import MissingCell, to_dicts
from coretune.study.optuna_cell import grid
from coretune.study.remarks import about_backbones, about_domains
from coretune.study.resolved import (
    ResolvedCell,
    ResolvedStudy,
    check_executable,
    check_maps,
    resolve_cell,
)
from coretune.study.trials import looks_planned

RunState = Literal["recorded", "to evaluate", "to train again", "to train"]


@dataclass(frozen=True)
class PlannedCell:
    """One cell's share of a plan.

    Attributes:
        trials: Configurations that the search proposes.
        runs_search: Runs of the search.
        runs_final: Final runs.
        space: What the search may change, in words.
        recorded: How many of these runs are recorded and not to be trained again; None if unknown, since the data are
            absent.
        to_evaluate: How many of the recorded ones lack an evaluation that is asked for.
        to_train_again: How many final runs are recorded, but lack an evaluation and the weights for it.
        missing: Whether data or a checkpoint that it needs are not there.
    """

    key: str
    dataset: str
    method: str
    backbone: str
    trials: int
    runs_search: int
    runs_final: int
    space: dict[str, str]
    recorded: int | None
    to_evaluate: int = 0
    to_train_again: int = 0
    missing: bool = False


@dataclass(frozen=True)
class PlannedItem:
    """Something that cells need first: a pre-training, or packed data.

    Attributes:
        kind: `pretraining` or `pack`.
        run_id: The pre-training's id, if it is known.
        recorded: Whether it is there; None if unknown.
    """

    label: str
    kind: str
    run_id: str | None
    recorded: bool | None


@dataclass(frozen=True)
class Plan:
    """What a study would do, and which of its cells it cannot do, for want of data or a checkpoint."""

    study: str
    results: str
    cells: tuple[PlannedCell, ...]
    prepare: tuple[PlannedItem, ...]
    missing: tuple[MissingCell, ...]
    notes: tuple[str, ...]
    selection: str = ""
    """What will stand beside figures of the test part, and why searches have more runs than trials; empty for the
    usual."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as plain values, with totals."""
        pretrainings = [item for item in self.prepare if item.kind == "pretraining"]
        runs = sum(cell.runs_search + cell.runs_final for cell in self.cells) + len(pretrainings)
        parts = [cell.recorded for cell in self.cells] + [item.recorded for item in pretrainings]
        recorded = None if any(part is None for part in parts) else sum(int(part or 0) for part in parts)
        return {
            "study": self.study,
            "results": self.results,
            "cells": [asdict(cell) for cell in self.cells],
            "prepare": [asdict(item) for item in self.prepare],
            "missing": to_dicts(self.missing),
            "totals": {
                "trials": sum(cell.trials for cell in self.cells),
                "runs": runs,
                "recorded": recorded,
                "to_train": None if recorded is None else runs - recorded,
                "to_evaluate": None if recorded is None else sum(cell.to_evaluate for cell in self.cells),
            },
            "selection": self.selection,
            "notes": list(self.notes),
        }


def make_plan(loaded: LoadedStudy, store: ResultsStore) -> Plan:
    """Returns the plan of a study. Trains nothing, and works without the data and the checkpoints.

    Raises:
        RequestError: The study is one that cannot be run.
        StorageError: The results directory cannot be read.
    """
    check_executable(loaded)
    check_maps(loaded, loaded.cells)
    found = look(loaded, loaded.cells)
    resolved = ResolvedStudy(loaded, (), found.fingerprints)
    cells = [
        replace(
            _cell(resolved, cell, resolve_cell(cell, found) if found.has(cell) else None, store),
            missing=bool(found.lacks(cell)),
        )
        for cell in loaded.cells
    ]
    missing = tuple(MissingCell(cell, lacks) for cell in loaded.cells if (lacks := found.lacks(cell)))
    notes = [f"recorded: unknown: {error}" for error in found.wrong]
    if again := sum(cell.to_train_again for cell in cells):
        notes.append(f"{again} recorded final runs lack evaluations and are trained again: their weights were not kept")
    there = [cell for cell in loaded.cells if cell.dataset.label in found.domains]
    notes += about_domains((cell.dataset, found.domains[cell.dataset.label]) for cell in there)
    notes += about_backbones((cell, found.sight_of(cell)) for cell in loaded.cells)
    notes += filter(None, [unequal_budgets(loaded.study, {cell.method: cell.trials for cell in cells})])
    if roles := roles_of(loaded.study.objective.metrics):
        notes.append(f"final runs of each cell: of {', '.join(roles)}; fewer than planned where these are one trial")
    if loaded.study.contrasts is not None and loaded.study.finals.seeds == 1:
        notes.append("contrasts cannot be judged with finals.seeds: 1: a paired test needs 2 at least, 6 are usual")
    prepare = tuple(_prepare(loaded, found.fingerprints, store))
    selection = _selection(loaded, cells)
    return Plan(loaded.study.name, str(store.root), tuple(cells), prepare, missing, tuple(notes), selection)


def _selection(loaded: LoadedStudy, cells: Sequence[PlannedCell]) -> str:
    """Returns the selection rule in words: of an oracle with its looks, of leave-one-out with the runs of a search."""
    study = loaded.study
    recipes = [TrainSpec.model_validate(cell.settings({})[1]) for cell in loaded.cells]
    looks = [looks_planned(study, cell.runs_search, train) for cell, train in zip(cells, recipes, strict=True)]
    said = [selection_in_words(study, looks)]
    if study.selection == "oracle":
        said += dict.fromkeys(filter(None, (_looked_at(cell.dataset) for cell in loaded.cells)))
    if study.selection == LEAVE_ONE_OUT:
        said += dict.fromkeys(filter(None, (_folds(study, cell) for cell in cells)))
    return "; ".join(filter(None, said))


def _looked_at(dataset: DatasetChoice) -> str:
    """Returns what images an oracle looks at, where these are not all that are tested."""
    kept_back, most = dataset.held_out_part == "domainbed_80", dataset.options.held_out_limit
    if dataset.held_out_domain is None or not (kept_back or most is not None):
        return ""
    pool = "the fifth that is kept back" if kept_back else "the domain"
    looked_at = pool if most is None else f"up to {most:,} images of {pool}, drawn apart from those that are tested"
    return f"in {dataset.section} it looks at {looked_at}"


def _folds(study: Study, cell: PlannedCell) -> str:
    """Returns why a search of leave-one-out has as many runs as it has; empty where that is not known."""
    repeats = study.search.repeats if isinstance(study.search, SearchOptions) else 1
    folds = cell.runs_search // max(1, cell.trials * repeats)
    if folds < 2:
        return ""
    more = f" × {repeats} repeats" if repeats > 1 else ""
    trials = f"{cell.trials:,} trial{'' if cell.trials == 1 else 's'}"
    return f"{trials} × {folds} source domains{more} = {cell.runs_search:,} search runs"


def _cell(study: ResolvedStudy, cell: Cell, resolved: ResolvedCell | None, store: ResultsStore) -> PlannedCell:
    settings = study.loaded.study
    trials, runs = 0, 1
    if isinstance(settings.search, SearchOptions) and cell.method.space:
        finite = settings.search.sampler == "grid"
        trials = len(grid(cell.method.space)) if finite else settings.search.trials
        judges = validation_domains(settings, cell.dataset, _sources(cell, resolved))
        runs = settings.search.repeats * max(1, len(judges))
    chosen = [] if resolved is None else _chosen(cell, store.cell(cell.key), trials)
    states = Counter() if resolved is None else _states(study, resolved, store, trials)
    return PlannedCell(
        key=cell.key,
        dataset=cell.dataset.label,
        method=cell.method.label,
        backbone=cell.backbone.label,
        trials=trials,
        runs_search=trials * runs,
        runs_final=settings.finals.seeds * (len(chosen) or study.most_choices(trials)),
        space={path: space.describe() for path, space in cell.method.space.items()},
        recorded=None if resolved is None else states["recorded"] + states["to evaluate"],
        to_evaluate=states["to evaluate"],
        to_train_again=states["to train again"],
    )


def _sources(cell: Cell, resolved: ResolvedCell | None) -> tuple[str, ...]:
    """Returns the source domains of a cell, where its data are absent those that its declaration knows."""
    declared = tuple(name for name in cell.dataset.domains if name != cell.dataset.held_out_domain)
    return declared if resolved is None else resolved.domains.sources


def _states(study: ResolvedStudy, cell: ResolvedCell, store: ResultsStore, trials: int) -> Counter[RunState]:
    """Counts the cell's runs by state: trials and finals that its search knows, else those of the defaults.

    A search that is to go on may choose otherwise, so that its final runs do not count before its last trial.
    """
    found = store.cell(cell.cell.key)
    configurations = [entry.params for entry in found.trials[:trials]] if found is not None else []
    states: Counter[RunState] = Counter()
    for params in configurations:
        if set(params) == set(cell.cell.method.space):
            states["recorded"] += _count_recorded(store, [spec.run_id for spec in study.trial_specs(cell, params)])
    finals = (spec for params in _chosen(cell.cell, found, trials) for spec in study.final_specs(cell, params))
    return states + Counter(_final_state(study, spec, store) for spec in finals)


def _chosen(cell: Cell, found: CellFile | None, trials: int) -> list[Mapping[str, Any]]:
    """Returns the configurations of a cell's final runs; empty as long as its search is to go on."""
    if trials == 0:
        return [dict(cell.method.defaults)]
    if found is None or found.choice is None or len(found.trials) != trials:
        return []
    return [choice.params for choice in found.choices or (found.choice,)]


def _final_state(study: ResolvedStudy, spec: RunSpec, store: ResultsStore) -> RunState:
    record = store.record(spec.run_id)
    if record is None or should_train(record, retry_failed=False):
        return "to train"
    wanted = (*study.final_evaluations(), *study.further_evaluations())
    missing = store.lacking(spec.run_id, wanted) if record.status == "completed" else []
    failed = [item for item in missing if not should_evaluate(record, item.eval_id(spec.run_id), retry_failed=False)]
    if len(failed) == len(missing):
        return "recorded"
    keep = study.loaded.study.keep != "none"
    there = store.has_weights(spec.run_id, needed_weights(missing, keep=keep))
    return "to evaluate" if there else "to train again"


def _count_recorded(store: ResultsStore, run_ids: Iterable[str]) -> int:
    records = (store.record(run_id) for run_id in run_ids)
    return sum(record is not None and not should_train(record, retry_failed=False) for record in records)


def _prepare(loaded: LoadedStudy, fingerprints: Mapping[str, str], store: ResultsStore) -> Iterable[PlannedItem]:
    """Returns what comes first, each once: labels of the same images share a pack and a pre-training."""
    packs: dict[tuple[str, int], list[DatasetChoice]] = {}
    for dataset in datasets_of(loaded.cells).values():
        packs.setdefault((_source(dataset, fingerprints), dataset.image_size), []).append(dataset)
    for datasets in packs.values():
        fingerprint = fingerprints.get(datasets[0].label)
        there = None if fingerprint is None else _there(loaded, datasets[0], fingerprint)
        yield PlannedItem(f"pack {_labels(datasets)}{at_size(datasets[0])}", "pack", None, there)
    runs: dict[tuple[str, str, str], dict[str, DatasetChoice]] = {}
    for cell in loaded.cells:
        dataset = cell.pretraining_data
        spec = cell.backbone.pretraining(dataset, _source(dataset, fingerprints))
        if spec is not None:
            named = (spec.run_id, spec.method.name, cell.backbone.label)
            runs.setdefault(named, {})[dataset.label] = dataset
    for (run_id, method, backbone), named_datasets in runs.items():
        datasets = list(named_datasets.values())
        known = datasets[0].label in fingerprints
        yield PlannedItem(
            f"{method} {backbone} on {_labels(datasets)}",
            "pretraining",
            run_id if known else None,
            bool(_count_recorded(store, [run_id])) if known else None,
        )


def at_size(dataset: DatasetChoice) -> str:
    """Returns the size that a data set is packed at, in words: `at 224 px`; those with masks keep their own."""
    return f" at {dataset.image_size} px" if dataset.segmentation is None else ""


def _there(loaded: LoadedStudy, dataset: DatasetChoice, fingerprint: str) -> bool:
    """Returns whether a data set is packed."""
    if dataset.segmentation is not None:
        return are_packed(open_masks(loaded.catalog, dataset.ref, dataset.path), fingerprint, cache_root())
    source = open_source(loaded.catalog, dataset.ref, dataset.path)
    return is_packed(source, fingerprint, dataset.image_size, cache_root())


def _source(dataset: DatasetChoice, fingerprints: Mapping[str, str]) -> str:
    """Returns the fingerprint, or where the data are absent what tells them from others in its place."""
    named = repr((dataset.ref, dataset.path))
    return fingerprints.get(dataset.label) or hashlib.sha256(named.encode()).hexdigest()


def _labels(datasets: Iterable[DatasetChoice]) -> str:
    return ", ".join(dataset.label for dataset in datasets)
