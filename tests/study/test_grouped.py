"""Whole studies whose runs have several workers, driven as a user drives them."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.command import TINY, coretune, processes_below, records, start, wait_until, write_study
from support.odd_method import ODD

pytestmark = pytest.mark.slow

GROUPED = TINY + "resources: {workers: 2}\n"


def leaderboard(results: Path) -> list[dict[str, str]]:
    with (results / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def record_files(results: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(results.glob("runs/*/record.json"))]


def workers() -> list[psutil.Process]:
    """The workers of groups below this process."""
    return processes_below("RayTrainWorker")


def run(folder: Path, text: str = GROUPED, *sets: str) -> Any:
    arguments = [part for item in sets for part in ("--set", item)]
    return coretune("study", "run", str(write_study(folder, text)), *arguments, folder=folder)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the tiny study with runs of two workers."""
    folder = tmp_path_factory.mktemp("together")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return folder / "results" / "tiny"


def test_a_study_of_two_workers_is_that_of_one(together: Path, tmp_path: Path) -> None:
    done = run(tmp_path, TINY)
    assert done.returncode == 0, done.stderr
    alone = tmp_path / "results" / "tiny"
    assert records(together) == records(alone)
    for one, other in zip(leaderboard(together), leaderboard(alone), strict=True):
        for key in ("dataset", "method", "backbone", "n", "params", "run_ids"):
            assert one[key] == other[key]
        assert abs(float(one["mean"]) - float(other["mean"])) < 3, "within seed noise"
    assert all(record["environment"]["workers"] == 2 for record in record_files(together))
    assert not list(together.glob("runs/*/state"))


def test_another_number_of_workers_trains_nothing_again(together: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in together.glob("runs/*/record.json")}
    again = run(together.parent.parent, TINY)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in together.glob("runs/*/record.json")} == before


def test_a_killed_worker_changes_nothing(together: Path, tmp_path: Path) -> None:
    process = start(["study", "run", str(write_study(tmp_path, GROUPED))], tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: len(records(results)) >= 2 and len(workers()) == 2)
    workers()[1].kill()
    _, err = process.communicate(timeout=270)
    assert process.returncode == 0, err
    assert records(results) == records(together)
    assert [row["params"] for row in leaderboard(results)] == [row["params"] for row in leaderboard(together)]
    assert all(record["status"] == "completed" for record in record_files(results))


SMALL = "  small: {arch: small_resnet, params: {widths: [4, 8]}, workers: 1}"


def test_runs_of_one_worker_and_of_two_share_the_cluster(tmp_path: Path) -> None:
    done = run(
        tmp_path, GROUPED.replace("backbones: {plain: ", "backbones:\n  plain: ").replace("]}}}", "]}}\n" + SMALL)
    )
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "tiny"
    found = [(record["spec"]["backbone"]["arch"]["params"]["widths"], record) for record in record_files(results)]
    small = [record["environment"] for widths, record in found if widths == [4, 8]]
    large = [record["environment"] for widths, record in found if widths == [8, 16]]
    assert len(small) == len(large) == 10
    assert all(environment["workers"] == 2 for environment in large)
    assert not any("workers" in environment for environment in small)
    assert "1 group of 2 workers, or 2 places for smaller ones, on 2 CPUs" in (results / "log.txt").read_text()
    assert not workers()


def test_a_worker_that_hangs_is_replaced_after_the_collective_timeout(together: Path, tmp_path: Path) -> None:
    text = GROUPED.replace("workers: 2", "workers: 2, collective_timeout_s: 10")
    process = start(["study", "run", str(write_study(tmp_path, text))], tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: len(records(results)) >= 2 and len(workers()) == 2)
    before = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/record.json")}
    hanging = workers()[1]
    hanging.suspend()
    _, err = process.communicate(timeout=270)
    assert process.returncode == 0, err
    assert "a worker of its group was lost; tried again" in (results / "log.txt").read_text()
    assert leaderboard(results) == leaderboard(together)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in before}.items()
    assert not hanging.is_running() or hanging.status() == psutil.STATUS_ZOMBIE


LONG = ("train.epochs=3000", "train.evaluate_every=50", "search=none", "finals.seeds=1")


def test_ctrl_c_stores_the_state_and_a_resume_goes_on(tmp_path: Path) -> None:
    arguments = [part for item in LONG for part in ("--set", item)]
    process = start(["study", "run", str(write_study(tmp_path, GROUPED)), *arguments], tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: bool(list(results.glob("runs/*/metrics-*.jsonl"))))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert list(results.glob("runs/*/state/state.pt"))
    assert json.loads((results / "state.json").read_text())["phase"] == "interrupted"
    assert not workers()
    resumed = start(["study", "resume", str(results)], tmp_path)
    wait_until(lambda: any("resume at epoch" in path.read_text() for path in results.glob("runs/*/log.txt")))
    resumed.send_signal(signal.SIGINT)
    _, err = resumed.communicate(timeout=90)
    assert resumed.returncode in (0, 130), err


def test_failing_and_pruned_runs_leave_the_group_sound(tmp_path: Path) -> None:
    sets = (
        "search.pruner=median",
        "search.trials=9",
        "train.evaluate_every=1",
        "train.lr={log_uniform: [0.01, 1e30], default: 0.05}",
        "finals.seeds=1",
        "methods=[ce]",
    )
    done = run(tmp_path, GROUPED, *sets)
    results = tmp_path / "results" / "tiny"
    found = record_files(results)
    assert done.returncode in (0, 1), done.stderr
    by_status = {status: [r for r in found if r["status"] == status] for status in ("completed", "failed", "pruned")}
    assert by_status["completed"] and by_status["failed"], by_status
    assert {record["cause"]["kind"] for record in by_status["failed"]} == {"diverged"}
    assert len(found) == 10
    assert not list(results.glob("runs/*/state"))


def test_workers_that_are_lost_again_and_again_fail_the_run_within_a_budget(tmp_path: Path) -> None:
    text = GROUPED.replace("methods: [ce, core_tuning]", "methods: {ce: {}, odd: {what: kill, rank: 1}}").replace(
        "name: tiny", f"name: tiny\nplugins: [{ODD}]"
    )
    done = run(tmp_path, text, "search=none", "finals.seeds=1")
    results = tmp_path / "results" / "tiny"
    found = {record["spec"]["method"]["name"]: record for record in record_files(results)}
    assert done.returncode == 1, done.stderr
    assert found["ce"]["status"] == "completed", "the others go on"
    assert found["odd"]["status"] == "failed" and found["odd"]["cause"]["kind"] == "environment"
    assert "a worker of its group was lost (tried 3 times)" in found["odd"]["cause"]["message"]


def test_a_machine_too_small_for_a_group_is_said_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, TINY, "resources.workers=500")
    assert done.returncode == 3
    (line,) = [line for line in done.stderr.splitlines() if "resources.workers" in line]
    assert "write resources.workers:" in line and "Traceback" not in done.stderr
