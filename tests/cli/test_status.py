from __future__ import annotations

import json
import os
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results" / "quickstart"
    path.mkdir(parents=True)
    return path


def write(folder: Path, raw: dict[str, Any], **changes: Any) -> None:
    temporary = folder / ".state.tmp"
    temporary.write_text(json.dumps({**raw, **changes}))
    temporary.replace(folder / "state.json")


def running(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw, "host": socket.gethostname(), "pid": os.getpid(), "updated": datetime.now(UTC).isoformat()}


def test_status_of_a_study_that_is_running(cli: Any, folder: Path, quick: dict[str, Any]) -> None:
    write(folder, running(quick))
    said = cli("study", "status")
    assert said.code == 0
    assert "quickstart  searching" in said.out and "core_tuning" in said.out
    assert said.err.splitlines() == [
        "results/quickstart, the newest results",
        f"the driver is running: pid {os.getpid()} on {socket.gethostname()}",
    ]


def test_status_of_a_study_whose_driver_was_killed(cli: Any, folder: Path, quick: dict[str, Any]) -> None:
    write(folder, running(quick), pid=2**22 + 1)
    said = cli("study", "status", "quickstart")
    assert said.code == 0
    assert "gone without a word" in said.err and "coretune study resume results/quickstart" in said.err


def test_status_and_watch_of_a_study_that_lacks_data(cli: Any, folder: Path, quick: dict[str, Any]) -> None:
    write(folder, quick, phase="incomplete", missing=[{"text": "data set dtd is missing: no folder", "cells": 2}])
    said = cli("study", "status")
    assert said.code == 0 and "missing  data set dtd is missing: no folder" in said.out
    assert "once what is missing is there: coretune study resume results/quickstart" in said.err
    assert cli("study", "watch").code == 1


def test_status_as_json(cli: Any, folder: Path, quick: dict[str, Any]) -> None:
    write(folder, quick, phase="done", remaining_s=float("nan"))
    said = cli("study", "status", str(folder), "--json")
    value = json.loads(said.out, parse_constant=pytest.fail)
    assert value["runs"] == quick["runs"] and value["driver"]["life"] == "ended" and value["remaining_s"] is None
    assert said.err == ""


@pytest.mark.parametrize(
    "command", [("study", "status"), ("study", "show"), ("study", "watch"), ("leaderboard", "show")]
)
@pytest.mark.parametrize("words", ["results/tune", "tune"])
def test_single_runs_are_pointed_at(cli: Any, tmp_path: Path, command: tuple[str, str], words: str) -> None:
    """Never by advice that does not work, like `study resume`."""
    (tmp_path / "results" / "tune" / "runs" / ("a" * 16)).mkdir(parents=True)
    said = cli(*command, words)
    assert said.code == 2 and said.out == ""
    assert f"coretune study show {'a' * 16} --out results/tune" in said.err and "resume" not in said.err
    assert cli("study", "show", "a" * 16, "--out", "results/tune").code == 0


def test_status_of_a_broken_state(cli: Any, folder: Path) -> None:
    (folder / "state.json").write_text('{"phase": ')
    said = cli("study", "status")
    assert said.code == 3 and "state.json is not readable" in said.err and "Traceback" not in said.err


def test_watch_ends_with_the_study(
    cli: Any, folder: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coretune_cli.status.PERIOD_S", 0.05)
    write(folder, running(quick))

    def finish() -> None:
        time.sleep(0.4)
        write(folder, quick, phase="done", runs={"total": 29, "done": 29})

    driver = threading.Thread(target=finish)
    driver.start()
    said = cli("study", "watch", "quickstart")
    driver.join()
    assert said.code == 0 and said.out == ""
    assert "29 of 29 runs done" in said.err.splitlines()[-2]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"phase": "done", "runs": {"total": 2, "done": 2}}, 0),
        ({"phase": "done", "runs": {"total": 2, "done": 1, "failed": 1}}, 1),
        ({"phase": "failed", "runs": {}}, 1),
        ({"phase": "interrupted"}, 130),
        ({"pid": 2**22 + 1, "host": socket.gethostname()}, 1),
    ],
)
def test_watch_returns_what_became_of_the_study(
    cli: Any, folder: Path, quick: dict[str, Any], changes: dict[str, Any], code: int
) -> None:
    write(folder, quick, **changes)
    assert cli("study", "watch", "quickstart").code == code


def test_watch_as_lines_of_json(cli: Any, folder: Path, quick: dict[str, Any]) -> None:
    write(folder, quick, phase="done", runs={})
    said = cli("study", "watch", "quickstart", "--json")
    assert [json.loads(line)["phase"] for line in said.out.splitlines()] == ["done"]
