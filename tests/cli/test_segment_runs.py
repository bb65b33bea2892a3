from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coretune.errors import RequestError
from coretune.results.cellfile import CellFile
from coretune.results.record import Evaluation, Record
from coretune.results.store import ResultsStore
from coretune.spec.catalog import load_catalog
from coretune.spec.run import EvalSpec
from coretune_cli.segment_runs import Drawn, drawn_runs, picture_command


@pytest.fixture
def store(tmp_path: Path) -> ResultsStore:
    return ResultsStore(tmp_path / "out")


def put(store: ResultsStore, run_id: str, *, kept: bool = True, finished: str = "1", **changes: Any) -> None:
    """A completed run of segmentation, tested with last and with best weights."""
    spec = {
        "task": "segmentation",
        "data": {"dataset": {"name": "voc", "version": 1}, "fingerprint": "0" * 64},
        "backbone": {"arch": {"name": "resnet18", "version": 1}},
        "method": {"name": "ce", "version": 1},
        "seed": 7,
        **changes,
    }
    metrics = {which: {"miou": 1.0} for which in ("last", "best")}
    record = Record(run_id=run_id, status="completed", spec=spec, metrics=metrics, started="0", finished=finished)
    store.put_record(record)
    ref = load_catalog().ref("evaluation", "segmentation")
    for weights, miou in (("last", 40.0), ("best", 50.0)):
        tested = EvalSpec.model_validate({"evaluation": ref, "weights": weights})
        put_evaluation(store, run_id, tested, miou)
        put_evaluation(store, run_id, tested.replace(limit=5), 99.0)
        if kept:
            store.weights_path(run_id, weights).write_bytes(b"weights")


def put_evaluation(store: ResultsStore, run_id: str, spec: EvalSpec, miou: float) -> None:
    found = Evaluation(
        eval_id=spec.eval_id(run_id),
        run_id=run_id,
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        metrics={"miou": miou},
        created="",
    )
    store.put_evaluation(found)


def put_cell(store: ResultsStore, method: str, *runs: str, metric: str = "miou", **changes: Any) -> None:
    found = {"dataset": "streets", "backbone": "net", **changes}
    finals = [{"index": index, "seed": 7, "run_id": run_id} for index, run_id in enumerate(runs)]
    key = f"{found['dataset']}--{method}--{found['backbone']}"
    cell = {"key": key, "method": method, "metric": metric, "direction": "max", "finals": finals}
    store.put_cell(CellFile.model_validate({**found, **cell}))


def test_the_first_final_run_of_each_method_that_was_kept_is_drawn(store: ResultsStore) -> None:
    for run_id, kept in (("a" * 16, False), ("b" * 16, True), ("c" * 16, True)):
        put(store, run_id, kept=kept)
    put_cell(store, "ce", "a" * 16, "b" * 16)
    put_cell(store, "core", "c" * 16, evaluation={"weights": "best"})
    first, second = drawn_runs(store, None)
    assert first == Drawn("ce", "b" * 16, "last", 7, 40.0) and second == Drawn("core", "c" * 16, "best", 7, 50.0)
    assert second.head == "core\nseed 7\nrun cccccccc, test mIoU 50.00 %"
    assert Drawn("ce", "b" * 16, "last", 7, None).head == "ce\nseed 7\nrun bbbbbbbb"
    assert picture_command(store) == f"coretune segment show {store.root}"


def test_one_data_set_is_drawn_and_backbones_are_told_apart(store: ResultsStore) -> None:
    for run_id in ("a" * 16, "b" * 16, "c" * 16):
        put(store, run_id)
    put_cell(store, "ce", "a" * 16)
    put_cell(store, "ce", "b" * 16, backbone="other")
    put_cell(store, "ce", "c" * 16, dataset="woods")
    assert [run.label for run in drawn_runs(store, None)] == ["ce on net", "ce on other"]
    assert [(run.label, run.run_id) for run in drawn_runs(store, "woods")] == [("ce", "c" * 16)]
    with pytest.raises(RequestError, match="no completed run of segmentation of sea whose weights were kept"):
        drawn_runs(store, "sea")


def test_of_single_runs_the_newest_and_those_like_it_are_drawn(store: ResultsStore) -> None:
    other = {"dataset": {"name": "voc", "version": 1}, "fingerprint": "1" * 64}
    put(store, "a" * 16, finished="5", data=other)
    put(store, "b" * 16, finished="8", method={"name": "core_tuning", "version": 1})
    put(store, "c" * 16, finished="7")
    put(store, "d" * 16, finished="6", seed=8)
    put(store, "e" * 16, finished="9", kept=False)
    put(store, "f" * 16, finished="9", task="classification")
    found = [(run.label, run.seed, run.miou) for run in drawn_runs(store, None)]
    assert found == [("ce (dddddddd)", 8, 40.0), ("ce (cccccccc)", 7, 40.0), ("core_tuning", 7, 40.0)]
    assert picture_command(store, Path("/my streets")) == (f"coretune segment show {store.root} --path '/my streets'")


def test_nothing_of_pixels_is_nothing_to_draw(store: ResultsStore) -> None:
    assert picture_command(store) is None
    put(store, "a" * 16)
    put_cell(store, "ce", "a" * 16, metric="top1")
    assert picture_command(store) is None
    with pytest.raises(RequestError, match="no completed run of segmentation whose weights were kept"):
        drawn_runs(store, None)
