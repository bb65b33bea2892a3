"""One driver per results directory: `driver.lock`, which says who writes there and that it still lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from pydantic import ValidationError

from coretune.errors import LockedError, StorageError
from coretune.results.files import explain
from coretune.results.times import now_iso
from coretune.spec.frozen import Frozen

BEAT_S = 5.0
STALE_S = 60.0
CLOCK_TICK_S = 2.0
NAME = "driver.lock"
_NO_FLOCK = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


class LockHolder(Frozen):
    """Who holds a results directory.

    Attributes:
        host: Host name.
        namespace: The holder's process namespace: two containers of one host may both have a process 17.
        pid: Process id.
        process_started: Start of that process, in seconds since 1970: a pid is used again, this pair is not.
        since: When it took the lock; ISO 8601, UTC.
        token: Tells this lock from every other.
    """

    host: str
    namespace: str
    pid: int
    process_started: float
    since: str
    token: str

    @classmethod
    def of_this_process(cls) -> LockHolder:
        """Returns this process as a holder, with a token that is new each time."""
        return cls(
            host=socket.gethostname(),
            namespace=_namespace(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            since=now_iso(),
            token=secrets.token_hex(8),
        )

    def lives_here(self) -> bool | None:
        """Returns whether the process is alive, or None if that cannot be seen from here."""
        if (self.host, self.namespace) != (socket.gethostname(), _namespace()):
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process_started) <= CLOCK_TICK_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return None


class DirectoryLock:
    """Holds a results directory for this process, as a context manager.

    The lock of a dead process is taken over: at once if it ran here, else when its heartbeat is a minute old.

    Args:
        root: The results directory; made if it is not there.

    Attributes:
        took_over: Whose stale lock was taken over, in one line; None if there was none.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.path = self.root / NAME
        self.took_over: str | None = None
        self._mine: LockHolder | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lock, and keeps its heartbeat going.

        Raises:
            LockedError: Another process holds it.
            StorageError: The directory cannot be written.
        """
        mine = LockHolder.of_this_process()
        self.took_over = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{explain(error, self.root)}: the results directory cannot be made there") from error
        try:
            with self._guard():
                self._take(mine)
        except OSError as error:
            raise StorageError(explain(error, self.path)) from error
        self._mine = mine
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, name="coretune-lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Gives the lock back; a lock that is no longer ours is left alone.

        Raises:
            StorageError: The lock cannot be removed.
        """
        if self._mine is None:
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        try:
            with self._guard():
                if self.held:
                    self.path.unlink()
        except OSError as error:
            raise StorageError(explain(error, self.path)) from error
        finally:
            self._mine = None

    @property
    def held(self) -> bool:
        """Whether the lock is still ours: a process that was frozen for minutes may have lost it."""
        holder = read_holder(self.path)
        return self._mine is not None and holder is not None and holder.token == self._mine.token

    def _take(self, mine: LockHolder) -> None:
        content = (mine.model_dump_json(indent=1) + "\n").encode()
        if self.path.exists():
            self._judge()
            self.path.unlink()
        descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError:
            with contextlib.suppress(OSError):
                self.path.unlink()
            raise

    def _judge(self) -> None:
        """Returns if the lock that lies there is stale.

        Raises:
            LockedError: It is not.
        """
        holder = read_holder(self.path)
        age = self._age()
        alive = holder.lives_here() if holder is not None else None
        if alive or (alive is None and age < STALE_S):
            if alive:
                help_ = (
                    f"wait for it, stop it (kill {holder.pid if holder else '?'}), or choose another place with --out"
                )
            else:
                help_ = (
                    f"its last sign of life is {age:.0f} s old; wait for it or choose another place with --out "
                    f"(if it is dead, the directory is free in {max(STALE_S - age, 1):.0f} s)"
                )
            raise LockedError(f"{self.root} is being written by {who_text(holder)}: {help_}")
        if holder is None:
            self.took_over = f"took over {self.path}: it was unreadable and {age:.0f} s old"
        else:
            why = "is gone" if alive is False else f"gave no sign of life for {age:.0f} s"
            self.took_over = (
                f"took over from process {holder.pid} on {holder.host}, which {why} (there since {holder.since})"
            )

    def _age(self) -> float:
        """Returns the seconds since the last heartbeat, by the file system's own clock: hosts' clocks may differ."""
        probe = self.root / f".{NAME}.{secrets.token_hex(4)}"
        probe.touch()
        try:
            return max(0.0, probe.stat().st_mtime - self.path.stat().st_mtime)
        finally:
            probe.unlink()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a missed beat is made up for by the next one
                if self.held:
                    os.utime(self.path)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """Lets one process at a time look at the lock and change it; the kernel frees it even after a kill.

        A file system that knows no `flock` is left with the exclusive creation of the lock.
        """
        descriptor = os.open(self.root / f".{NAME}.guard", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_FLOCK:
                    raise
            yield
        finally:
            os.close(descriptor)


def read_holder(path: Path) -> LockHolder | None:
    """Returns who holds the lock at a path; None if it is not there or unreadable."""
    try:
        return LockHolder.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def who_text(holder: LockHolder | None) -> str:
    """Says who holds a lock; None is a holder that cannot be read."""
    return "an unknown process" if holder is None else f"process {holder.pid} on {holder.host} since {holder.since}"


def _namespace() -> str:
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""
