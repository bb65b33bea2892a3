"""Studies that are driven without Ray: runs are answered with records made up from their parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from coretune.results.record import Cause, Evaluation, Record
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.spec.load import resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.book import CellBook
from coretune.study.events import EventLog
from coretune.study.resolved import ResolvedStudy, resolve
from support.training import context

STUDY = """
name: tiny
seed: 3
datasets: {digits: {validation: 200, test: 600, labels_per_class: 5}}
backbones: {plain: {arch: small_resnet}}
methods: [ce, core_tuning]
train: {epochs: 4, batch: 50, contrast_batch: 50, lr: {log_uniform: [0.003, 0.3], default: 0.03}}
search: {sampler: random, trials: 3}
finals: {seeds: 2}
"""

Score = Callable[[Job], float]


def resolved(*sets: str, text: str = STUDY) -> ResolvedStudy:
    """Returns the tiny study with overrides."""
    return resolve(resolve_study(parse_yaml(text, "tiny.yaml"), sets))


def make_book(study: ResolvedStudy, root: Path, **options: Any) -> CellBook:
    """Returns the book of a study in a directory."""
    store = ResultsStore(root, repair=True)
    return CellBook(study, store, EventLog(root / "log.txt"), **options)


def lr_score(job: Job) -> float:
    """A score that prefers a learning rate of 0.02."""
    return 100 - abs(job.spec.train.lr - 0.02) * 100


def _robust(job: Job) -> dict[str, float]:
    """A smaller learning rate is the more robust one."""
    return {} if job.spec.attack is None else {"robust_top1": 60 * (1 - job.spec.train.lr)}


def answer(store: ResultsStore, job: Job, score: float, *, cause: Cause | None = None) -> None:
    """Writes what a run would leave."""
    run_id = job.spec.run_id
    for spec in job.all_evaluations:
        store.put_evaluation(
            Evaluation(
                eval_id=spec.eval_id(run_id),
                run_id=run_id,
                spec=spec.model_dump(mode="json", exclude_defaults=True),
                metrics={"top1": score, "mean_per_class": score, "cross_entropy": 1.0} | _robust(job),
                created="2026-01-01T00:00:00+00:00",
            )
        )
    if job.keep_weights:
        for which in {"last"} | {spec.weights for spec in job.all_evaluations}:
            path = store.weights_path(run_id, which)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
    metrics = {"top1": score, "mean_per_class": score, "cross_entropy": 1.0} | _robust(job)
    store.put_record(
        Record(
            run_id=run_id,
            status="completed" if cause is None else "failed",
            cause=cause,
            spec=job.spec.canonical(),
            metrics={"last": metrics, "best": {**metrics, "epoch": 4.0}},
            started="2026-01-01T00:00:00+00:00",
            finished="2026-01-01T00:00:01+00:00",
        )
    )


def drive(book: CellBook, root: Path, score: Score = lr_score, limit: int = 10_000) -> list[str]:
    """Executes a study's runs one after another; returns the ids of those that were trained."""
    store = ResultsStore(root)
    trained: list[str] = []
    while len(trained) < limit and (job := book.next_job()) is not None:
        answer(store, job, score(job))
        trained.append(job.spec.run_id)
        book.on_finished(job.spec.run_id, ended=True)
    return trained


def drive_for_real(book: CellBook, root: Path) -> list[str]:
    """Executes a study's runs one after another as its workers do, in this process; returns what was trained."""
    store, catalog = ResultsStore(root), book.study.loaded.catalog
    trained: list[str] = []
    while (job := book.next_job()) is not None:
        for _ in Execution(job, store, catalog, context()):
            pass
        trained.append(job.spec.run_id)
        book.on_finished(job.spec.run_id, ended=True)
    return trained
