"""From a description to a record: exact resume through the disk, every way to fail, and what a record never loses."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import moco
from support.training import (
    accuracy_evaluation,
    assert_same_tensors,
    catalog,
    context,
    digits_fingerprint,
    digits_job,
    digits_spec,
)

import coretune.runs.execute
import coretune.runs.folder
from coretune.cluster.processor import emulates_half
from coretune.data.dataset import Dataset
from coretune.data.fingerprint import hash_file
from coretune.data.unreadable import Unreadable
from coretune.errors import StorageError
from coretune.nets.weights import load_weights
from coretune.results import files
from coretune.results.record import Cause, Record
from coretune.results.store import ResultsStore
from coretune.runs.build import open_job_data
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.runs.trained import load_model
from coretune.spec.components import Catalog, Component, NoParameters, Ref, merge
from coretune.spec.run import EvalSpec, RunSpec
from coretune.tuning.classification import evaluate_classification
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Tick

torch.set_num_threads(1)

METHOD = """
import torch
from coretune.tuning.heads import linear_classifier
from coretune.tuning.method import LossTerms, Method

class Broken(Method):
    def __init__(self, params, *, features, classes):
        super().__init__(params, features=features, classes=classes)
        self.classifier = linear_classifier(features, classes)
        self.steps = 0

    def loss(self, step):
        self.steps += 1
        total = self.classifier(step.features).square().mean()
        if self.steps == 3:
            total = break_down(total)
        return LossTerms(total, {"odd": total.detach() * float("inf")})

def break_down(total):
    WHAT
"""


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str], tuple[Job, Catalog]]:
    """Makes a job whose method does something in its third step, i.e. epoch 2, step 1."""

    def make(what: str) -> tuple[Job, Catalog]:
        path = tmp_path / "broken.py"
        path.write_text(METHOD.replace("WHAT", what))
        component = Component(
            kind="method",
            name="broken",
            version=1,
            target=f"{path}:Broken",
            summary="",
            parameters=NoParameters,
        )
        shipped: Mapping[Any, Mapping[str, Component]] = catalog().components
        known = merge([item for found in shipped.values() for item in found.values()], [component])
        return digits_job(digits_spec().replace(method=Ref(name="broken", version=1))), known

    return make


def execute(job: Job, root: Path, known: Catalog | None = None, **options: Any) -> Execution:
    execution = Execution(job, ResultsStore(root), known or catalog(), context(**options))
    list(execution)
    return execution


def record_of(execution: Execution, root: Path) -> Record:
    record = ResultsStore(root).record(execution.run_id)
    assert record is not None
    assert record == execution.record
    return record


def numbers(record: Record) -> tuple[Any, ...]:
    notes = tuple(note for note in record.notes if "state" not in note)
    return record.run_id, record.status, record.metrics, notes


def folder(root: Path, job: Job) -> Path:
    return ResultsStore(root).run_folder(job.spec.run_id)


def metric_lines(root: Path, job: Job) -> list[dict[str, Any]]:
    found = [line for path in folder(root, job).glob("metrics-*.jsonl") for line in path.read_text().splitlines()]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in found]


def test_a_run_leaves_all_that_it_should(tmp_path: Path) -> None:
    job = digits_job(digits_spec("core_tuning"), keep_weights=True)
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context(micro_batch=5))
    events = list(execution)
    assert [type(event) for event in events] == [EpochReport, EpochReport]
    record = record_of(execution, tmp_path)
    assert (record.status, record.cause) == ("completed", None)
    assert record.spec == job.spec.canonical()
    assert set(record.metrics) == {"last", "best", "train"}
    assert record.metrics["last"] == dict(events[-1].metrics)  # type: ignore[union-attr]
    assert set(record.timings) == {"total_s", "train_s", "evaluate_s", "images_per_s"}
    assert 0 < record.timings["train_s"] + record.timings["evaluate_s"] < record.timings["total_s"]
    assert record.timings["images_per_s"] == pytest.approx(40 / record.timings["train_s"])
    assert record.environment["device"] == "cpu"
    assert record.environment["threads"] == 1
    assert record.environment["micro_batch"] == 5
    assert any(note.startswith("anchors_without_positive") for note in record.notes)
    evaluation = ResultsStore(tmp_path).evaluation(job.spec.run_id, accuracy_evaluation().eval_id(job.spec.run_id))
    assert evaluation is not None and evaluation.details["images"] == 60
    assert RunSpec.model_validate_json((folder(tmp_path, job) / "run.json").read_text()) == job.spec
    assert [line["epoch"] for line in metric_lines(tmp_path, job)] == [1, 2]
    assert not (folder(tmp_path, job) / "state").exists()
    _, metadata = load_weights(ResultsStore(tmp_path).weights_path(job.spec.run_id))
    assert metadata["run_id"] == job.spec.run_id
    assert not ResultsStore(tmp_path).weights_path(job.spec.run_id, "best").exists()
    log = (folder(tmp_path, job) / "log.txt").read_text().splitlines()
    assert "start on" in log[0] and log[-1].endswith("completed")


def test_weights_evaluations_and_record_are_written_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        written.append(target.parent.name if target.suffix == ".json" and "evals" in str(target) else target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    job = digits_job(keep_weights=True, evaluations=(accuracy_evaluation(weights="best"), accuracy_evaluation()))
    execute(job, tmp_path)
    mine = [name for name in written if name in ("model.safetensors", "best.safetensors", "evals", "record.json")]
    assert mine == ["model.safetensors", "best.safetensors", "evals", "evals", "record.json"]


@pytest.mark.parametrize(
    ("method", "stop"), [("core_tuning", n) for n in (1, 2, 3, 4)] + [("moco_v2", 1), ("moco_v2", 2)]
)
def test_a_resume_through_the_disk_is_exact(tmp_path: Path, method: str, stop: int) -> None:
    recipe = {"batch": 850, "contrast_batch": 850} if method == "moco_v2" else {}
    weights = "last" if method == "moco_v2" else "best"
    evaluations = () if method == "moco_v2" else (accuracy_evaluation(weights=weights),)
    job = digits_job(digits_spec(method, **recipe), keep_weights=True, evaluations=evaluations)
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    expected = numbers(record_of(execute(job, whole), whole))
    first = Execution(job, ResultsStore(parted), catalog(), context(tick_s=0))
    for _ in range(stop):
        next(first)
    first.save_state()
    first.close()
    assert first.record is None
    second = execute(job, parted)
    record = record_of(second, parted)
    assert numbers(record) == expected
    assert metric_lines(parted, job) == metric_lines(whole, job)
    one, other = ResultsStore(whole), ResultsStore(parted)
    for which in {"last", weights}:
        paths = [store.weights_path(job.spec.run_id, which) for store in (one, other)]
        assert_same_tensors(*(load_weights(path)[0] for path in paths))
    found = [[evaluation.metrics for evaluation in store.evaluations(job.spec.run_id)] for store in (one, other)]
    assert found[0] == found[1]
    assert len(found[0]) == len(evaluations)
    assert f"resume at epoch {1 + stop // 2}, step {1 + stop % 2}" in (folder(parted, job) / "log.txt").read_text()
    assert not (folder(parted, job) / "state").exists()


@pytest.mark.slow
@pytest.mark.skipif(emulates_half(), reason="torch 2.14 compiles to code that corrupts memory without AVX-512")
@pytest.mark.parametrize("method", ["ce", "core_tuning", "moco_v2"])
@pytest.mark.parametrize("micro_batch", [None, 5])
def test_a_compiled_run_is_the_same_run(tmp_path: Path, method: str, micro_batch: int | None) -> None:
    recipe = {"batch": 850, "contrast_batch": 850} if method == "moco_v2" else {}
    job = digits_job(digits_spec(method, **recipe), evaluations=())
    found = []
    for compiled in (False, True):
        root = tmp_path / str(compiled)
        record = record_of(execute(job, root, micro_batch=micro_batch, compile=compiled), root)
        assert record.status == "completed" and record.environment["compile"] is compiled
        found.append(record)
    assert found[0].run_id == found[1].run_id
    for group, values in found[0].metrics.items():
        assert found[1].metrics[group] == pytest.approx(values, rel=1e-4), group


def test_a_resume_says_its_earlier_epochs_again(tmp_path: Path) -> None:
    job = digits_job()
    first = Execution(job, ResultsStore(tmp_path), catalog(), context())
    told = next(first)
    first.save_state()
    first.close()
    events = list(Execution(job, ResultsStore(tmp_path), catalog(), context()))
    assert isinstance(told, EpochReport) and [event.epoch for event in events] == [1, 2]
    assert events[0] == told
    assert [line["epoch"] for line in metric_lines(tmp_path, job)] == [1, 2]


def test_times_of_all_sessions_are_added(tmp_path: Path) -> None:
    job = digits_job()
    first = Execution(job, ResultsStore(tmp_path), catalog(), context(tick_s=0))
    next(first)
    first._clock -= 100
    first._training._spent.seconds += 50  # type: ignore[union-attr]
    first.save_state()
    first.close()
    record = record_of(execute(job, tmp_path), tmp_path)
    assert record.started == first._started
    assert record.timings["total_s"] > 100
    assert record.timings["train_s"] > 50
    assert record.timings["images_per_s"] == pytest.approx(40 / record.timings["train_s"])


def test_an_epoch_never_stands_twice_in_the_metrics(tmp_path: Path) -> None:
    job = digits_job(digits_spec(epochs=4))
    first = Execution(job, ResultsStore(tmp_path), catalog(), context())
    next(first)
    first.save_state()
    next(first)
    next(first)
    first.close()  # two epochs are in the file, but not in the state
    assert [line["epoch"] for line in metric_lines(tmp_path, job)] == [1, 2, 3]
    with (folder(tmp_path, job) / "metrics-0.jsonl").open("a") as file:
        file.write('{"epoch": 4, "torn')
    execute(job, tmp_path)
    assert [line["epoch"] for line in metric_lines(tmp_path, job)] == [1, 2, 3, 4]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a state"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_state_is_set_aside_and_said(tmp_path: Path, how: str) -> None:
    job = digits_job()
    first = Execution(job, ResultsStore(tmp_path), catalog(), context(tick_s=0))
    next(first)
    first.save_state()
    first.close()
    DAMAGE[how](folder(tmp_path, job) / "state" / "state.pt")
    execution = execute(job, tmp_path)
    record = record_of(execution, tmp_path)
    assert record.status == "completed"
    (note,) = record.notes
    assert "state.pt" in note and "set aside as state.corrupt-" in note and "trained from the start" in note
    aside = [path for path in folder(tmp_path, job).iterdir() if path.name.startswith("state.corrupt-")]
    assert len(aside) == 1 and aside[0].name in note
    fresh = record_of(execute(job, tmp_path / "fresh"), tmp_path / "fresh")
    assert record.metrics == fresh.metrics


def test_a_state_of_another_run_or_net_is_set_aside(tmp_path: Path) -> None:
    from coretune.runs.state import RunState, load_state, save_state

    job, other = digits_job(), digits_job(digits_spec("core_tuning"))
    first = Execution(other, ResultsStore(tmp_path), catalog(), context(tick_s=0))
    next(first)
    first.save_state()
    first.close()
    target = folder(tmp_path, job) / "state"
    target.mkdir(parents=True)
    (target / "state.pt").write_bytes((folder(tmp_path, other) / "state" / "state.pt").read_bytes())
    assert "is the state of run" in record_of(execute(job, tmp_path), tmp_path).notes[0]

    # Of the right name, but of another net: loaded in part, then made again.
    fresh = tmp_path / "fresh"
    foreign = load_state(folder(tmp_path, other) / "state", other.spec.run_id)
    assert foreign is not None
    save_state(folder(fresh, job) / "state", job.spec.run_id, RunState(foreign.training, "", 0.0))
    record = record_of(execute(job, fresh), fresh)
    assert "the state is not one of this training" in record.notes[0]
    assert record.metrics == record_of(execute(job, tmp_path / "clean"), tmp_path / "clean").metrics


def test_the_note_of_a_damaged_state_survives_the_next_resume(tmp_path: Path) -> None:
    job = digits_job()
    target = folder(tmp_path, job) / "state"
    target.mkdir(parents=True)
    (target / "state.pt").write_text("x")
    first = Execution(job, ResultsStore(tmp_path), catalog(), context(tick_s=0))
    next(first)
    first.save_state()
    first.close()
    assert "state.pt is damaged" in record_of(execute(job, tmp_path), tmp_path).notes[0]


def test_what_matched_of_a_checkpoint_is_noted_once_however_often_it_resumes(tmp_path: Path) -> None:
    backbone = (
        catalog().get("backbone", "small_resnet").load()(catalog().parameters("backbone", digits_spec().backbone.arch))
    )
    torch.save(moco(dict(backbone.state_dict()), mlp=False), tmp_path / "moco.pth")
    spec = digits_spec(weights=f"sha256:{hash_file(tmp_path / 'moco.pth')}")
    job = digits_job(spec, checkpoint=str(tmp_path / "moco.pth"))
    for _ in range(2):
        execution = Execution(job, ResultsStore(tmp_path), catalog(), context(tick_s=0))
        next(execution)
        execution.save_state()
        execution.close()
    record = record_of(execute(job, tmp_path), tmp_path)
    assert (folder(tmp_path, job) / "log.txt").read_text().count("resume at") == 2
    assert len([note for note in record.notes if note.startswith("checkpoint moco.pth: layout moco_v1")]) == 1


def test_a_state_without_the_weights_that_are_wanted_now_is_set_aside(tmp_path: Path) -> None:
    first = Execution(digits_job(), ResultsStore(tmp_path), catalog(), context())
    next(first)
    first.save_state()
    first.close()
    job = digits_job(evaluations=(accuracy_evaluation(weights="best"),))
    record = record_of(execute(job, tmp_path), tmp_path)
    assert record.status == "completed"
    assert "no weights of the best epoch" in record.notes[0]


def test_a_method_without_parameters_is_no_damaged_state(
    tmp_path: Path, broken: Callable[[str], tuple[Job, Catalog]]
) -> None:
    job, known = broken("return total")
    path = tmp_path / "broken.py"
    frozen = (
        "    def prepare(self, encoder):\n        encoder.requires_grad_(False)\n        self.requires_grad_(False)\n\n"
    )
    path.write_text(path.read_text().replace("def break_down", frozen + "def break_down"))
    assert "empty parameter list" in failed(execute(job, tmp_path, known), tmp_path, "error").message


def test_states_are_stored_in_passing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coretune.runs.execute, "STATE_EVERY_S", 0.0)
    job = digits_job()
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context(tick_s=0))
    next(execution)
    assert (folder(tmp_path, job) / "state" / "state.pt").is_file()
    execution.close()


def test_a_state_that_cannot_be_stored_in_passing_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise StorageError("state.pt: the disk is full")

    monkeypatch.setattr(coretune.runs.execute, "STATE_EVERY_S", 0.0)
    monkeypatch.setattr(coretune.runs.folder, "save_state", full)
    record = record_of(execute(digits_job(), tmp_path), tmp_path)
    assert record.status == "completed"
    assert "its state could not be stored: state.pt: the disk is full" in record.notes


def failed(execution: Execution, root: Path, kind: str) -> Cause:
    record = record_of(execution, root)
    assert record.status == "failed"
    assert record.cause is not None and record.cause.kind == kind, record.cause
    log = (root / "runs" / execution.run_id / "log.txt").read_text()
    assert "Traceback (most recent call last)" in log
    assert f"failed: {kind}: " in log
    return record.cause


def test_a_loss_that_is_not_finite(tmp_path: Path, broken: Callable[[str], tuple[Job, Catalog]]) -> None:
    job, known = broken("return total * float('nan')")
    cause = failed(execute(job, tmp_path, known), tmp_path, "diverged")
    assert (cause.epoch, cause.step) == (2, 1)
    assert "epoch 2, step 1" in cause.message and "the step before" in cause.message
    record = ResultsStore(tmp_path).record(job.spec.run_id)
    assert record is not None and set(record.metrics) == {"last", "best", "train"}


def test_a_learning_rate_that_is_too_high(tmp_path: Path) -> None:
    job = digits_job(digits_spec(lr=1e12, epochs=20))
    assert "train.lr = 1e+12 is probably too high" in failed(execute(job, tmp_path), tmp_path, "diverged").message


def test_an_extreme_parameter(tmp_path: Path) -> None:
    job = digits_job(digits_spec("core_tuning", params={"temperature": 1e-300, "eta": 1e300}))
    message = failed(execute(job, tmp_path), tmp_path, "diverged").message
    assert "epoch 1, step 1" in message and "parameter of the method is extreme" in message


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("raise ZeroDivisionError('my bug')", "error", "ZeroDivisionError: my bug"),
        ("return torch.empty(2 ** 50)", "out_of_memory", "can't allocate memory"),
        ("raise torch.OutOfMemoryError('CUDA out of memory')", "out_of_memory", "CUDA out of memory"),
        ("raise FileNotFoundError(2, 'No such file', 'x')", "environment", "No such file"),
        ("return total.detach()", "error", "RuntimeError"),
    ],
)
def test_whatever_a_method_raises(
    tmp_path: Path, broken: Callable[[str], tuple[Job, Catalog]], what: str, kind: str, message: str
) -> None:
    job, known = broken(what)
    execution = execute(job, tmp_path, known)
    assert message in failed(execution, tmp_path, kind).message
    log = (folder(tmp_path, job) / "log.txt").read_text()
    assert ("in break_down" in log) == (what != "return total.detach()")
    assert list(execution) == []


def test_a_term_that_json_cannot_hold_is_left_out_and_said(
    tmp_path: Path, broken: Callable[[str], tuple[Job, Catalog]]
) -> None:
    job, known = broken("return total")
    record = record_of(execute(job, tmp_path, known), tmp_path)
    assert record.status == "completed"
    assert "odd" not in record.metrics["train"]
    assert "the mean of odd is not finite" in record.notes
    assert all("odd" not in line["train"] for line in metric_lines(tmp_path, job))


def test_parameters_that_are_invalid(tmp_path: Path) -> None:
    spec = digits_spec().replace(method=Ref(name="core_tuning", version=1, params={"temperature": -1.0}))
    message = failed(execute(digits_job(spec), tmp_path), tmp_path, "invalid").message
    assert "temperature: Input should be greater than 0" in message
    spec = digits_spec().replace(method=Ref(name="core", version=1))
    assert "unknown method 'core'" in failed(execute(digits_job(spec), tmp_path), tmp_path, "invalid").message


def test_missing_weights_and_changed_data(tmp_path: Path) -> None:
    job = digits_job(digits_spec(weights="run:0123456789abcdef"))
    assert "left no weights" in failed(execute(job, tmp_path), tmp_path, "environment").message
    spec = digits_spec()
    other = spec.replace(data=spec.data.replace(fingerprint="f" * 64))
    assert digits_fingerprint() != "f" * 64
    message = failed(execute(digits_job(other), tmp_path), tmp_path, "environment").message
    assert "not the images that the run was planned with" in message


def test_a_failure_of_the_environment_keeps_the_state(
    tmp_path: Path, broken: Callable[[str], tuple[Job, Catalog]]
) -> None:
    for what, kept in (("raise OSError(5, 'Input/output error')", True), ("raise KeyError('bug')", False)):
        job, known = broken(what)
        root = tmp_path / str(kept)
        execution = Execution(job, ResultsStore(root), known, context(tick_s=0))
        next(execution)
        execution.save_state()
        list(execution)
        assert execution.record is not None and execution.record.status == "failed"
        assert (folder(root, job) / "state" / "state.pt").is_file() == kept


def test_a_full_disk_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = digits_job()
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context())
    next(execution)
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if "record.json" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match=r"record\.json: the disk is full"):
        list(execution)
    assert execution.record is None
    assert ResultsStore(tmp_path).record(job.spec.run_id) is None
    assert not list(folder(tmp_path, job).glob(".*"))


def test_a_folder_that_cannot_be_written_is_raised(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(StorageError):
        next(Execution(digits_job(), ResultsStore(tmp_path), catalog(), context()))


def test_a_log_that_cannot_be_written_once_the_record_is_there_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = files.append_line

    def full(path: Path, line: str) -> None:
        if line.endswith("completed"):
            raise StorageError("log.txt: the disk is full")
        append(path, line)

    monkeypatch.setattr(coretune.runs.folder, "append_line", full)
    assert record_of(execute(digits_job(), tmp_path), tmp_path).status == "completed"


def test_a_recorded_run_is_only_evaluated(tmp_path: Path) -> None:
    job = digits_job(keep_weights=True, evaluations=())
    record = record_of(execute(job, tmp_path), tmp_path)
    before = (folder(tmp_path, job) / "metrics-0.jsonl").stat().st_mtime_ns
    more = digits_job(keep_weights=True, evaluations=(accuracy_evaluation(), accuracy_evaluation(limit=5)))
    execution = Execution(more, ResultsStore(tmp_path), catalog(), context())
    assert list(execution) == []
    assert execution.record == record == ResultsStore(tmp_path).record(job.spec.run_id)
    assert len(list(ResultsStore(tmp_path).evaluations(job.spec.run_id))) == 2
    assert (folder(tmp_path, job) / "metrics-0.jsonl").stat().st_mtime_ns == before


def test_nothing_is_read_where_everything_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = digits_job()
    execute(job, tmp_path)
    monkeypatch.setattr(coretune.runs.execute, "open_job_data", None)
    assert execute(job, tmp_path).record is not None


@pytest.mark.parametrize("evaluations", [(), (accuracy_evaluation(limit=5),)], ids=["weights", "evaluation"])
def test_a_recorded_run_without_weights_is_trained_again_if_they_are_needed(
    tmp_path: Path, evaluations: tuple[Any, ...]
) -> None:
    job = digits_job(evaluations=())
    record = record_of(execute(job, tmp_path), tmp_path)
    again = digits_job(keep_weights=not evaluations, evaluations=evaluations)
    found = record_of(execute(again, tmp_path), tmp_path)
    assert found.metrics == record.metrics
    assert any("trained again" in note for note in found.notes)
    assert ResultsStore(tmp_path).weights_path(job.spec.run_id).is_file() == (not evaluations)
    assert len(list(ResultsStore(tmp_path).evaluations(job.spec.run_id))) == len(evaluations)


def test_damaged_weights_are_set_aside_and_made_again(tmp_path: Path) -> None:
    job = digits_job(keep_weights=True, evaluations=())
    execute(job, tmp_path)
    path = ResultsStore(tmp_path).weights_path(job.spec.run_id)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    record = record_of(execute(digits_job(keep_weights=True), tmp_path), tmp_path)
    assert any("trained again" in note and "set aside as model.safetensors.corrupt-" in note for note in record.notes)
    assert_same_tensors(load_weights(path)[0], load_weights_of(whole, tmp_path))
    assert len(list(ResultsStore(tmp_path).evaluations(job.spec.run_id))) == 1


JUDGE = """
def judge(model, packed, indices, context, *, params, seed=0):
    WHAT
"""


def judged(folder: Path, what: str, name: str) -> tuple[EvalSpec, Catalog]:
    """An evaluation of somebody's own, and a catalog that has it."""
    path = folder / f"{name}.py"
    path.write_text(JUDGE.replace("WHAT", what))
    component = Component(kind="evaluation", name=name, version=1, target=f"{path}:judge", summary="")
    shipped: Mapping[Any, Mapping[str, Component]] = catalog().components
    known = merge([item for found in shipped.values() for item in found.values()], [component])
    return EvalSpec(evaluation=Ref(name=name, version=1)), known


def test_a_further_evaluation_that_fails_leaves_the_run_and_the_others_complete(tmp_path: Path) -> None:
    broken, known = judged(tmp_path, "return {'x': 1 / 0}", "broken")
    more = accuracy_evaluation(weights="best")
    job = digits_job(keep_weights=True, further=(broken, more))
    record = record_of(execute(job, tmp_path, known), tmp_path)
    store, eval_id = ResultsStore(tmp_path), broken.eval_id(job.spec.run_id)
    assert record.status == "completed" and store.lacking(job.spec.run_id, job.all_evaluations) == [broken]
    assert [(key, cause.kind) for key, cause in record.failed_evaluations.items()] == [(eval_id, "error")]
    assert "ZeroDivisionError" in (folder(tmp_path, job) / "log.txt").read_text()

    again = record_of(execute(job, tmp_path, known), tmp_path)
    assert again == record, "it failed again, and nothing else was done"

    _, healed = judged(tmp_path, "return {'x': 1.0}", "broken")
    done = record_of(execute(job, tmp_path, healed), tmp_path)
    assert done == record.replace(failed_evaluations={})
    found = store.evaluation(job.spec.run_id, eval_id)
    assert found is not None and found.metrics == {"x": 1.0}


def test_the_failure_of_another_study_s_evaluation_stays_in_the_record(tmp_path: Path) -> None:
    broken, known = judged(tmp_path, "raise MemoryError", "broken")
    job = digits_job(keep_weights=True, further=(broken,))
    record = record_of(execute(job, tmp_path, known), tmp_path)
    assert record.failed_evaluations
    other = digits_job(keep_weights=True, further=(accuracy_evaluation(limit=5),))
    assert record_of(execute(other, tmp_path), tmp_path) == record


def test_best_weights_of_a_further_evaluation_are_kept_and_judged_last(tmp_path: Path) -> None:
    best = accuracy_evaluation(weights="best", split="validation")
    last = accuracy_evaluation(split="validation")
    job = digits_job(keep_weights=True, further=(best, last))
    record = record_of(execute(job, tmp_path), tmp_path)
    store, run_id = ResultsStore(tmp_path), job.spec.run_id
    assert store.has_weights(run_id, ["last", "best"])
    for spec, which in ((best, "best"), (last, "last")):
        found = store.evaluation(run_id, spec.eval_id(run_id))
        assert found is not None and found.metrics["top1"] == record.metrics[which]["top1"]


def load_weights_of(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    (folder / "whole.safetensors").write_bytes(content)
    return load_weights(folder / "whole.safetensors")[0]


def test_a_completed_record_is_never_replaced_by_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = digits_job(evaluations=())
    record = record_of(execute(job, tmp_path), tmp_path)
    wanted = accuracy_evaluation().replace(evaluation=Ref(name="classification", version=9))
    for keep in (True, False):
        if keep:  # an evaluation that fails; then a training that does
            execute(digits_job(keep_weights=True, evaluations=()), tmp_path)
        else:
            ResultsStore(tmp_path).weights_path(job.spec.run_id).unlink()
        execution = execute(digits_job(evaluations=(wanted,)), tmp_path)
        found = record_of(execution, tmp_path)
        assert found.status == "completed"
        assert found.metrics == record.metrics
        assert "invalid: evaluation classification: version 9 is asked for" in found.notes[-1]
        assert "Traceback" in (folder(tmp_path, job) / "log.txt").read_text()


def test_a_failed_run_is_trained_again(tmp_path: Path) -> None:
    job = digits_job()
    ResultsStore(tmp_path).put_record(
        Record(
            run_id=job.spec.run_id,
            status="failed",
            cause=Cause(kind="error", message="x"),
            spec={},
            started="",
            finished="",
        )
    )
    assert record_of(execute(job, tmp_path), tmp_path).status == "completed"


def test_pretraining_feeds_a_run_that_needs_it(tmp_path: Path) -> None:
    pretraining = digits_spec("moco_v2", epochs=1, batch=850, contrast_batch=850)
    first = execute(digits_job(pretraining, keep_weights=True, evaluations=()), tmp_path)
    record = record_of(first, tmp_path)
    assert set(record.metrics) == {"last", "train"} and set(record.metrics["last"]) == {"knn_top1"}
    tuned = digits_spec(weights=f"run:{pretraining.run_id}")
    assert tuned.needs == (pretraining.run_id,)
    assert record_of(execute(digits_job(tuned), tmp_path), tmp_path).status == "completed"


def test_save_state_and_close_at_any_time(tmp_path: Path) -> None:
    job = digits_job()
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context(tick_s=0))
    execution.save_state()
    execution.close()
    assert not (folder(tmp_path, job) / "state").exists()
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context(tick_s=0))
    assert isinstance(next(execution), Tick)
    execution.close()
    execution.save_state()
    assert (folder(tmp_path, job) / "state" / "state.pt").is_file()
    done = execute(job, tmp_path)
    done.save_state()
    assert not (folder(tmp_path, job) / "state").exists()
    assert list(execution) == []


def test_a_run_that_is_broken_off_inside_a_step_stores_nothing(
    tmp_path: Path, broken: Callable[[str], tuple[Job, Catalog]]
) -> None:
    job, known = broken("raise KeyboardInterrupt")
    execution = Execution(job, ResultsStore(tmp_path), known, context())
    with pytest.raises(KeyboardInterrupt):
        list(execution)
    execution.save_state()
    assert not (folder(tmp_path, job) / "state").exists()
    assert ResultsStore(tmp_path).record(job.spec.run_id) is None


def test_two_executions_agree_bit_for_bit_whatever_the_process_did_before(tmp_path: Path) -> None:
    found = []
    for number in range(2):
        torch.manual_seed(number)
        root = tmp_path / str(number)
        job = digits_job(digits_spec("core_tuning", precision="bf16"), keep_weights=True)
        execute(job, root, tick_s=0.0 if number else math.inf)
        found.append(load_weights(ResultsStore(root).weights_path(job.spec.run_id))[0])
    assert_same_tensors(*found)


@pytest.mark.gpu
def test_a_run_on_a_gpu_completes(tmp_path: Path) -> None:
    for number, precision in enumerate(("fp32", "bf16", "fp16")):
        job = digits_job(digits_spec("core_tuning", precision=precision, seed=number), keep_weights=True)
        where = Context(torch.device("cuda"), channels_last=True, micro_batch=5)
        execution = Execution(job, ResultsStore(tmp_path), catalog(), where)
        list(execution)
        assert execution.record is not None and execution.record.status == "completed"


def test_a_record_says_how_many_images_are_left_out(tmp_path: Path) -> None:
    def skipping(job: Job, known: Catalog) -> Dataset:
        dataset = open_job_data(job, known)
        return replace(dataset, packed=replace(dataset.packed, unreadable=(Unreadable(7, 1, "7: an empty file"),)))

    job = digits_job()
    list(execution := Execution(job, ResultsStore(tmp_path), catalog(), context(), open_data=skipping))
    assert "1 of 1,797 images cannot be read: left out" in record_of(execution, tmp_path).notes


def test_the_average_of_swad_is_tested_kept_and_loaded_as_the_same_model(tmp_path: Path) -> None:
    wanted = (accuracy_evaluation(weights="swad"), accuracy_evaluation())
    job = digits_job(keep_weights=True, evaluations=wanted)
    record = record_of(execute(job, tmp_path), tmp_path)
    plain = record_of(execute(digits_job(evaluations=(accuracy_evaluation(),)), tmp_path / "plain"), tmp_path / "plain")
    assert record.run_id == plain.run_id and record.metrics == plain.metrics, "it is the same training"
    assert any(note.startswith("swad: the average of ") for note in record.notes)
    store = ResultsStore(tmp_path)
    scores = [store.evaluation(job.spec.run_id, spec.eval_id(job.spec.run_id)) for spec in wanted]
    assert scores[0] is not None and scores[1] is not None
    averaged, last = (load_weights(store.weights_path(job.spec.run_id, which))[0] for which in ("swad", "last"))
    assert averaged.keys() <= last.keys()
    assert not torch.equal(averaged["classifier.weight"], last["classifier.weight"])
    dataset = open_job_data(job, catalog())
    model = load_model(job, "swad", dataset, store, catalog(), context())
    model.eval()
    found = evaluate_classification(model, dataset.packed, dataset.split.test, context())
    assert found["top1"] == pytest.approx(scores[0].metrics["top1"])
    assert store.has_weights(job.spec.run_id, ["swad", "last"])
    store.drop_weights(job.spec.run_id)
    assert not store.weights_path(job.spec.run_id, "swad").exists()
