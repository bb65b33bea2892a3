from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.driving import make_book, resolved

from coretune.runs.job import Job
from coretune.study.cell import StudyCell
from coretune.study.waiting import Consumer, Run, RunQueue


@pytest.fixture
def cell(root: Path) -> StudyCell:
    found = make_book(resolved(), root).cells[0]
    for _ in range(3):
        found.propose()
    return found


def run(cell: StudyCell, number: int, role: str = "search") -> Run:
    spec = cell.trials[0].runs[0]
    job = Job(spec=spec.replace(seed=spec.seed + number))
    return Run(job, f"run {number}", [Consumer(role, cell, number)])  # type: ignore[arg-type]


def test_first_come_first_served_and_some_before_all(cell: StudyCell) -> None:
    queue = RunQueue(lambda job: True)
    first, second, urgent = (run(cell, number) for number in range(3))
    queue.add(first)
    queue.add(second)
    queue.add(urgent, first=True)
    assert len(queue) == 3
    assert [queue.pop(), queue.pop(), queue.pop(), queue.pop()] == [urgent, first, second, None]


def test_a_run_waits_for_what_it_needs_and_others_go_ahead(cell: StudyCell) -> None:
    first, second = run(cell, 0), run(cell, 1)
    ready = {second.job.spec.run_id}
    queue = RunQueue(lambda job: job.spec.run_id in ready)
    queue.add(first)
    queue.add(second)
    assert queue.pop() is second and queue.pop() is None and len(queue) == 1
    ready.add(first.job.spec.run_id)
    assert queue.pop() is first


def test_a_run_waits_for_a_place_and_smaller_ones_go_ahead(cell: StudyCell) -> None:
    queue = RunQueue(lambda job: True)
    large, small = run(cell, 0), run(cell, 1)
    large.job = replace(large.job, workers=4)
    queue.add(large)
    queue.add(small)
    assert queue.ready() == 2 and queue.ready(lambda workers: workers < 4) == 1
    assert queue.pop(lambda workers: workers < 4) is small
    assert queue.pop(lambda workers: workers < 4) is None and queue.pop() is large


def test_a_run_that_comes_too_late_is_forgotten(cell: StudyCell) -> None:
    queue = RunQueue(lambda job: True)
    late = run(cell, 1)
    queue.add(late)
    cell.trials[1].state = "pruned"
    assert late.unwanted and len(queue) == 0
    assert queue.pop() is None and late.state == "done"


def test_a_failed_cell_wants_nothing(cell: StudyCell) -> None:
    wanted = [Consumer("search", cell, 0), Consumer("final", cell), Consumer("prepare", cell)]
    assert not any(consumer.satisfied for consumer in wanted)
    cell.failure = "its pre-training failed"
    assert all(consumer.satisfied for consumer in wanted)


def test_a_run_is_wanted_as_long_as_anybody_waits(cell: StudyCell) -> None:
    shared = run(cell, 0)
    shared.consumers.append(Consumer("final", cell))
    cell.trials[0].state = "completed"
    assert shared.consumers[0].satisfied and not shared.unwanted


@pytest.mark.parametrize("metrics", [{}, {"top1": 71.5}])
def test_the_drivers_record(cell: StudyCell, metrics: dict[str, float]) -> None:
    lost = replace(run(cell, 0), last_metrics=metrics)
    record = lost.driver_record("pruned", None)
    assert (record.run_id, record.status, record.cause) == (lost.job.spec.run_id, "pruned", None)
    assert record.metrics == ({"last": metrics} if metrics else {})
    assert record.spec == lost.job.spec.canonical() and record.started == record.finished
