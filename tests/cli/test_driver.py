from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coretune_cli.driver import QUIET_S, Driver, inspect_driver, is_running
from coretune_cli.state import parse_state

NOW = datetime.now(UTC)


def looked_at(raw: dict[str, Any], *, ago_s: float = 1.0, **changes: Any) -> Driver:
    state = parse_state(
        {**raw, "host": "here", "pid": os.getpid(), "updated": (NOW - timedelta(seconds=ago_s)).isoformat(), **changes}
    )
    return inspect_driver(state, host="here", now=NOW)


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_alive(quick: dict[str, Any]) -> None:
    driver = looked_at(quick, ago_s=-1.0)
    assert driver.life == "alive" and str(os.getpid()) in driver.text and not driver.lost


def test_gone(quick: dict[str, Any], dead_pid: int) -> None:
    driver = looked_at(quick, pid=dead_pid)
    assert driver.life == "gone" and driver.lost and "without a word" in driver.text


def test_an_id_that_is_used_again_by_a_younger_process(quick: dict[str, Any]) -> None:
    assert looked_at(quick, ago_s=100 * 86400).life == "gone"


def test_ended_is_ended_whoever_has_the_id(quick: dict[str, Any]) -> None:
    for phase in ("done", "interrupted", "failed"):
        assert looked_at(quick, phase=phase).life == "ended"


def test_elsewhere(quick: dict[str, Any], dead_pid: int) -> None:
    near = looked_at(quick, host="node-7", pid=dead_pid)
    far = looked_at(quick, host="node-7", pid=dead_pid, ago_s=10 * QUIET_S)
    assert near.life == "alive" and "node-7" in near.text
    assert far.life == "unknown" and "5m00s" in far.text and not far.lost


def test_silent(quick: dict[str, Any]) -> None:
    assert looked_at(quick, updated="").life == "quiet"


@pytest.mark.parametrize("pid", [-1, 2**31, 10**30])
def test_impossible_ids_are_not_running(pid: int) -> None:
    assert not is_running(pid)
