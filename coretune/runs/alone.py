"""Single runs in this process, with no Ray: what `tune` and `pretrain_backbone` share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from coretune.data.dataset import Dataset
from coretune.errors import RequestError, RunError
from coretune.results.lock import DirectoryLock
from coretune.results.manifest import manifest
from coretune.results.place import refuse_other_places
from coretune.results.record import Record
from coretune.results.store import ResultsStore
from coretune.runs.build import open_job_data
from coretune.runs.execute import Execution
from coretune.runs.interrupt import interruptible
from coretune.runs.job import Job
from coretune.spec.components import Catalog
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Tick

OnEvent = Callable[[Tick | EpochReport], None]

STDERR = 2
STOPPING = "stopping after the step or the evaluation under way; Ctrl-C again stops at once"


def context_on(device: str | None) -> Context:
    """Returns where a run is executed: on a torch device, by default the first GPU, or else the CPU.

    Raises:
        RequestError: There is no such device.
    """
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise RequestError(f"device {device}: {first}; cpu, cuda and cuda:0 are devices that torch knows") from error
    return Context(device=found)


@contextmanager
def held_directory(
    out: Path | str,
    kind: str,
    fingerprints: Mapping[str, str],
    checkpoints: Callable[[], Mapping[str, str]] = dict,
) -> Iterator[ResultsStore]:
    """Holds a results directory of single runs, which this process alone writes meanwhile.

    Args:
        out: The directory; not that of a study.
        kind: Who writes it, as its manifest says.
        fingerprints: SHA-256 of each data set's source, by label.
        checkpoints: Returns the SHA-256 of each checkpoint file, by the backbone's label.

    Raises:
        RequestError: `out` holds the results of a study, or something else.
        LockedError: Another process writes it.
        StorageError: It cannot be written.
    """
    refuse_other_places(Path(out))
    store = ResultsStore(out, repair=True)
    with DirectoryLock(store.root):
        store.put_json("manifest.json", manifest(kind, fingerprints, checkpoints=checkpoints()))
        yield store


def execute_alone(
    job: Job,
    store: ResultsStore,
    catalog: Catalog,
    context: Context,
    on_event: OnEvent | None,
    open_data: Callable[[Job, Catalog], Dataset] = open_job_data,
) -> Record:
    """Executes a run to its record. What is recorded already is not trained again.

    Ctrl-C (SIGINT), SIGTERM and SIGHUP store the state of the training, from which the next execution goes on. What is
    under way is finished first, which may take minutes; standard error says so.

    Args:
        job: The run.
        store: Where its folder lies; this process holds the directory.
        catalog: What its names mean.
        context: Where it runs.
        on_event: Called with every `Tick` and `EpochReport`.
        open_data: Opens its data set.

    Raises:
        RunError: It failed; the message says why.
        KeyboardInterrupt: It was interrupted.
        StorageError: The results directory cannot be written.
    """
    execution = Execution(job, store, catalog, context, open_data)
    asked: list[str] = []

    def stop(reason: str) -> None:
        asked.append(reason)
        os.write(STDERR, f"\n{STOPPING}\n".encode())  # the streams of Python are no place to write to from a signal

    with interruptible(stop, end=False):
        for event in execution:
            if on_event is not None:
                on_event(event)
            if asked:
                execution.save_state()
                execution.close()
                raise KeyboardInterrupt
    record = execution.record
    if record is None or record.status != "completed":
        cause = record.cause if record is not None else None
        raise RunError(f"run {job.spec.run_id} failed: {cause.message if cause is not None else 'no record'}")
    return record
