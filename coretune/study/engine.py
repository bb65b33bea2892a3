"""Runs a study: one `Tuner.fit` for all of it, fed by the book, and everything on disk as it happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coretune.cluster.local import check_address, cluster, import_ray
from coretune.cluster.processor import slow_precision
from coretune.cluster.reach import reach
from coretune.cluster.stdout import quiet_stdout
from coretune.data.packing import Packing
from coretune.data.roots import cache_root
from coretune.data.unreadable import listed
from coretune.errors import CoretuneError, StorageError
from coretune.results.lock import DirectoryLock
from coretune.results.manifest import manifest
from coretune.results.mirror import Mirror
from coretune.results.remote_lock import RemoteLock, lock_of
from coretune.results.retry import deletable_weights
from coretune.results.store import ResultsStore
from coretune.runs.interrupt import interruptible
from coretune.spec.catalog import plugin_version
from coretune.spec.load import LoadedStudy
from coretune.spec.study import Resources
from coretune.study.book import CellBook
from coretune.study.chatter import chatter_to
from coretune.study.data import check_data
from coretune.study.directory import beyond_before, claim_directory, refuse_foreign
from coretune.study.events import EventLog
from coretune.study.missing import MissingCell, things
from coretune.study.nodes import check_cluster
from coretune.study.planned import note_plan
from coretune.study.progress import Progress
from coretune.study.remarks import about_backbones, about_domains
from coretune.study.resolved import ResolvedStudy, resolve
from coretune.study.writer import StudyWriter

Snapshot = Callable[[], dict[str, Any]]
Observe = Callable[[Snapshot], AbstractContextManager[object]]


@dataclass(frozen=True)
class Outcome:
    """How a study ended.

    Attributes:
        phase: `done`; `incomplete`: all is done but for cells that lack data or a checkpoint, which a resume makes once
            these are there; `interrupted` (by a signal or the time limit; a resume goes on); or `failed`: nothing to
            resume but something failed.
        failed_runs: Runs that failed.
        results: The results directory, or its address in an object store.
        reason: Why it was stopped, if it was.
        missing: The cells that were left out, and what they lack.
    """

    phase: Literal["done", "incomplete", "interrupted", "failed"]
    failed_runs: int
    results: Path | str
    reason: str | None = None
    missing: tuple[MissingCell, ...] = ()


def run_study(
    loaded: LoadedStudy,
    *,
    out: Path | str | None = None,
    slots: int | None = None,
    time_limit_s: float | None = None,
    only: Mapping[str, str] | None = None,
    retry_failed: bool = False,
    address: str | None = None,
    observe: Observe | None = None,
    on_abort: Callable[[], None] | None = None,
) -> Outcome:
    """Runs a study, or goes on with it: what is recorded is not trained again, what lacks its data is left out.

    Args:
        loaded: The study.
        out: The results directory, or an address (`s3://bucket/name`); by default `results/<study name>`.
        slots: Runs at a time, over the study's own.
        time_limit_s: Stops cleanly after so many seconds.
        only: Labels of the cells to run, e.g. `{"dataset": "cifar10"}`.
        retry_failed: Also train again what failed for a reason of its own.
        address: A Ray cluster to attach to.
        observe: Entered around the run with a function that describes the study at any time, from any thread.
        on_abort: Called before a second Ctrl-C ends this process at once, in the signal handler: it must not wait.

    Raises:
        RequestError: The study asks for what is not there, the address is Ray Client's, or the directory belongs to
            another study.
        LockedError: Another process writes the results directory.
        MissingError: No cell has its data and its checkpoint.
        UnfitError: Data or a checkpoint are wrong, or the cluster is too small.
        StorageError: The results directory cannot be written.
    """
    address = check_address(address)
    resolved = resolve(loaded, only)
    store = ResultsStore(out if out is not None else Path("results") / loaded.study.name, repair=True)
    root = store.root
    store.mirror.refresh()
    refuse_foreign(root)
    with lock_of(store.mirror) as lock, chatter_to(root / "log.txt", "optuna"):
        store.mirror.refresh()  # what was written until the lock was ours
        claim_directory(store, loaded)
        note_plan(store, loaded.study)
        events = EventLog(root / "log.txt")
        if lock.took_over is not None:
            events.add("warning", lock.took_over)
        if not only and (more := beyond_before(store, [cell.cell.key for cell in resolved.cells])):
            events.add("info", more)
        for thing, number in things(resolved.missing).items():
            events.add("warning", f"{thing.text}; {number} of {len(loaded.cells)} cells are left out")
        for text in (
            *about_domains((cell.cell.dataset, cell.domains) for cell in resolved.cells),
            *about_backbones((cell.cell, cell.sight) for cell in resolved.cells),
        ):
            events.add("warning", text)
        book = CellBook(resolved, store, events, retry_failed=retry_failed)
        if not book.finished or store.json("manifest.json") is None:
            versions = {path: plugin_version(path) for path in loaded.plugins}
            said = manifest(
                loaded.study.name, resolved.fingerprints, plugins=versions, checkpoints=resolved.checkpoints
            )
            store.put_json("manifest.json", said)
        return _run(resolved, store, book, events, lock, slots, time_limit_s, address, observe, on_abort)


def _run(
    resolved: ResolvedStudy,
    store: ResultsStore,
    book: CellBook,
    events: EventLog,
    lock: DirectoryLock | RemoteLock,
    slots: int | None,
    time_limit_s: float | None,
    address: str | None,
    observe: Observe | None,
    on_abort: Callable[[], None] | None,
) -> Outcome:
    study = resolved.loaded.study
    resources = study.resources if slots is None else study.resources.replace(slots=slots)
    progress = Progress(book, events, results=store.mirror.name, slots=resources.slots or 0)
    writer = StudyWriter(store, book, progress, lock)
    observing = observe(progress.snapshot) if observe is not None else nullcontext()
    with observing, interruptible(book.stop, on_abort=on_abort), _deadline(book, time_limit_s):
        said = _say_warnings(store, events, 0)
        writer.write_state()
        try:
            if not book.finished:
                reach(address)
                with writer:
                    _check_data(resolved, store, book, progress, events)
                    if not book.finished:
                        _train(resolved, store, book, progress, events, resources, address)
            if (broken := writer.failure or book.broken) is not None:
                raise broken
        except CoretuneError:
            progress.phase = "interrupted"
            if lock.held:
                with suppress(StorageError):  # what is raised already says why
                    writer.write_state()
            raise
        outcome = _outcome(book, store.mirror.url if isinstance(store.mirror, Mirror) else store.root)
        _tidy(resolved.loaded, store)
        progress.phase = outcome.phase
        writer.write_tables()
        _say_warnings(store, events, said)
        writer.write_state()
        store.mirror.publish("log.txt")
    return outcome


def _check_data(
    resolved: ResolvedStudy, store: ResultsStore, book: CellBook, progress: Progress, events: EventLog
) -> None:
    """Opens the data, packed on first use, and says how far that is; ends early where the study is stopped.

    Remarks are events, and so are images that are left out, which stand in the manifest, too.
    """

    def on_packing(label: str, now: Packing) -> None:
        progress.packing(label, now)
        if book.stopping is not None:
            raise _Stopped

    with suppress(_Stopped):
        left_out, remarks = check_data(resolved, cache_root(), on_packing)
        for text in remarks:
            events.add("warning", text)
        reasons = {label: [image.reason for image in images] for label, images in left_out.items()}
        for label, lines in reasons.items():
            many = "image is" if len(lines) == 1 else "images are"
            events.add("warning", f"data set {label}: {len(lines):,} {many} left out: {'; '.join(listed(lines))}")
        if reasons:
            store.put_json("manifest.json", {**(store.json("manifest.json") or {}), "left_out": reasons})


class _Stopped(Exception):
    """The study is stopped while it packs its data."""


def _train(
    resolved: ResolvedStudy,
    store: ResultsStore,
    book: CellBook,
    progress: Progress,
    events: EventLog,
    resources: Resources,
    address: str | None,
) -> None:
    """Starts Ray or attaches to it, and executes the study's runs."""
    events.add("info", "starting Ray" if address is None else f"attaching to Ray at {address}")
    ray = import_ray(local=address is None)

    from coretune.study.tuner import tune_study  # with the settings that `import_ray` makes

    with (
        chatter_to(store.root / "log.txt", "ray"),
        quiet_stdout(logging.getLogger("ray")),
        cluster(resources, address=address, plugins=resolved.loaded.plugins) as found,
    ):
        slots_text = f"{found.slots} slot" + "s" * (found.slots != 1)
        if resources.workers > 1:
            slots_text = f"{found.slots} group" + "s" * (found.slots != 1) + f" of {resources.workers} workers"
            if book.fewest_workers < resources.workers:
                slots_text += f", or {found.places} places for smaller ones,"
        events.add("info", f"{slots_text} on {found.cpus:g} CPUs and {found.gpus:g} GPUs")
        on_this_processor = found.local and not resources.gpus
        if on_this_processor and (slow := slow_precision(resolved.precisions)) is not None:
            events.add("warning", slow)
        check_cluster(ray, resolved, store.mirror, resources, found, events)
        tune_study(resolved.loaded.study, store, book, progress, found)


def _say_warnings(store: ResultsStore, events: EventLog, said: int) -> int:
    """Says what the store could not read, from a number on, and returns how many that are now."""
    for warning in store.warnings[said:]:
        events.add("warning", warning)
    return len(store.warnings)


def _tidy(loaded: LoadedStudy, store: ResultsStore) -> None:
    """Deletes the weights that the study does not want to keep, and states of settled runs that a kill left."""
    records = {record.run_id: record for record in store.records()}
    for run_id, record in records.items():
        if record.settled:
            store.drop_state(run_id)
    asked = [cell.key for cell in loaded.cells]
    evaluated = [run_id for run_id in records if any(store.evaluations(run_id))]
    for run_id in deletable_weights(loaded.study.keep, store.cells(), records, asked=asked, evaluated=evaluated):
        store.drop_weights(run_id)


@contextmanager
def _deadline(book: CellBook, seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, book.stop, ["the time limit is reached"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _outcome(book: CellBook, root: Path | str) -> Outcome:
    failed = sum(run.status == "failed" for run in book.runs.values())
    missing = book.study.missing
    if not all(cell.settled for cell in book.cells):
        return Outcome("interrupted", failed, root, book.stopping or "Ray Tune ended early", missing)
    if any(cell.failure is not None for cell in book.cells):
        return Outcome("failed", failed, root, missing=missing)
    return Outcome("incomplete" if missing else "done", failed, root, missing=missing)
