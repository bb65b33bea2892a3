"""A recorded run as a job again: its description from the record, the place of its data from its study."""

from __future__ import annotations

from pydantic import ValidationError

from coretune.errors import RequestError, StorageError
from coretune.results.store import ResultsStore
from coretune.runs.build import TASKS
from coretune.runs.job import Job
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Catalog
from coretune.spec.load import LoadedStudy, load_study
from coretune.spec.run import RunSpec


def recorded_job(store: ResultsStore, run_id: str, *, data_path: str | None = None) -> tuple[Job, Catalog]:
    """Returns a completed run that is to be evaluated further, and what its names mean.

    Args:
        store: The results directory.
        run_id: The run.
        data_path: Where its data lie; None takes what the directory's study says.

    Raises:
        RequestError: The run has no record, did not complete, or predicts no classes.
        StudyError: The directory's study file is wrong.
        StorageError: The record is of another version of coretune.
    """
    record = store.record(run_id)
    if record is None:
        raise RequestError(f"run {run_id} has no record in {store.root}: it is running, or was interrupted")
    if record.status != "completed":
        why = f": {record.cause.message}" if record.cause is not None else ""
        raise RequestError(f"run {run_id} is {record.status}{why}; only completed runs have a model to evaluate")
    try:
        spec = RunSpec.model_validate(record.spec)
    except ValidationError as error:
        raise StorageError(f"run {run_id}: its record is of another version: {error.errors()[0]['msg']}") from error
    if not TASKS[spec.task].labelled:
        raise RequestError(f"run {run_id} is a pre-training: it has no classifier to evaluate")
    loaded = load_study(store.root / "study.yaml") if (store.root / "study.yaml").exists() else None
    path = data_path if data_path is not None or loaded is None else _path_of(loaded, spec)
    plugins = loaded.plugins if loaded is not None else ()
    return Job(spec, path, plugins=plugins), loaded.catalog if loaded is not None else load_catalog()


def _path_of(loaded: LoadedStudy, spec: RunSpec) -> str | None:
    """Returns where a study says that a run's data lie; of several data sets of one name, the one that is alike."""
    wanted = spec.data
    named = [cell.dataset for cell in loaded.cells if cell.dataset.ref == wanted.dataset]
    alike = [each for each in named if each.spec(wanted.fingerprint, subset_seed=wanted.subset_seed) == wanted]
    return next((each.path for each in (*alike, *named)), None)
