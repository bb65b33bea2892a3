from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from coretune.cluster.apart import processes_apart


@pytest.fixture
def services() -> Any:
    """The module by which Ray starts its processes."""
    import ray._private.services  # seconds

    return ray._private.services


def group_of_a_process(services: Any) -> tuple[int, int]:
    """The id of a process that Ray starts, and that of its process group."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    process: subprocess.Popen[bytes] = services.start_ray_process(
        command, "sleeper", fate_share=True, pipe_stdin=True
    ).process
    try:
        return process.pid, os.getpgid(process.pid)
    finally:
        process.communicate(timeout=60)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux kills children with their parent")
def test_rays_processes_are_not_in_this_processs_group_and_other_times_nothing_changes(services: Any) -> None:
    with processes_apart():
        process, group = group_of_a_process(services)
        assert group == process
    _, group = group_of_a_process(services)
    assert group == os.getpgid(0)


def test_where_the_kernel_does_not_end_them_they_stay_together(services: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray._private.utils.detect_fate_sharing_support_linux", lambda: False)
    plain = services.ConsolePopen
    with processes_apart():
        assert services.ConsolePopen is plain


def test_without_ray_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ray._private.services", raising=False)
    with processes_apart():
        pass
