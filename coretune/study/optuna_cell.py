"""One cell's search: an Optuna study that is asked, told, and rebuilt from what is on disk."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from coretune.errors import RequestError
from coretune.results.cellfile import TrialEntry
from coretune.spec.seeds import derive_seed
from coretune.spec.space import Space
from coretune.spec.study import SearchOptions
from coretune.study.tpe import CellTPESampler

STATES = {
    "running": TrialState.RUNNING,
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
LEARNING_SAMPLERS = frozenset({"tpe", "gp", "cmaes"})
"""Samplers whose proposals depend on earlier trials; the others' depend on the trial's number alone."""
SEED_RANGE = 2**32
MAX_GRID = 10_000
PICKLED = "cma:optimizer"
"""What the keys of CMA-ES's pickled optimiser begin with. It never touches the disk, since reading it would execute it;
Optuna rebuilds it from the trials' parameters, values and generations."""


class OptunaCell:
    """Proposes configurations for one cell.

    Args:
        name: The cell's key; the name of the Optuna study.
        space: What may change, by path.
        defaults: The configuration of trial 0, by path.
        options: Sampler, pruner, budget.
        directions: `max` or `min`, of each objective.
        study_seed: Each proposal is seeded by (study seed, cell, trial number), so that a resumed search does not
            repeat its first draws.
        epochs: Epochs of a run, for the pruners' rungs.
        storage: Optuna's storage.
    """

    def __init__(
        self,
        name: str,
        space: Mapping[str, Space],
        defaults: Mapping[str, Any],
        options: SearchOptions,
        *,
        directions: Sequence[str],
        study_seed: int,
        epochs: int,
        storage: optuna.storages.BaseStorage,
    ) -> None:
        self._name = name
        self._space = dict(space)
        self._options = options
        self._seed = study_seed
        self._first = first_trials(space, defaults)
        self._grid = grid(space) if options.sampler == "grid" else None
        steps = epochs if options.repeats == 1 else options.repeats
        self._study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=["maximize" if direction == "max" else "minimize" for direction in directions],
            pruner=make_pruner(options.pruner, steps),
        )
        self._distributions = {path: distribution(item) for path, item in self._space.items()}
        self._storage = storage
        self._ids: list[int] = []

    @property
    def budget(self) -> int:
        """How many trials the cell has."""
        return self._options.trials if self._grid is None else len(self._grid)

    def restore(self, trials: Sequence[TrialEntry]) -> None:
        """Rebuilds the study from entries; their numbers must be 0, 1, 2, ...

        Raises:
            ValueError: A number is missing.
        """
        for position, entry in enumerate(sorted(trials, key=lambda item: item.number)):
            if entry.number != position:
                raise ValueError(f"cell {self._name}: trial {position} is missing")
            known = self._in_range({path: v for path, v in entry.params.items() if path in self._distributions})
            self._study.add_trial(
                create_trial(
                    state=STATES[entry.state],
                    params=known,
                    distributions={path: self._distributions[path] for path in known},
                    values=_values(entry),
                    intermediate_values=dict(entry.intermediate),
                    system_attrs=_plain(entry.attrs),
                )
            )
        self._ids = [trial._trial_id for trial in self._study.get_trials(deepcopy=False)]

    def ask(self, number: int) -> dict[str, Any]:
        """Returns the configuration of trial `number`, which must be the next one."""
        seed = derive_seed(self._seed, "ask", self._name, number) % SEED_RANGE
        sampler = self._study.sampler
        if isinstance(sampler, CellTPESampler):
            sampler.reseed(seed)
        else:
            self._study.sampler = make_sampler(self._options.sampler, seed, self._options.trials, self._distributions)
        chosen = self._given(number)
        if chosen is not None:
            self._study.enqueue_trial(self._in_range(chosen))
        trial = self._study.ask(self._distributions)
        if trial.number != number:
            raise RuntimeError(f"cell {self._name}: asked for trial {number}, got {trial.number}")
        self._ids.append(trial._trial_id)
        return dict(trial.params if chosen is None else chosen)

    def _given(self, number: int) -> dict[str, Any] | None:
        """Returns the configuration of a trial that the sampler has no say in, or None."""
        if self._grid is not None:
            return self._grid[number]
        if number < len(self._first):
            return self._first[number]
        if self._options.sampler == "qmc":
            # Optuna's own counts its points in the storage, where a resumed search would begin again.
            point = number - len(self._first)
            return sobol_point(self._space, point, derive_seed(self._seed, "qmc", self._name))
        return None

    def _in_range(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a configuration as Optuna is told it: values beside a range as its nearest end."""
        return {path: self._space[path].nearest(value) for path, value in params.items()}

    def report(self, number: int, value: float, step: int) -> bool:
        """Reports an intermediate value; returns whether the trial should be pruned."""
        trial = self._trial(number)
        trial.report(value, step)
        return trial.should_prune()

    def tell(self, number: int, state: str, *values: float) -> None:
        """Finishes a trial; one that completed has a value of each objective."""
        target = STATES[state]
        self._study.tell(number, values if target is TrialState.COMPLETE else None, state=target)

    def attrs(self, number: int) -> dict[str, Any]:
        """Returns the sampler's and the pruner's notes on a trial, as plain JSON values."""
        return _plain(self._frozen(number).system_attrs)

    def _trial(self, number: int) -> optuna.trial.Trial:
        return optuna.trial.Trial(self._study, self._ids[number])

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._ids[number])


def distribution(space: Space) -> BaseDistribution:
    """Returns Optuna's distribution of a search space."""
    if space.kind == "choice":
        return CategoricalDistribution(space.options)
    if space.kind == "int":
        return IntDistribution(int(space.low), int(space.high))
    return FloatDistribution(space.low, space.high, log=space.kind == "log_uniform")


def grid(space: Mapping[str, Space]) -> list[dict[str, Any]]:
    """Returns all configurations of a finite space, in a fixed order.

    Raises:
        RequestError: A space is continuous, or there are too many configurations.
    """
    values: list[Sequence[Any]] = []
    for path, item in space.items():
        if item.kind in ("uniform", "log_uniform"):
            raise RequestError(f"search.sampler: grid needs finite spaces, {path} is {item.describe()}; write a choice")
        numbers = range(int(item.low), int(item.high) + 1)
        values.append(item.options if item.kind == "choice" else [*numbers, *item.also] if item.also else numbers)
    count = math.prod(map(len, values))
    if count > MAX_GRID:
        raise RequestError(
            f"search.sampler: the grid of {', '.join(space)} has {count:,} configurations, more than {MAX_GRID:,}; "
            "write fewer options, or take another sampler"
        )
    return [dict(zip(space, combination, strict=True)) for combination in itertools.product(*values)]


def first_trials(space: Mapping[str, Space], defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the configurations that every search begins with: the defaults, then each value beside a range."""
    found = [dict(defaults)]
    found += [{**defaults, path: value} for path, item in space.items() for value in item.also]
    return [params for number, params in enumerate(found) if params not in found[:number]]


def sobol_point(space: Mapping[str, Space], index: int, seed: int) -> dict[str, Any]:
    """Returns one point of a scrambled Sobol sequence over a space; all points of one seed fill it evenly."""
    from scipy.stats import qmc

    if not space:
        return {}
    engine = qmc.Sobol(len(space), scramble=True, rng=seed)
    if index:
        engine.fast_forward(index)
    return {path: item.at(float(u)) for (path, item), u in zip(space.items(), engine.random(1)[0], strict=True)}


def make_sampler(
    name: str, seed: int, trials: int, distributions: Mapping[str, BaseDistribution]
) -> optuna.samplers.BaseSampler:
    """Returns the sampler of one proposal.

    TPE proposes at random at first; with a small budget that would be all of it, so a quarter of the budget, at least
    four trials and at most Optuna's own ten.
    """
    if name == "tpe":
        return CellTPESampler(distributions, seed=seed, n_startup_trials=min(10, max(4, trials // 4)))
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=seed)


def make_pruner(name: str, steps: int) -> optuna.pruners.BasePruner:
    """Returns Optuna's pruner.

    Args:
        name: As in `search.pruner`.
        steps: How many values a trial reports at most.
    """
    if name == "successive_halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, steps // 9), reduction_factor=3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=steps, reduction_factor=3)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=steps // 4)
    if name == "wilcoxon":
        return optuna.pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=2)
    return optuna.pruners.NopPruner()


def _values(entry: TrialEntry) -> list[float] | None:
    """Returns a trial's values of the objectives, in their order; None if it has none."""
    if entry.value is None or entry.state not in ("completed", "pruned"):
        return None
    return list(entry.scores.values()) or [entry.value]


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if not key.startswith(PICKLED)}
