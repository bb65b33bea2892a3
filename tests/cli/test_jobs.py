from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import write_study
from support.dashboard import Dashboard, dashboard

from coretune_cli import jobs


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    with dashboard() as made:
        yield made


def ends(status: str, log: str = "", **more: Any) -> Any:
    def step(board: Dashboard) -> None:
        (id,) = board.jobs
        board.logs[id] += log
        board.jobs[id] |= {"status": status, **more}

    return step


def submit(cli: Any, board: Dashboard, *words: str) -> Any:
    file = write_study(Path())
    return cli("study", "submit", str(file), "--address", board.address, "--out", "/shared/tiny", *words)


def test_a_study_is_given_and_followed(cli: Any, board: Dashboard) -> None:
    board.steps = [lambda _: None, ends("SUCCEEDED", "trained\n")]
    said = submit(cli, board, "--only", "method=ce", "--slots", "3", "--time-limit", "2h", "--retry-failed")
    assert said.code == 0 and said.out == "trained\n"
    assert "job coretune-tiny-" in said.err and "results in /shared/tiny" in said.err and "KiB" in said.err
    (job,) = board.jobs.values()
    assert job["entrypoint"].endswith("--only method=ce --time-limit 7200s --slots 3 --retry-failed")


@pytest.mark.parametrize(
    ("status", "more", "code"),
    [
        ("FAILED", {"driver_exit_code": 1, "message": "Job entrypoint command failed"}, 1),
        ("FAILED", {"driver_exit_code": 3}, 3),
        ("FAILED", {"message": "node died"}, 1),
        ("STOPPED", {}, 130),
    ],
)
def test_the_exit_code_is_the_driver_s(
    cli: Any, board: Dashboard, status: str, more: dict[str, Any], code: int
) -> None:
    board.steps = [ends(status, **more)]
    said = submit(cli, board)
    assert said.code == code and f" {status.lower()}" in said.err


def test_ctrl_c_leaves_the_job_alone_and_says_how_to_follow(
    cli: Any, board: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs.time, "sleep", interrupted)
    said = submit(cli, board)
    (job,) = board.jobs
    assert said.code == 130 and "left alone: the job goes on" in said.err
    assert f"coretune study logs {job} --address {board.address}" in said.err
    assert board.jobs[job]["status"] == "PENDING"


def test_without_following(cli: Any, board: Dashboard) -> None:
    said = submit(cli, board, "--no-follow")
    (job,) = board.jobs
    assert said.code == 0 and said.out == "" and f"coretune study stop {job}" in said.err
    board.jobs[job]["status"] = "STOPPED"
    value = json.loads(submit(cli, board, "--json").out)
    assert value["earlier"] == [job] and value["job"] != job and value["results"] == "/shared/tiny"


def test_a_second_one_is_told(cli: Any, board: Dashboard) -> None:
    submit(cli, board, "--no-follow")
    said = submit(cli, board)
    assert said.code == 3 and "is writing /shared/tiny already" in said.err and len(said.err.splitlines()) == 1


def test_logs_status_and_stop_of_a_job(cli: Any, board: Dashboard) -> None:
    board.add("a", log="1\n2\n3\n", start_time=1000, metadata={"coretune_study": "x", "coretune_results": "/shared/x"})
    board.add("other", "SUCCEEDED")
    at = ("--address", board.address)
    said = cli("study", "status", "a", *at)
    assert said.code == 0 and "running" in said.out and "/shared/x" in said.out and "study logs a" in said.err
    assert [job["id"] for job in json.loads(cli("study", "status", *at, "--json").out)] == ["a"]
    assert json.loads(cli("study", "status", "a", *at, "--json").out)["over"] is False
    said = cli("study", "stop", "a", *at)
    assert said.code == 0 and "asked to stop" in said.err and board.jobs["a"]["status"] == "STOPPED"
    assert "has ended already (stopped)" in cli("study", "stop", "a", *at).err
    said = cli("study", "logs", "a", "-n", "2", *at)
    assert said.out == "2\n3\n" and said.code == 130
    said = cli("study", "logs", "b", *at)
    assert said.code == 2 and "no job b on the cluster" in said.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("submit", "quickstart"), "study submit needs --address"),
        (("submit", "quickstart", "--address", "http://127.0.0.1:1"), "--out is needed"),
        (("submit", "quickstart", "--address", "ray://h:10001", "--out", "/x"), "http://h:8265, perhaps?"),
        (("stop", "j"), "study stop needs --address"),
    ],
)
def test_wrong_requests(cli: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    said = cli("study", *words)
    assert said.code == 2 and says in said.err and len(said.err.splitlines()) == 1


def test_nobody_answers(cli: Any) -> None:
    said = cli("study", "submit", "quickstart", "--address", "http://127.0.0.1:1", "--out", "/shared/x")
    assert said.code == 3 and "no Ray dashboard answers at http://127.0.0.1:1: connection refused" in said.err


def test_another_ray_is_said(cli: Any, board: Dashboard) -> None:
    board.version = "2.58.0"
    assert "the cluster has Ray 2.58.0, this machine" in submit(cli, board, "--no-follow").err
