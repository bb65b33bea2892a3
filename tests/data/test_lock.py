from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from coretune.data.lock import exclusive


def test_one_at_a_time_and_free_again(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    entered, done = threading.Event(), threading.Event()

    def other() -> None:
        with exclusive(path):
            entered.set()
        done.set()

    with exclusive(path):
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.1)
    assert done.wait(10)
    thread.join()


def test_it_is_freed_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), exclusive(tmp_path / "a.lock"):
        raise RuntimeError
    descriptor = os.open(tmp_path / "a.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_file_system_without_locks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("coretune.data.lock.fcntl.flock", refuse)
    with pytest.raises(OSError, match="offers no locks"), exclusive(tmp_path / "a.lock"):
        pass
