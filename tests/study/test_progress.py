from __future__ import annotations

import itertools
import json
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.driving import answer, drive, lr_score, make_book, resolved
from support.image_sets import draw

from coretune.results.record import Cause
from coretune.results.store import ResultsStore
from coretune.study.book import CellBook
from coretune.study.events import EventLog
from coretune.study.progress import Progress

NUMBER = (int, float)
OPTIONAL_NUMBER = (int, float, type(None))
COUNTS = {"total": int, "done": int, "running": int, "failed": int}
SCHEMA: dict[str, Any] = {
    "schema_version": int,
    "study": str,
    "phase": {"preparing", "searching", "finals", "done", "incomplete", "interrupted", "failed"},
    "results": str,
    "pid": int,
    "host": str,
    "started": datetime,
    "updated": datetime,
    "elapsed_s": float,
    "remaining_s": (float, type(None)),
    "runs": {**COUNTS, "recorded_before": int},
    "prepare": [{"run_id": str, "label": str, "state": {"waiting", "running", "done", "failed"}, "metrics": dict}],
    "cells": [
        {
            "key": str,
            "dataset": str,
            "method": str,
            "backbone": str,
            "state": {"waiting", "searching", "finals", "done", "failed", "missing"},
            "trials": {**COUNTS, "pruned": int},
            "best": (float, type(None)),
            "finals": COUNTS,
            "mean": (float, type(None)),
        }
    ],
    "missing": [{"kind": {"data set", "checkpoint"}, "label": str, "cells": int, "text": str}],
    "objective": {"metric": str, "direction": {"max", "min"}},
    "selection": str,
    "slots": [
        {
            "slot": int,
            "run_id": (str, type(None)),
            "label": str,
            "epoch": int,
            "epochs": int,
            "images_per_s": OPTIONAL_NUMBER,
            "since": str,
            "node": (str, type(None)),
        }
    ],
    "throughput": {"images_per_s": float, "runs_per_min": float, "nodes": dict},
    "events": [{"time": datetime, "level": {"info", "warning", "error"}, "text": str}],
}


def check(value: Any, schema: Any, where: str = "state") -> None:
    """Compares a value with the contract of `state.json`: exactly these keys, each of its type."""
    if isinstance(schema, dict):
        assert isinstance(value, dict) and set(value) == set(schema), where
        for key in schema:
            check(value[key], schema[key], f"{where}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), where
        for item in value:
            check(item, schema[0], f"{where}[]")
    elif isinstance(schema, set):
        assert value in schema, (where, value)
    elif schema is datetime:
        offset = datetime.fromisoformat(value).utcoffset()
        assert offset is not None and not offset, where
    else:
        assert isinstance(value, schema) and not isinstance(value, bool), (where, value)


def make_progress(book: CellBook, root: Path, slots: int = 2) -> Progress:
    return Progress(book, EventLog(root / "log.txt"), results=str(root), slots=slots)


def seen(progress: Progress) -> dict[str, Any]:
    state = progress.snapshot()
    check(state, SCHEMA)
    json.loads(json.dumps(state, allow_nan=False))
    return state


def test_nodes_that_leave_and_join_are_events(root: Path) -> None:
    progress = make_progress(make_book(resolved(), root), root)
    progress.nodes(["b (10.0.0.2)"], ["c (10.0.0.3)"])
    left, joined = seen(progress)["events"][-2:]
    assert (left["level"], joined["level"]) == ("warning", "info")
    assert "node b (10.0.0.2) has left the cluster" in left["text"] and "c (10.0.0.3) has joined" in joined["text"]


def test_a_state_at_every_moment_of_a_study(root: Path) -> None:
    book = make_book(resolved("backbones.plain.pretrain={method: moco_v2}"), root)
    progress = make_progress(book, root)
    store = ResultsStore(root)
    phases = [seen(progress)["phase"]]
    done = 0
    while (job := book.next_job()) is not None:
        progress.started(job.spec.run_id)
        progress.ticked(job.spec.run_id, 2, 812.5, "one")
        state = seen(progress)
        assert (state["runs"]["done"], state["runs"]["running"]) == (done, 1)
        (slot,) = [slot for slot in state["slots"] if slot["run_id"] is not None]
        assert (slot["run_id"], slot["epoch"], slot["images_per_s"]) == (job.spec.run_id, 2, 812.5)
        assert slot["epochs"] == job.spec.train.epochs and slot["label"]
        assert state["throughput"]["images_per_s"] == 812.5
        assert state["throughput"]["nodes"] == {"one": {"images_per_s": 812.5, "running": 1}}
        progress.ticked(job.spec.run_id, job.spec.train.epochs, 812.5, "one")
        assert seen(progress)["throughput"]["images_per_s"] == 0, "after its last epoch a run is evaluated"
        answer(store, job, lr_score(job))
        progress.ended(job.spec.run_id)
        book.on_finished(job.spec.run_id, ended=True)
        done += 1
        phases.append(seen(progress)["phase"])
        assert seen(progress)["throughput"]["nodes"] == {}
    assert list(dict.fromkeys(phases)) == ["preparing", "searching", "finals"]
    progress.phase = "done"
    state = seen(progress)
    assert state["phase"] == "done" and state["remaining_s"] is None
    assert state["runs"] == {"total": 11, "done": 11, "running": 0, "failed": 0, "recorded_before": 0}
    assert [item["state"] for item in state["prepare"]] == ["done"]
    for cell, (shown) in zip(book.cells, state["cells"], strict=True):
        assert (shown["key"], shown["state"]) == (cell.key, "done")
        assert cell.choice is not None and shown["best"] == cell.choice.value
        assert shown["mean"] == pytest.approx(sum(final.score or 0 for final in cell.finals) / 2)
        assert shown["trials"] == {"total": 3, "done": 3, "running": 0, "pruned": 0, "failed": 0}
    assert (state["pid"], state["host"], state["results"]) == (os.getpid(), socket.gethostname(), str(root))


def test_what_a_pretraining_reports_is_shown_and_said(root: Path) -> None:
    book = make_book(resolved("backbones.plain.pretrain={method: moco_v2}"), root)
    progress = make_progress(book, root)
    job = book.next_job()
    assert job is not None and job.spec.task == "pretraining"
    assert [item["metrics"] for item in seen(progress)["prepare"]] == [{}]
    book.on_report(job.spec.run_id, 1, {"knn_top1": 31.25})
    assert [item["metrics"] for item in seen(progress)["prepare"]] == [{"knn_top1": 31.25}]
    store = ResultsStore(root)
    answer(store, job, 0.0)
    record = store.record(job.spec.run_id)
    assert record is not None
    store.put_record(record.replace(metrics={"last": {"knn_top1": 40.06}}))
    book.on_finished(job.spec.run_id, ended=True)
    assert "s, knn_top1 40.1" in (root / "log.txt").read_text()


def test_what_earlier_sessions_recorded_is_told_apart(root: Path) -> None:
    drive(make_book(resolved(), root), root, limit=4)
    book = make_book(resolved(), root)
    progress = make_progress(book, root)
    drive(book, root, limit=2)
    runs = seen(progress)["runs"]
    assert (runs["total"], runs["done"], runs["recorded_before"]) == (10, 6, 4)


def test_the_best_goes_by_the_direction(root: Path) -> None:
    book = make_book(resolved("objective.direction=min", "search.trials=6"), root)
    drive(book, root)
    state = seen(make_progress(book, root))
    assert state["objective"] == {"metric": "top1", "direction": "min"}
    for cell, shown in zip(book.cells, state["cells"], strict=True):
        assert shown["best"] == min(trial.value for trial in cell.trials if trial.value is not None)


def fail_all(book: CellBook, root: Path, task: str) -> None:
    """Answers every run; those of one task fail."""
    store = ResultsStore(root)
    while (job := book.next_job()) is not None:
        bad = Cause(kind="diverged", message="nan") if job.spec.task == task else None
        answer(store, job, 1.0, cause=bad)
        book.on_finished(job.spec.run_id, ended=True)


@pytest.mark.parametrize("search", ["search.trials=3", "search=none"])
def test_a_failed_pretraining_is_shown_as_such(root: Path, search: str) -> None:
    book = make_book(resolved("backbones.plain.pretrain={method: moco_v2}", search), root)
    fail_all(book, root, "pretraining")
    state = seen(make_progress(book, root))
    assert [item["state"] for item in state["prepare"]] == ["failed"]
    assert {cell["state"] for cell in state["cells"]} == {"failed"}


def test_a_pretraining_is_done_though_all_trials_failed(root: Path) -> None:
    book = make_book(resolved("backbones.plain.pretrain={method: moco_v2}"), root)
    fail_all(book, root, "classification")
    state = seen(make_progress(book, root))
    assert [item["state"] for item in state["prepare"]] == ["done"]
    assert {cell["state"] for cell in state["cells"]} == {"failed"}
    assert state["runs"]["failed"] == 6


def test_slots_are_reused_and_grow_where_more_run(root: Path) -> None:
    book = make_book(resolved(), root)
    progress = make_progress(book, root, slots=1)
    first, second, third = (job.spec.run_id for _ in range(3) if (job := book.next_job()) is not None)
    progress.started(first)
    progress.started(second)
    assert [slot["run_id"] for slot in seen(progress)["slots"]] == [first, second]
    progress.ended(first)
    progress.started(third)
    assert [slot["run_id"] for slot in seen(progress)["slots"]] == [third, second]
    progress.ended("of nobody")
    progress.ended(second)
    assert [slot["run_id"] for slot in seen(progress)["slots"]] == [third, None]


def test_the_remaining_time_is_that_of_the_runs_left(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("coretune.study.progress.time.monotonic", lambda: clock[0])
    book = make_book(resolved(), root)
    progress = make_progress(book, root, slots=2)
    store = ResultsStore(root)
    assert seen(progress)["remaining_s"] is None
    for _ in range(4):
        job = book.next_job()
        assert job is not None
        progress.started(job.spec.run_id)
        clock[0] += 6.0
        answer(store, job, 1.0)
        progress.ended(job.spec.run_id)
        book.on_finished(job.spec.run_id, ended=True)
    state = seen(progress)
    assert state["remaining_s"] == 6 * 6.0 / 2
    assert state["elapsed_s"] == 24.0
    assert state["throughput"]["runs_per_min"] == pytest.approx(60 * 4 / 18, abs=0.1)


def test_what_a_backbone_has_seen_is_said_beside_the_selection(root: Path, tmp_path: Path) -> None:
    for number, (domain, label) in enumerate(itertools.product(("art", "photo", "sketch"), ("cat", "dog"))):
        for place in range(5):
            draw(tmp_path / "mine" / domain / label / f"{place}.png", 5 * number + place)
    text = f"""
name: x
datasets:
  mine: {{path: {tmp_path / "mine"}, held_out_domain: [photo, sketch], image_size: 8, transductive: true}}
  other: {{dataset: domain_folders, path: {tmp_path / "mine"}, held_out_domain: photo, image_size: 8,
           pretraining_only: true}}
backbones: {{a: {{arch: small_resnet, pretrain: {{dataset: other}}}}}}
methods: [ce]
"""
    state = seen(make_progress(make_book(resolved(text=text), root), root))
    said = "transductive: mine-sketch (the backbone has seen the held-out domain)"
    assert state["selection"] == f"{said}; training-domain validation; last epoch"
    clean = resolved(text=text.replace("held_out_domain: [photo, sketch]", "held_out_domain: photo"))
    state = seen(make_progress(make_book(clean, root), root))
    assert state["selection"] == "training-domain validation; last epoch"
    both = seen(make_progress(make_book(resolved("backbones.b={arch: small_resnet}", text=text), root), root))
    assert "transductive: mine-sketch with a (" in both["selection"]
