"""Executes a study's runs on a cluster: one `Tuner.fit` for all of them. It imports Ray, and no torch."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext, suppress
from typing import Any

import ray
from ray import tune

from coretune.cluster.local import Cluster
from coretune.cluster.pool import GroupPool, small_place
from coretune.cluster.watch import ClusterWatch
from coretune.results.store import ResultsStore
from coretune.spec.study import Resources, SearchOptions, Study
from coretune.study.adapters import Abandoned, CellScheduler, CellSearch, Watchman
from coretune.study.book import CellBook
from coretune.study.grouped import GroupTrainable
from coretune.study.progress import Progress
from coretune.study.trainable import RunTrainable, WorkerOptions


def tune_study(study: Study, store: ResultsStore, book: CellBook, progress: Progress, found: Cluster) -> None:
    """Executes runs until the book has no more, or the study is stopped.

    A run of one worker is trained by its Tune trial. One of several is forwarded to a group of workers; in a study that
    has both, a run of one worker to a group of one.

    Args:
        study: The study.
        store: Its results directory.
        book: Hands out runs and takes their ends.
        progress: Follows who runs where.
        found: The cluster, attached to.
    """
    resources = study.resources
    pruned = isinstance(study.search, SearchOptions) and study.search.pruner != "none"
    options = WorkerOptions(
        results=store.mirror.place,
        resources=resources,
        report_every_s=0.0 if pruned else 1.0,
    )
    fewest = book.fewest_workers
    slots = found.slots if fewest == resources.workers else min(found.places // fewest, resources.slots or found.places)
    slots = min(slots, max(1, progress.runs_left))  # a process that gets no run is seconds and memory for nothing
    pool = GroupPool(ray, resources, found.places) if resources.workers > 1 else None
    if pool is not None and fewest == resources.workers:
        pool.warm(slots)
    search = CellSearch(book, progress, options, slots, pool)
    with (
        suppress(Abandoned),
        ClusterWatch(ray, on_nodes=progress.nodes) as watch,
        pool or nullcontext(),
        tempfile.TemporaryDirectory(prefix="coretune-tune-") as folder,
    ):
        tuner = tune.Tuner(
            _trainable(resources),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=CellScheduler(book, progress, search),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=study.name,
                storage_path=folder,
                verbose=0,
                callbacks=[Watchman(book, watch)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        watch.outlive(tuner.fit)


def _trainable(resources: Resources) -> Any:
    if resources.workers == 1:
        return tune.with_resources(RunTrainable, {"cpu": resources.cpus, "gpu": resources.gpus})
    return tune.with_resources(GroupTrainable, tune.PlacementGroupFactory([small_place(ray)]))


def _trial_name(trial: Any) -> str:
    return str(trial.trial_id)
