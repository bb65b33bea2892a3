"""A study with its data looked at: fingerprints, and what each cell starts from. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coretune.errors import RequestError
from coretune.results.front import roles_of
from coretune.spec.cells import Cell, DatasetChoice, final_seed, search_seed
from coretune.spec.load import LoadedStudy
from coretune.spec.run import EvalSpec, RunSpec
from coretune.spec.seeds import derive_seed
from coretune.spec.segmentation import MIOU
from coretune.spec.selection_rule import looks_at_finals
from coretune.spec.study import APART, SearchOptions
from coretune.spec.validation_attack import ROBUST
from coretune.study.found import Found, look
from coretune.study.held_out import UNDIVIDED, Domained, validation_domains
from coretune.study.leak import UNSEEN, Sight
from coretune.study.missing import MissingCell, refusal
from coretune.study.optuna_cell import grid


@dataclass(frozen=True)
class ResolvedCell:
    """A cell whose runs have ids.

    Attributes:
        cell: What it is.
        fingerprint: SHA-256 of its data.
        weights: Where its runs start from, as in `BackboneSpec.weights`.
        pretraining: The run that makes these weights, or None.
        sight: What of the held-out domain the backbone has seen, where the study lets it.
        domains: Those that it is trained on, where one is held out.
    """

    cell: Cell
    fingerprint: str
    weights: str
    pretraining: RunSpec | None
    sight: Sight = UNSEEN
    domains: Domained = UNDIVIDED


@dataclass(frozen=True)
class ResolvedStudy:
    """A study that can be executed.

    Attributes:
        loaded: The study as read.
        cells: Those that can be run, in the order of the file.
        fingerprints: By data set label.
        missing: The cells that cannot, for want of data or a checkpoint.
    """

    loaded: LoadedStudy
    cells: tuple[ResolvedCell, ...]
    fingerprints: Mapping[str, str]
    missing: tuple[MissingCell, ...] = ()

    @property
    def checkpoints(self) -> Mapping[str, str]:
        """SHA-256 of the checkpoints that backbones start from, by the backbone's label."""
        starts = {cell.cell.backbone.label: cell.weights.partition(":") for cell in self.cells}
        return {label: digest for label, (origin, _, digest) in starts.items() if origin == "sha256"}

    @property
    def precisions(self) -> frozenset[str]:
        """Every precision that its runs may compute in, pre-training included."""
        found = set()
        for cell in self.cells:
            searched = cell.cell.method.space.get("train.precision")
            found |= {str(option) for option in searched.options} if searched is not None else set()
            found |= {spec.train.precision for spec in (self.run_spec(cell, {}, 0), cell.pretraining) if spec}
        return frozenset(found)

    def run_spec(
        self, cell: ResolvedCell, params: Mapping[str, object], seed: int, validation_domain: str | None = None
    ) -> RunSpec:
        """Returns the run of a configuration with a seed, validated on a domain if one is said."""
        study = self.loaded.study
        spec = cell.cell.spec(
            self.loaded.catalog,
            params,
            fingerprint=cell.fingerprint,
            weights=cell.weights,
            seed=seed,
            subset_seed=self.subset_seed(cell.cell.dataset, seed),
            attack=self.loaded.attack,
            validation_domain=validation_domain,
        )
        # Where the last epoch is tested, which one was best changes nothing, and must not change the run's id.
        return self.with_best(spec) if study.finals.weights == "best" else spec

    def with_best(self, spec: RunSpec) -> RunSpec:
        """Returns a run whose best epoch is wanted: by the objective, or by what an attack leaves, if there is one."""
        return spec.replace(best_by=self.loaded.study.objective.metrics[0] if spec.attack is None else ROBUST)

    def search_seeds(self, cell: ResolvedCell) -> list[int]:
        """Returns the seeds of a trial's runs, by repeat; one where there is no search."""
        search = self.loaded.study.search
        repeats = search.repeats if isinstance(search, SearchOptions) else 1
        return [search_seed(self.loaded.study.seed, cell.cell.setting, repeat) for repeat in range(repeats)]

    def trial_runs(self, cell: ResolvedCell) -> list[tuple[int, str | None]]:
        """Returns the seed and the validation domain of each of a trial's runs: by repeat, and by source domain."""
        domains = validation_domains(self.loaded.study, cell.cell.dataset, cell.domains.sources)
        return [(seed, domain) for seed in self.search_seeds(cell) for domain in domains]

    def trial_specs(self, cell: ResolvedCell, params: Mapping[str, object]) -> tuple[RunSpec, ...]:
        """Returns the runs of a configuration, in the order of `trial_runs`."""
        return tuple(self.run_spec(cell, params, seed, domain) for seed, domain in self.trial_runs(cell))

    def final_specs(self, cell: ResolvedCell, params: Mapping[str, object]) -> tuple[RunSpec, ...]:
        """Returns the final runs of a configuration, by index."""
        study = self.loaded.study
        seeds = [final_seed(study.seed, index) for index in range(study.finals.seeds)]
        # An oracle that chooses no epoch does not look at the final runs: they are those of any other rule.
        looked_at = looks_at_finals(study.selection, study.finals.weights)
        judge = cell.cell.dataset.held_out_domain if looked_at else None
        specs = tuple(self.run_spec(cell, params, seed, judge) for seed in seeds)
        if any(spec.weights == "best" for spec in self.further_evaluations()):  # then the best epoch is part of them
            return tuple(self.with_best(spec) for spec in specs)
        return specs

    def subset_seed(self, dataset: DatasetChoice, seed: int) -> int:
        """Returns the seed of the labelled subset of a run with some seed."""
        per_seed = dataset.options.subset_seed == "per_seed"
        return derive_seed(seed if per_seed else self.loaded.study.seed, "subset")

    def final_evaluation(self) -> EvalSpec:
        """Returns the evaluation of the final runs, on the test part, that has the objective, of two the first."""
        return self.evaluation_of(self.loaded.study.objective.metrics[0])

    def final_evaluations(self) -> tuple[EvalSpec, ...]:
        """Returns the evaluations of the final runs that have the objectives, each once."""
        found: list[EvalSpec] = []
        for spec in map(self.evaluation_of, self.loaded.study.objective.metrics):
            if spec not in found:
                found.append(spec)
        return tuple(found)

    def evaluation_of(self, metric: str) -> EvalSpec:
        """Returns the evaluation on the test part that has a metric of the objective."""
        catalog, attack = self.loaded.catalog, self.loaded.attack
        weights = self.loaded.study.finals.weights
        if metric == MIOU:
            return EvalSpec(evaluation=catalog.ref("evaluation", "segmentation"), split="test", weights=weights)
        if metric != ROBUST or attack is None:
            return EvalSpec(evaluation=catalog.ref("evaluation", "classification"), split="test", weights=weights)
        made = catalog.ref("evaluation", "attack", attack.evaluation())
        return EvalSpec(evaluation=made, split="test", weights=weights, limit=attack.limit)

    def further_evaluations(self) -> tuple[EvalSpec, ...]:
        """Returns what else the final runs are evaluated for, each once: two labels may mean the same."""
        main, found = self.final_evaluations(), list[EvalSpec]()
        for spec in self.loaded.evaluations.values():
            if spec not in main and spec not in found:
                found.append(spec)
        return tuple(found)

    def most_choices(self, trials: int) -> int:
        """Returns how many configurations of a cell get final runs at most, after so many trials."""
        return min(max(trials, 1), len(roles_of(self.loaded.study.objective.metrics)) or 1)


def only_matching(loaded: LoadedStudy, only: Mapping[str, str]) -> list[Cell]:
    """Returns the cells with the given labels, e.g. `{"dataset": "cifar10"}`.

    Raises:
        RequestError: An unknown kind of label, or one that no cell has.
    """
    for kind, label in only.items():
        if kind not in ("dataset", "method", "backbone"):
            raise RequestError(f"--only {kind}={label}: needs dataset=, method= or backbone=")
        known = list(dict.fromkeys(label for cell in loaded.cells for label in cell.labels(kind)))
        if label not in known:
            raise RequestError(f"--only {kind}={label}: no such {kind} in the study; it has {', '.join(known)}")
    return [cell for cell in loaded.cells if all(label in cell.labels(kind) for kind, label in only.items())]


def check_executable(loaded: LoadedStudy) -> None:
    """Refuses what a study file may say and this engine cannot do.

    Raises:
        RequestError: A grid over a continuous or vast space, or nothing to tell apart.
    """
    study = loaded.study
    for dataset in {cell.dataset.label: cell.dataset for cell in loaded.cells}.values():
        if loaded.catalog.dataset(dataset.ref.name).classes == 1:
            raise RequestError(
                f"datasets.{dataset.label}: {dataset.ref.name} has no labels to tune with; "
                f"{APART}: true and `pretrain.dataset: {dataset.label}` pre-train on it"
            )
    if isinstance(study.search, SearchOptions) and study.search.sampler == "grid":
        for cell in loaded.cells:
            grid(cell.method.space)


def check_maps(loaded: LoadedStudy, cells: Iterable[Cell]) -> None:
    """Refuses backbones whose feature maps are not what the head of a segmentation needs.

    Raises:
        StudyError: With all of them, each at its key.
    """
    of_pixels = [cell for cell in cells if cell.dataset.segmentation is not None]
    if of_pixels:
        from coretune.segment.fit import check_backbones  # asks the nets, and so needs torch

        check_backbones(loaded, of_pixels)


def resolve(loaded: LoadedStudy, only: Mapping[str, str] | None = None) -> ResolvedStudy:
    """Looks at the data and checkpoints of a study and names its runs; cells that lack some are `missing`.

    Raises:
        MissingError: No cell has what it needs; says what is missing and where it was looked for.
        UnfitError: Data or a checkpoint are there and not as expected; says which.
        RequestError: `only` matches nothing, the study is none that `check_executable` and `check_maps` let pass, a
            held-out domain is not there, or a backbone has seen it.
    """
    check_executable(loaded)
    cells = only_matching(loaded, only or {})
    check_maps(loaded, cells)
    found = look(loaded, cells)
    if found.wrong:
        raise found.wrong[0]
    complete = tuple(resolve_cell(cell, found) for cell in cells if found.has(cell))
    missing = tuple(MissingCell(cell, found.lacks(cell)) for cell in cells if not found.has(cell))
    if not complete:
        raise refusal(missing)
    return ResolvedStudy(loaded, complete, found.fingerprints, missing)


def resolve_cell(cell: Cell, found: Found) -> ResolvedCell:
    """Names what the runs of a cell start from, which has all that it needs."""
    data, origin = found.fingerprints[cell.dataset.label], cell.pretraining_data
    held_out = found.sight_of(cell), found.domains.get(cell.dataset.label, UNDIVIDED)
    pretraining = cell.backbone.pretraining(origin, found.fingerprints[origin.label])
    if pretraining is not None:
        return ResolvedCell(cell, data, f"run:{pretraining.run_id}", pretraining, *held_out)
    digest = found.checkpoints.get(cell.backbone.label)
    return ResolvedCell(cell, data, "random" if digest is None else f"sha256:{digest}", None, *held_out)
