"""What `coretune robust eval` evaluates: a recorded run, or a model that coretune did not train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from coretune.errors import LockedError, RequestError
from coretune.results.remote import remote_url
from coretune_cli.formats import score
from coretune_cli.output import note
from coretune_cli.places import RUNS, find_results, find_run, is_results

if TYPE_CHECKING:
    from coretune.data.dataset import Dataset
    from coretune.nets.model import Model
    from coretune.results.record import Evaluation
    from coretune.results.store import ResultsStore
    from coretune.robust.headway import Tell
    from coretune.runs.job import Job
    from coretune.runs.surrogate import Surrogate
    from coretune.spec.components import Catalog
    from coretune.spec.run import EvalSpec
    from coretune.tuning.context import Context

Weights = Literal["last", "best", "swad"]


class Subject(Protocol):
    """A model that can be evaluated.

    Attributes:
        title: What it is, on one line.
        weights: Which weights are evaluated.
        catalog: What names of evaluations mean.
        about: What a program wants to know of it.
        notes: What a reader has to know, once the model is open.
        alone: Why there is no other model to make images on, where there is none.
    """

    title: str
    weights: Weights
    catalog: Catalog
    about: dict[str, Any]
    notes: tuple[str, ...]
    alone: str

    def recorded(self, spec: EvalSpec) -> Evaluation | None:
        """Returns an evaluation that is there already."""

    def evaluate(
        self, spec: EvalSpec, *, tell: Tell, arrays_to: Path | None = None, surrogate: Surrogate | None = None
    ) -> Evaluation:
        """Evaluates the model; what stays of it stays."""

    def surrogate(self, words: str | None, arch: str | None) -> Surrogate | None:
        """Returns another model of the same images: the one that is meant, or a first choice; None if there is none."""

    def finish(self) -> None:
        """Is called once all is evaluated."""


@dataclass(frozen=True)
class RunChoice:
    """Which run, where, and how it is called in words."""

    store: ResultsStore
    run_id: str
    title: str
    weights: Weights


def choose_run(results: str | None, run: str | None, weights: Weights | None) -> RunChoice:
    """Returns the run that is meant: the one that is named, or the best final run of a results directory.

    Raises:
        RequestError: There is none.
        StorageError: The object store that they are in cannot be reached.
    """
    from coretune.results.finals import best_final
    from coretune.results.store import ResultsStore

    if run is not None and remote_url(run) is not None:
        raise RequestError(f"{run}: name the results and the run apart: coretune robust eval s3://... --run ID")
    store = _remote(results)
    if run is not None:
        folder = store.root if store is not None else None if results is None else _folder(results)
        place = find_run(run, folder)
        chosen = store or ResultsStore(place.results)
        key, said = _final(chosen, place.run_id)
        return RunChoice(chosen, place.run_id, f"run {place.run_id}{key}", weights or said)
    if store is None and results is not None and (Path(results) / RUNS).is_dir() and not is_results(Path(results)):
        raise RequestError(f"{results} holds single runs, no study: name one with --run ID")
    if store is None:
        folder, newest = find_results(results)
        if newest:
            note(f"{folder}, the newest results", style="dim")
        store = ResultsStore(folder)
    best = best_final(store)
    found, value = best.run, score(best.run.value, best.run.metric)
    note(
        f"run {found.run_id}: the best of {best.of} final runs on the validation part, {found.metric} {value}",
        style="dim",
    )
    title = f"run {found.run_id}, {found.cell}, final {found.index}"
    return RunChoice(store, found.run_id, title, weights or cast(Weights, found.weights))


def _remote(words: str | None) -> ResultsStore | None:
    """Returns results in an object store, with a copy on this machine as they are now; None if they are on disk."""
    from coretune.results.store import ResultsStore

    url = None if words is None else remote_url(words)
    if url is None:
        return None
    store = ResultsStore(url, role="evaluator")
    store.mirror.refresh()
    if not is_results(store.root) and not (store.root / RUNS).is_dir():
        raise RequestError(f"{url} holds no results of a study")
    return store


def _folder(words: str) -> Path:
    """Returns a results directory by its path, or its name below ./results; one of single runs counts too."""
    path = Path(words)
    return path if path.is_dir() else find_results(words)[0]


def _final(store: ResultsStore, run_id: str) -> tuple[str, Weights]:
    """Returns what a run is for, in words, and which weights of it its study tests."""
    from coretune.results.finals import weights_of

    for cell in store.cells():
        for final in cell.finals:
            if final.run_id == run_id:
                return f", {cell.key}, final {final.index}", cast(Weights, weights_of(cell))
    return "", "last"


class RecordedRun:
    """A recorded run; evaluations are written beside its record.

    Args:
        choice: The run.
        context: Where it is evaluated.
        path: Where its data lie, or None for what its study says.
    """

    def __init__(self, choice: RunChoice, context: Context, path: str | None) -> None:
        from coretune.runs.recorded import recorded_job

        self.store, self.run_id, self.weights = choice.store, choice.run_id, choice.weights
        self.job, self.catalog = recorded_job(self.store, self.run_id, data_path=path)
        if self.job.spec.segmentation is not None:
            raise RequestError(f"run {self.run_id} predicts a class for each pixel; attacks are on classes of images")
        self.title = f"{choice.title}, {self.weights} weights"
        self.about = {"run_id": self.run_id, "results": self.store.mirror.name, "weights": self.weights}
        self.notes: tuple[str, ...] = ()
        self.alone = f"{self.store.mirror.name} has no other final run of these images whose weights were kept"
        self._context = context
        self._opened: tuple[Model, Dataset] | None = None
        self._written = False
        if not self.store.has_weights(self.run_id, [self.weights]):
            raise RequestError(
                f"run {self.run_id}: its {self.weights} weights were not kept in {self.store.run_folder(self.run_id)}"
            )

    def recorded(self, spec: EvalSpec) -> Evaluation | None:
        """Returns an evaluation that is there already; one of all images also for a limit that is no limit."""
        found = self.store.evaluation(self.run_id, spec.eval_id(self.run_id))
        if found is not None or spec.limit is None:
            return found
        whole = self.store.evaluation(self.run_id, spec.replace(limit=None).eval_id(self.run_id))
        return whole if whole is not None and whole.details.get("images", spec.limit + 1) <= spec.limit else None

    def evaluate(
        self, spec: EvalSpec, *, tell: Tell, arrays_to: Path | None = None, surrogate: Surrogate | None = None
    ) -> Evaluation:
        """Evaluates the run, and writes the evaluation beside its record."""
        from coretune.runs.build import open_job_data
        from coretune.runs.evaluate import evaluate_model
        from coretune.runs.trained import load_model

        if self._opened is None:
            dataset = open_job_data(self.job, self.catalog)
            self.store.fetch_run(self.run_id)
            model = load_model(self.job, self.weights, dataset, self.store, self.catalog, self._context)
            self._opened = model, dataset
        model, dataset = self._opened
        self._written = True
        return evaluate_model(
            model,
            dataset,
            self.job,
            _without_needless_limit(spec, dataset),
            self.store,
            self.catalog,
            self._context,
            arrays_to=arrays_to,
            surrogate=None if surrogate is None else surrogate.open(dataset),
            tell=tell,
        )

    def surrogate(self, words: str | None, arch: str | None) -> Surrogate | None:
        """Returns the model that is meant, or the first choice among the other final runs of the same results."""
        from coretune.runs.surrogate import choose_final, recorded_surrogate

        if words is not None:
            return _named_surrogate(words, arch, self.store, self.job, self.catalog, self._context)
        final = choose_final(self.store, self.run_id, self.job.spec)
        if final is None:
            return None
        return recorded_surrogate(self.store, final.run_id, final.weights, self.job.spec, self._context)

    def finish(self) -> None:
        """Rewrites the tables of a study's results; a driver that is at work there does it itself."""
        from coretune.report.write import TABLES, write
        from coretune.results.remote_lock import lock_of

        if not self._written or not (self.store.root / "cells").is_dir():
            return
        try:
            with lock_of(self.store.mirror):
                self.store.mirror.refresh()
                write(self.store)
                self.store.mirror.publish(*TABLES)
        except LockedError:
            note("its study is running: the tables are rewritten by it", style="dim")


class ForeignModel:
    """A model that coretune did not train; nothing is written of it.

    Args:
        title: What it is.
        opened: Opens it.
        context: Where it is evaluated.
    """

    weights: Weights = "last"
    alone = "a checkpoint has no other runs beside it"

    def __init__(self, title: str, opened: Callable[[], Any], context: Context) -> None:
        found = opened()
        self.title = title
        self.catalog: Catalog = found.catalog
        self.notes: tuple[str, ...] = found.notes
        self._model: Model = found.model
        self._dataset: Dataset = found.dataset
        self._job: Job = found.job
        self._context = context
        self.about = {
            "checkpoint": str(self._job.checkpoint),
            "sha256": self._job.spec.backbone.weights.removeprefix("sha256:"),
            "arch": self._job.spec.backbone.arch.name,
            "dataset": self._job.spec.data.dataset.name,
        }

    def recorded(self, spec: EvalSpec) -> Evaluation | None:
        """Returns nothing: nothing is kept."""
        return None

    def evaluate(
        self, spec: EvalSpec, *, tell: Tell, arrays_to: Path | None = None, surrogate: Surrogate | None = None
    ) -> Evaluation:
        """Evaluates the model."""
        from coretune.runs.evaluate import judge_model

        return judge_model(
            self._model,
            self._dataset,
            self._job,
            _without_needless_limit(spec, self._dataset),
            self.catalog,
            self._context,
            arrays_to=arrays_to,
            surrogate=None if surrogate is None else surrogate.open(self._dataset),
            tell=tell,
        )

    def surrogate(self, words: str | None, arch: str | None) -> Surrogate | None:
        """Returns the model that is meant; there is no first choice."""
        return None if words is None else _named_surrogate(words, arch, None, self._job, self.catalog, self._context)

    def finish(self) -> None:
        """Does nothing."""


def _named_surrogate(
    words: str, arch: str | None, store: ResultsStore | None, job: Job, catalog: Catalog, context: Context
) -> Surrogate:
    """Returns the model that `--transfer-from` means: a file of weights, else a run, in these results or in others."""
    from coretune.results.store import ResultsStore
    from coretune.runs.surrogate import foreign_surrogate, recorded_surrogate

    if Path(words).is_file():
        return foreign_surrogate(Path(words), arch, job, catalog, context)
    if arch is not None:
        raise RequestError(f"--transfer-arch is of a file of weights; {words} is none")
    try:
        place = find_run(words, None if store is None else store.root)
    except RequestError as error:
        if store is None:
            raise RequestError(f"--transfer-from {words}: {error}") from error
        try:
            place, store = find_run(words), None
        except RequestError:
            raise RequestError(f"--transfer-from {words}: {error}") from error
    home = store or ResultsStore(place.results)
    return recorded_surrogate(home, place.run_id, _final(home, place.run_id)[1], job.spec, context)


def _without_needless_limit(spec: EvalSpec, dataset: Dataset) -> EvalSpec:
    """Returns an evaluation without a limit that all images keep: it is the evaluation of all of them."""
    images = len(getattr(dataset.split, spec.split))
    return spec.replace(limit=None) if spec.limit is not None and spec.limit >= images else spec
