"""What a study would cost: one run of each cell is probed, and multiplied by the runs that are left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from coretune.errors import UnfitError
from coretune.results.manifest import usable_cpus
from coretune.runs.build import context_of
from coretune.runs.cost import PROBE_S, RunCost, run_cost
from coretune.runs.job import Job
from coretune.spec.study import Resources
from coretune.study.plan import Plan
from coretune.study.resolved import ResolvedStudy


@dataclass(frozen=True)
class ItemCost:
    """What one cell, or one pre-training, costs.

    Attributes:
        key: The cell's key, or the pre-training's label.
        runs: How many runs are left to train.
        run: What one of them costs: of a cell, with its default configuration.
    """

    key: str
    runs: int
    run: RunCost

    @property
    def seconds(self) -> float:
        """Of all its runs, one after another."""
        return self.runs * self.run.seconds


@dataclass(frozen=True)
class StudyCost:
    """What a study costs. Searched epochs or batches, pruning, and slots that share a memory bus change it.

    Attributes:
        slots: Runs at a time.
        prepare: Pre-trainings, before which no cell can start.
        cells: Searches and final runs.
    """

    slots: int
    prepare: tuple[ItemCost, ...]
    cells: tuple[ItemCost, ...]

    @property
    def seconds(self) -> float:
        """Of the study: first the pre-trainings, then the cells, no slot idle as long as there are enough of them."""
        return self._span(self.prepare) + self._span(self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        items = [{**asdict(item), "seconds": item.seconds} for item in (*self.prepare, *self.cells)]
        return {"slots": self.slots, "seconds": self.seconds, "items": items}

    def _span(self, items: tuple[ItemCost, ...]) -> float:
        longest = max((item.run.seconds for item in items), default=0.0)
        return max(longest, sum(item.seconds for item in items) / self.slots)


def study_cost(study: ResolvedStudy, plan: Plan, *, slots: int | None = None, probe_s: float = PROBE_S) -> StudyCost:
    """Probes one run of every cell and pre-training that has runs left, on this machine.

    Args:
        study: The study; cells that lack data or a checkpoint are left out.
        plan: Its plan, of the same cells.
        slots: Runs at a time; None: the study's, as far as this machine holds them.
        probe_s: How long each is measured.

    Raises:
        UnfitError: Data are absent, or a run needs a GPU that is not here.
        RequestError: A component has another version here.
    """
    resources = study.loaded.study.resources
    if resources.gpus and not torch.cuda.is_available():
        raise UnfitError(f"resources.gpus is {resources.gpus:g} and this machine has no GPU: probe where it would run")
    torch.set_num_threads(resources.worker_threads)
    context, catalog = context_of(resources), study.loaded.catalog

    def probed(todo: Iterable[tuple[str, int, Job]]) -> tuple[ItemCost, ...]:
        return tuple(
            ItemCost(key, runs, run_cost(job, catalog, context, probe_s=probe_s)) for key, runs, job in todo if runs
        )

    places = _places(resources) if slots is None else slots * resources.workers
    return StudyCost(places, probed(_pretrainings(study, plan)), probed(_cells(study, plan)))


def _pretrainings(study: ResolvedStudy, plan: Plan) -> Iterator[tuple[str, int, Job]]:
    planned = {item.run_id: item for item in plan.prepare}
    needed = {
        c.pretraining.run_id: (c.pretraining, c.cell.pretraining_data.path)
        for c in study.cells
        if c.pretraining is not None
    }
    for run_id, (spec, path) in needed.items():
        item = planned[run_id]
        yield item.label, 0 if item.recorded else 1, Job(spec, path)


def _cells(study: ResolvedStudy, plan: Plan) -> Iterator[tuple[str, int, Job]]:
    planned_cells = {planned.key: planned for planned in plan.cells}
    for cell in study.cells:
        planned = planned_cells[cell.cell.key]
        runs = planned.runs_search + planned.runs_final - (planned.recorded or 0)
        yield cell.cell.key, runs, Job(study.trial_specs(cell, {})[0], cell.cell.dataset.path)


def _places(resources: Resources) -> int:
    fits = int(usable_cpus() / resources.cpus + 1e-9)
    if resources.gpus:
        fits = min(fits, int(torch.cuda.device_count() / resources.gpus + 1e-9))
    # The probe is of one worker: those of a run count as so many slots, as if they lost nothing by sharing it.
    asked = fits if resources.slots is None else resources.slots * resources.workers
    return max(1, min(fits, asked))
