"""Runs that several workers execute together: to the same end on all of them, whatever goes wrong on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.crew import Crew
from support.grouped import executed, shared
from support.near import assert_near
from support.odd_method import ODD
from support.training import accuracy_evaluation, catalog, digits_job, digits_spec

from coretune.nets.weights import load_weights
from coretune.results.record import Record
from coretune.results.store import ResultsStore
from coretune.runs.job import Job
from coretune.spec.catalog import load_catalog
from coretune.spec.run import RunSpec

torch.set_num_threads(1)

WORKERS = 4


def odd_job(
    *, labels: int = 2, job: dict[str, Any] | None = None, train: dict[str, Any] | None = None, **what: Any
) -> Job:
    """A run of four epochs, of two steps by default, whose method fails as it is told."""
    spec: RunSpec = digits_spec(**{"epochs": 4, **(train or {})})
    method, data = load_catalog((ODD,)).ref("method", "odd", what), spec.data.replace(labels_per_class=labels)
    return digits_job(spec.replace(method=method, data=data), plugins=(ODD,), **(job or {}))


def evaluations(found: dict[str, Any]) -> list[Any]:
    """The epoch reports; signs of life between them come by the clock."""
    return [event for event in found["events"] if event[1] is not None]


def record_of(root: Path, job: Job) -> Record:
    record = ResultsStore(root).record(job.spec.run_id)
    assert record is not None
    return record


def test_what_the_first_worker_gives_is_shared(crew: Crew) -> None:
    for value in (None, True, {"a": [torch.arange(3).tolist(), "ü"]}, "x" * 100_000):
        assert crew.run(WORKERS, shared, value) == [value] * WORKERS


def test_a_run_of_several_workers_is_that_of_one(crew: Crew, tmp_path: Path) -> None:
    # 10 labelled images a class: 5 epochs of 4 steps, in fp32
    spec = digits_spec("core_tuning", epochs=5, batch=25, contrast_batch=25)
    spec = spec.replace(data=spec.data.replace(labels_per_class=10))
    job = digits_job(spec, keep_weights=True)
    (alone,) = crew.run(1, executed, [job], tmp_path / "alone")[0]
    together = [found for (found,) in crew.run(WORKERS, executed, [job], tmp_path / "together")]
    for found in together:
        assert_near(evaluations(found), evaluations(alone), rtol=1e-3, atol=1e-3)
        assert found["events"] == together[0]["events"]
    states = [
        load_weights(ResultsStore(tmp_path / name).weights_path(spec.run_id))[0] for name in ("alone", "together")
    ]
    assert_near(states[1], states[0], rtol=1e-4, atol=1e-4)
    record = record_of(tmp_path / "together", job)
    assert record.environment["workers"] == WORKERS and record.status == "completed"
    assert record == together[0]["record"]
    store = ResultsStore(tmp_path / "together")
    evaluation = store.evaluation(spec.run_id, accuracy_evaluation().eval_id(spec.run_id))
    assert evaluation is not None and evaluation.details["images"] == 60
    lines = (store.run_folder(spec.run_id) / "metrics-0.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5], "one worker alone writes"
    log = (store.run_folder(spec.run_id) / "log.txt").read_text()
    assert log.count("start on") == 1


def test_the_average_of_swad_over_several_workers_is_that_of_one(crew: Crew, tmp_path: Path) -> None:
    # Ten images a class, six epochs of four steps: the window is told by the validation loss of all images.
    spec = digits_spec("core_tuning", epochs=6, batch=25, contrast_batch=25)
    spec = spec.replace(data=spec.data.replace(labels_per_class=10))
    job = digits_job(spec, further=(accuracy_evaluation(weights="swad"),), keep_weights=True)
    crew.run(1, executed, [job], tmp_path / "alone")
    crew.run(WORKERS, executed, [job], tmp_path / "together")
    stores = [ResultsStore(tmp_path / name) for name in ("alone", "together")]
    states = [load_weights(store.weights_path(spec.run_id, "swad"))[0] for store in stores]
    assert_near(states[1], states[0], rtol=1e-4, atol=1e-4)
    notes = [record_of(store.root, job).notes for store in stores]
    assert notes[0] == notes[1] and any(note.startswith("swad: the average of ") for note in notes[0])


@pytest.mark.parametrize(
    ("what", "rank", "kind", "said"),
    [
        ("nan", -1, "diverged", "epoch 2, step 1"),
        ("error", -1, "error", "ZeroDivisionError: a bug"),
        ("error", 0, "error", "ZeroDivisionError: a bug"),
        ("error", 2, "error", "ZeroDivisionError: a bug"),
        ("memory", 1, "out_of_memory", "CUDA out of memory"),
    ],
)
def test_after_a_failure_the_next_run_of_the_group_is_sound(
    crew: Crew, tmp_path: Path, what: str, rank: int, kind: str, said: str
) -> None:
    jobs = [odd_job(what=what, rank=rank), digits_job()]
    for bad, good in crew.run(WORKERS, executed, jobs, tmp_path):
        assert bad["record"].cause.kind == kind and said in bad["record"].cause.message
        assert good["record"].status == "completed"
    assert record_of(tmp_path, jobs[0]).cause == bad["record"].cause
    log = (ResultsStore(tmp_path).run_folder(jobs[0].spec.run_id) / "log.txt").read_text()
    assert f"failed: {kind}" in log


def test_a_further_evaluation_that_one_worker_cannot_make_is_noted_by_all(crew: Crew, tmp_path: Path) -> None:
    further = accuracy_evaluation(limit=7)
    odd = further.replace(evaluation=further.evaluation.replace(version=99))
    job = digits_job(further=(odd, further))
    for (found,) in crew.run(WORKERS, executed, [job], tmp_path):
        assert found["record"].status == "completed"
        assert list(found["record"].failed_evaluations) == [odd.eval_id(job.spec.run_id)]
    assert len(list(ResultsStore(tmp_path).evaluations(job.spec.run_id))) == 2


def test_a_stopped_run_goes_on_from_its_state_with_one_worker(crew: Crew, tmp_path: Path) -> None:
    job = digits_job(digits_spec("core_tuning", epochs=4), keep_weights=True)
    (alone,) = crew.run(1, executed, [job], tmp_path / "alone")[0]
    stopped = [found for (found,) in crew.run(WORKERS, executed, [job], tmp_path / "stopped", 3, 0.0)]
    assert all(len(found["events"]) == 3 and found["record"] is None for found in stopped)
    store = ResultsStore(tmp_path / "stopped")
    assert (store.state_folder(job.spec.run_id) / "state.pt").is_file()
    (resumed,) = crew.run(1, executed, [job], tmp_path / "stopped")[0]
    assert resumed["record"].status == "completed"
    assert_near(evaluations(resumed), evaluations(alone), rtol=1e-3, atol=1e-3)
    assert "resume at epoch" in (store.run_folder(job.spec.run_id) / "log.txt").read_text()
    assert not store.state_folder(job.spec.run_id).exists()


def test_a_damaged_state_is_set_aside_by_all(crew: Crew, tmp_path: Path) -> None:
    job = digits_job()
    folder = ResultsStore(tmp_path).state_folder(job.spec.run_id)
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(b"not a state")
    for (found,) in crew.run(WORKERS, executed, [job], tmp_path):
        assert found["record"].status == "completed"
    assert any("set aside" in note for note in record_of(tmp_path, job).notes)


def test_a_recorded_run_is_evaluated_by_all(crew: Crew, tmp_path: Path) -> None:
    job = digits_job(keep_weights=True, evaluations=())
    crew.run(WORKERS, executed, [job], tmp_path)
    more = digits_job(keep_weights=True, evaluations=(accuracy_evaluation(),))
    for (found,) in crew.run(WORKERS, executed, [more], tmp_path):
        assert found["events"] == [] and found["record"].status == "completed"
    assert len(list(ResultsStore(tmp_path).evaluations(job.spec.run_id))) == 1
    ResultsStore(tmp_path).weights_path(job.spec.run_id).write_bytes(b"damaged")
    again = digits_job(keep_weights=True, evaluations=(accuracy_evaluation(limit=5),))
    for (found,) in crew.run(WORKERS, executed, [again], tmp_path):
        assert found["record"].status == "completed" and found["events"]
    assert any("trained again" in note for note in record_of(tmp_path, job).notes)


def test_out_of_memory_on_one_worker_halves_the_micro_batch_of_all(crew: Crew, tmp_path: Path) -> None:
    # Each worker has 10 samples of a batch of 40, in batch-norm groups of 5.
    job = odd_job(train={"batch": 40, "contrast_batch": 5}, labels=4, room=5, rank=1, job={"keep_weights": True})
    crew.run(1, executed, [job], tmp_path / "alone")
    for (found,) in crew.run(WORKERS, executed, [job], tmp_path / "together"):
        record = found["record"]
        assert record.status == "completed" and record.environment["micro_batch"] == 5
    notes = record_of(tmp_path / "together", job).notes
    assert "out of memory: trained with micro-batches of 5, the same mathematics" in notes
    states = [
        load_weights(ResultsStore(tmp_path / name).weights_path(job.spec.run_id))[0] for name in ("alone", "together")
    ]
    assert_near(states[1], states[0], rtol=1e-4, atol=1e-4)


def test_catalog_of_the_test_is_the_shipped_one_and_the_plug_in() -> None:
    assert load_catalog((ODD,)).components["method"].keys() - catalog().components["method"].keys() == {"odd"}
