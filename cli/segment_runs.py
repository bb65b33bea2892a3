"""Which recorded runs of segmentation are drawn, and what a picture says of each."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coretune.errors import RequestError

if TYPE_CHECKING:
    from coretune.results.cellfile import CellFile
    from coretune.results.finals import FinalRun
    from coretune.results.record import Record
    from coretune.results.store import ResultsStore

MOST = 6
"""Single runs that are drawn side by side, the newest ones."""
SHOWN_ID = 8
OF_TRAINING = ("augment", "input_size")
"""Keys of a run's data that say nothing of its test images."""


@dataclass(frozen=True)
class Drawn:
    """A run that is drawn.

    Attributes:
        label: What it is called: its method, and what else tells it from the others.
        run_id: Its id.
        weights: Which of its weights predict: `last` or `best`.
        seed: Its seed.
        miou: What these weights have on the test part, in per cent, if that is recorded.
    """

    label: str
    run_id: str
    weights: str
    seed: int
    miou: float | None

    @property
    def head(self) -> str:
        """What stands above its column."""
        said = "" if self.miou is None else f", test mIoU {self.miou:.2f} %"
        return f"{self.label}\nseed {self.seed}\nrun {self.run_id[:SHOWN_ID]}{said}"


def drawn_runs(store: ResultsStore, dataset: str | None) -> list[Drawn]:
    """Returns the runs of a results directory that are drawn, of one data set.

    Args:
        store: The results of a study: the first final run of each cell. Single runs: the newest ones.
        dataset: Label of the data set, of single runs its name; None takes the first, of single runs the newest.

    Raises:
        RequestError: There is no completed run of segmentation whose weights were kept.
    """
    found = _first_finals(store, dataset) if any(store.cells()) else _single_runs(store, dataset)
    if not found:
        of = f" of {dataset}" if dataset is not None else ""
        raise RequestError(f"{store.root}: no completed run of segmentation{of} whose weights were kept")
    return found


def picture_command(store: ResultsStore, path: Path | None = None) -> str | None:
    """Returns the command that draws what the final runs of a study, or single runs, predict; None without such runs.

    Args:
        store: Their results directory.
        path: Where the data of single runs lie, where that was said.
    """
    if next(_kept_finals(store), None) is None and next(_kept_runs(store), None) is None:
        return None
    at = [] if path is None else ["--path", str(path)]
    return shlex.join(["coretune", "segment", "show", store.mirror.name, *at])


def _first_finals(store: ResultsStore, dataset: str | None) -> list[Drawn]:
    """Returns the first final run of each cell of a data set, by method, or method and backbone."""
    kept: dict[str, tuple[CellFile, FinalRun]] = {}
    for cell, run in _kept_finals(store):
        kept.setdefault(cell.key, (cell, run))
    wanted = dataset or next((cell.dataset for cell, _ in kept.values()), None)
    chosen = [(cell, run) for cell, run in kept.values() if cell.dataset == wanted]
    several = len({cell.backbone for cell, _ in chosen}) > 1
    found = []
    for cell, run in chosen:
        record = store.record(run.run_id)
        assert record is not None  # what is completed has one
        found.append(
            _drawn(store, record, f"{cell.method} on {cell.backbone}" if several else cell.method, run.weights)
        )
    return found


def _single_runs(store: ResultsStore, dataset: str | None) -> list[Drawn]:
    """Returns the newest single runs that are tested on the images of the newest one, oldest first."""
    records = [record for record in _kept_runs(store) if dataset in (None, record.spec["data"]["dataset"]["name"])]
    records.sort(key=lambda record: record.finished)
    alike = [record for record in records if _tested_on(record) == _tested_on(records[-1])][-MOST:]
    several = len({record.spec["backbone"]["arch"]["name"] for record in alike}) > 1
    labels = [
        record.spec["method"]["name"] + (f" on {record.spec['backbone']['arch']['name']}" if several else "")
        for record in alike
    ]
    return [
        _drawn(store, record, label if labels.count(label) == 1 else f"{label} ({record.run_id[:SHOWN_ID]})", "last")
        for record, label in zip(alike, labels, strict=True)
    ]


def _tested_on(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record.spec["data"].items() if key not in OF_TRAINING}


def _kept_finals(store: ResultsStore) -> Iterator[tuple[CellFile, FinalRun]]:
    """Yields the completed final runs of segmentation whose weights are there, with their cells."""
    from coretune.results.finals import completed_finals
    from coretune.spec.segmentation import MIOU

    cells = {cell.key: cell for cell in store.cells() if cell.metric == MIOU}
    for run in completed_finals(store):
        if run.cell in cells and store.has_weights(run.run_id, [run.weights]):
            yield cells[run.cell], run


def _kept_runs(store: ResultsStore) -> Iterator[Record]:
    """Yields the completed single runs of segmentation whose weights are there; none of a study."""
    if any(store.cells()):
        return
    for record in store.records():
        of_pixels = record.status == "completed" and record.spec.get("task") == "segmentation"
        if of_pixels and store.has_weights(record.run_id, ["last"]):
            yield record


def _drawn(store: ResultsStore, record: Record, label: str, weights: str) -> Drawn:
    """Returns a run with what its evaluation on the test part found."""
    from coretune.spec.catalog import load_catalog
    from coretune.spec.run import EvalSpec

    ref = load_catalog().ref("evaluation", "segmentation")
    tested = EvalSpec.model_validate({"evaluation": ref, "weights": weights})
    evaluation = store.evaluation(record.run_id, tested.eval_id(record.run_id))
    miou = None if evaluation is None else evaluation.metrics.get("miou")
    return Drawn(label, record.run_id, weights, int(record.spec["seed"]), miou)
