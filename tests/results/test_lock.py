from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from coretune.errors import LockedError, StorageError
from coretune.results import lock as lock_module
from coretune.results.lock import DirectoryLock, LockHolder, read_holder

HOLD = """
import sys, time
from coretune.results.lock import DirectoryLock
with DirectoryLock(sys.argv[1]) as lock:
    print(lock.took_over or "fresh", flush=True)
    time.sleep(60)
"""
RACE = """
import sys, time
from pathlib import Path
from coretune.errors import LockedError
from coretune.results.lock import DirectoryLock
Path(sys.argv[1] + ".ready." + sys.argv[2]).touch()
while not Path(sys.argv[1] + ".go").exists():
    pass
try:
    with DirectoryLock(sys.argv[1]):
        print("won", flush=True)
        sys.stdin.read()
except LockedError:
    print("lost", flush=True)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def put_holder(root: Path, **changes: Any) -> LockHolder:
    """Leaves a lock behind, as a process that was killed would."""
    root.mkdir(parents=True, exist_ok=True)
    with DirectoryLock(root) as lock:
        holder = read_holder(lock.path)
    assert holder is not None
    holder = holder.replace(**changes)
    (root / "driver.lock").write_text(holder.model_dump_json())
    return holder


def age(root: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(root / "driver.lock", (then, then))


def test_a_lock_is_taken_and_given_back(tmp_path: Path) -> None:
    root = tmp_path / "results"
    with DirectoryLock(root) as lock:
        holder = read_holder(lock.path)
        assert holder is not None and holder.pid == os.getpid() and holder.lives_here()
        assert lock.held and lock.took_over is None
    assert not lock.path.exists()
    lock.release()
    with lock:
        assert lock.held


def test_a_second_driver_is_told_who_writes(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path) as first:
        holder = read_holder(first.path)
        assert holder is not None
        with pytest.raises(LockedError) as caught, DirectoryLock(tmp_path):
            pass
        message = str(caught.value)
        for part in (str(tmp_path), f"process {os.getpid()} on {holder.host} since {holder.since}", "--out", "kill"):
            assert part in message
        assert "\n" not in message
        assert first.held


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    process = start(HOLD, tmp_path)
    try:
        assert first_line(process) == "fresh"
        with pytest.raises(LockedError, match=f"process {process.pid}"):
            DirectoryLock(tmp_path).acquire()
        process.send_signal(signal.SIGKILL)
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with DirectoryLock(tmp_path) as lock:  # dead, though nobody has waited for it yet
            assert lock.took_over is not None and f"process {process.pid}" in lock.took_over
    finally:
        finish(process)


def test_a_pid_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    put_holder(tmp_path, process_started=psutil.Process().create_time() - 1000)
    with DirectoryLock(tmp_path) as lock:
        assert lock.took_over is not None and "is gone" in lock.took_over


@pytest.mark.parametrize("elsewhere", [{"host": "other"}, {"namespace": "pid:[1]"}])
def test_another_host_is_judged_by_its_heartbeat(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    put_holder(tmp_path, pid=2**22 + 1, **elsewhere)
    age(tmp_path, 50)
    with pytest.raises(LockedError, match=r"last sign of life is 5. s old.*free in (9|10) s"):
        DirectoryLock(tmp_path).acquire()
    age(tmp_path, 61)
    with DirectoryLock(tmp_path) as lock:
        assert lock.took_over is not None and "no sign of life" in lock.took_over


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_an_unreadable_lock_is_judged_by_its_age(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "driver.lock").write_bytes(content)
    with pytest.raises(LockedError, match="an unknown process"):
        DirectoryLock(tmp_path).acquire()
    age(tmp_path, 61)
    with DirectoryLock(tmp_path) as lock:
        assert lock.took_over is not None and "unreadable" in lock.took_over


def test_the_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "BEAT_S", 0.02)
    with DirectoryLock(tmp_path) as lock:
        age(tmp_path, 1000)
        deadline = time.monotonic() + 10
        while time.time() - lock.path.stat().st_mtime > 500:
            assert time.monotonic() < deadline, "no heartbeat"
            time.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "coretune-lock"]


def test_a_lost_lock_is_neither_touched_nor_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "BEAT_S", 0.02)
    lock = DirectoryLock(tmp_path)
    with lock:
        holder = read_holder(lock.path)
        assert holder is not None
        lock.path.write_text(holder.replace(token="theirs").model_dump_json())
        age(tmp_path, 1000)
        assert not lock.held
        time.sleep(0.2)
        assert time.time() - lock.path.stat().st_mtime > 500
    assert lock.path.exists()


def test_of_many_that_take_over_at_once_one_wins(tmp_path: Path) -> None:
    root = tmp_path / "results"
    put_holder(root, process_started=1.0)
    processes = [start(RACE, root, number) for number in range(4)]
    try:
        while len(list(tmp_path.glob("results.ready.*"))) < 4:
            time.sleep(0.01)
        (tmp_path / "results.go").touch()
        assert sorted(map(first_line, processes)) == ["lost", "lost", "lost", "won"]
    finally:
        for process in processes:
            finish(process)


def test_of_many_threads_one_wins(tmp_path: Path) -> None:
    put_holder(tmp_path, process_started=1.0)
    barrier = threading.Barrier(8)
    won: list[DirectoryLock] = []

    def race() -> None:
        lock = DirectoryLock(tmp_path)
        barrier.wait()
        try:
            lock.acquire()
        except LockedError:
            return
        won.append(lock)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.EROFS, "read-only"), (errno.EACCES, "no permission"), (errno.ENOSPC, "the disk is full")],
)
def test_a_directory_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=message) as caught:
        DirectoryLock(tmp_path).acquire()
    assert "\n" not in str(caught.value)


def test_a_disk_that_fills_while_the_lock_is_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fdopen

    def full(descriptor: int, *_: Any) -> Any:
        file = real(descriptor, "wb")

        class Full:
            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: Any) -> None:
                file.close()

            def write(self, _: bytes) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        return Full()

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(StorageError, match="the disk is full"):
        DirectoryLock(tmp_path).acquire()
    monkeypatch.undo()
    with DirectoryLock(tmp_path) as lock:
        assert lock.took_over is None


def test_a_file_system_without_flock_still_has_one_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unknown)
    with DirectoryLock(tmp_path), pytest.raises(LockedError):
        DirectoryLock(tmp_path).acquire()
