"""Results of a study without Ray: two cells with trained final runs of a second, their weights kept."""

from __future__ import annotations

from pathlib import Path

from coretune.results.cellfile import CellFile, Choice, FinalEntry
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from support.training import accuracy_evaluation, catalog, context, digits_job, digits_spec

CELLS = ("digits--ce--small", "digits--mixture_ce--small")


def make_finals(folder: Path, *, seeds: tuple[int, ...] = (0, 1), keep: bool = True) -> ResultsStore:
    """Trains the final runs of both cells and writes what their driver would."""
    store = ResultsStore(folder)
    evaluation = accuracy_evaluation()
    for key in CELLS:
        dataset, method, backbone = key.split("--")
        finals = []
        for index, seed in enumerate(seeds):
            job = digits_job(digits_spec(method, seed=seed), keep_weights=keep)
            list(Execution(job, store, catalog(), context()))
            finals.append(FinalEntry(index=index, seed=seed, run_id=job.spec.run_id))
        store.put_cell(
            CellFile(
                key=key,
                dataset=dataset,
                method=method,
                backbone=backbone,
                metric="top1",
                direction="max",
                choice=Choice(trial=0, params={}, value=50.0, rule="the defaults"),
                finals=tuple(finals),
                evaluation=evaluation.model_dump(mode="json", exclude_defaults=True),
            )
        )
    return store
