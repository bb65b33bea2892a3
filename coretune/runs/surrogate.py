"""Another model of the same images, on which adversarial images are made for the evaluation `transfer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coretune.data.dataset import Dataset
from coretune.data.fingerprint import content_hash
from coretune.errors import RequestError
from coretune.nets.model import Model
from coretune.results.finals import FinalRun, completed_finals
from coretune.results.store import ResultsStore
from coretune.runs.foreign import foreign_model
from coretune.runs.job import Job
from coretune.runs.recorded import recorded_job
from coretune.runs.trained import load_model
from coretune.spec.components import Catalog
from coretune.spec.load import load_study
from coretune.spec.run import DataSpec, RunSpec
from coretune.tuning.context import Context


@dataclass(frozen=True)
class Surrogate:
    """A model that is not open yet.

    Attributes:
        identity: What it is, as `TransferParameters.surrogate` has it.
        title: The same in words.
        open: Returns it on the device, for a data set whose classes it has to know.
    """

    identity: str
    title: str
    open: Callable[[Dataset], Model]


def choose_final(store: ResultsStore, run_id: str, spec: RunSpec) -> FinalRun | None:
    """Returns the final run that is the first choice as a surrogate of another run; None if there is none.

    It is of the same images, and its weights were kept. Of several the one that was not trained against attacks, whose
    images transfer best (arXiv 1605.07277, arXiv 1705.07204); then of the same backbone; then of the same seed; then
    the baseline's; then in the order of cells.

    Args:
        store: The results directory.
        run_id: The run that is evaluated.
        spec: Its description.
    """
    study = store.root / "study.yaml"
    baseline = load_study(study).study.baseline_label if study.exists() else None
    found: list[tuple[tuple[bool, ...], FinalRun]] = []
    for final in completed_finals(store):
        record, cell = store.record(final.run_id), store.cell(final.cell)
        if record is None or cell is None or final.run_id == run_id:
            continue
        other = RunSpec.model_validate(record.spec)
        if not _alike(other.data, spec.data) or not store.has_weights(final.run_id, [final.weights]):
            continue
        worse = (
            other.adversary is not None,
            other.backbone != spec.backbone,
            other.seed != spec.seed,
            cell.method != baseline,
        )
        found.append((worse, final))
    return min(found, key=lambda item: item[0])[1] if found else None


def recorded_surrogate(store: ResultsStore, run_id: str, weights: str, spec: RunSpec, context: Context) -> Surrogate:
    """Returns a recorded run as a surrogate.

    Args:
        store: Where it lies.
        run_id: The run.
        weights: `last` or `best`.
        spec: The description of the run that is evaluated, or what stands for it.
        context: Where it computes.

    Raises:
        RequestError: It has no model, or is of other images.
        StorageError: Its record is of another version of coretune.
    """
    if run_id == spec.run_id:
        raise RequestError(f"run {run_id} is the model itself: --transfer-from is another run, or a file")
    job, catalog = recorded_job(store, run_id)
    if not _alike(job.spec.data, spec.data):
        raise RequestError(
            f"run {run_id} is of other images ({_said(job.spec.data)}) than the model ({_said(spec.data)}): "
            "a surrogate knows the same classes at the same size"
        )
    if not store.has_weights(run_id, [weights]):
        raise RequestError(f"run {run_id}: its {weights} weights were not kept in {store.run_folder(run_id)}")

    def opened(dataset: Dataset) -> Model:
        store.fetch_run(run_id)
        return load_model(job, weights, dataset, store, catalog, context)

    trained = "" if job.spec.adversary is None else f" under {job.spec.adversary.attack}"
    title = f"run {run_id}, {job.spec.method.name}{trained}, {weights} weights"
    return Surrogate(f"run:{run_id}/{weights}", title, opened)


def foreign_surrogate(checkpoint: Path, arch: str | None, job: Job, catalog: Catalog, context: Context) -> Surrogate:
    """Returns somebody's checkpoint as a surrogate; its classes are taken to be in the order of the data set.

    Args:
        checkpoint: The file, with a classifier; nothing in it is executed.
        arch: Name of its architecture; None takes the model's own.
        job: The run that is evaluated, or what stands for it.
        catalog: What names mean.
        context: Where it computes.

    Raises:
        RequestError: There is no such architecture, or no such file.
        UnfitError: The file cannot be read.
    """
    ref = job.spec.backbone.arch if arch is None else catalog.ref("backbone", arch)
    side = job.spec.data.test_sides.crop

    def opened(dataset: Dataset) -> Model:
        model, _ = foreign_model(checkpoint, ref, side, len(dataset.packed.classes), catalog)
        model.to(device=context.device)
        model.to(memory_format=context.memory_format)
        return model

    return Surrogate(f"sha256:{content_hash(checkpoint)}", f"{checkpoint.name}, {ref.name}", opened)


def _alike(one: DataSpec, other: DataSpec) -> bool:
    """Returns whether both see the same images at the same size; which of them are labelled is no matter."""
    return one.dataset == other.dataset and one.fingerprint == other.fingerprint and one.test_sides == other.test_sides


def _said(data: DataSpec) -> str:
    return f"{data.dataset.name}, {data.test_sides.crop} px"
