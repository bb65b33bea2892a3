"""One driver per results directory in an object store: an object that says who writes there, renewed while it lives.

Object stores have no exclusive creation that pyarrow can ask for. Two drivers that begin within the same moment both
write the object; the last one's stays, and each reads it again after a while: only one finds itself. A driver that was
overwritten later notices at its next heartbeat, and stops.
"""

from __future__ import annotations

import secrets
import threading
import time
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from coretune.errors import LockedError, StorageError
from coretune.results.lock import NAME, STALE_S, DirectoryLock, LockHolder, who_text
from coretune.results.mirror import Mirror, OnDisk
from coretune.results.remote import Remote

BEAT_S = 15.0
SETTLE_S = 2.0
"""Longer than it takes from looking whether there is a lock to having written one."""


class RemoteLock:
    """Holds a results directory in an object store for this process, as a context manager.

    Args:
        remote: The place.
        settle_s: How long two drivers that begin together wait to see whose lock stays.

    Attributes:
        took_over: Whose stale lock was taken over, in one line; None if there was none.
    """

    def __init__(self, remote: Remote, *, settle_s: float = SETTLE_S) -> None:
        self.took_over: str | None = None
        self._remote = remote
        self._settle_s = settle_s
        self._mine: LockHolder | None = None
        self._held = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether the lock was still ours at the last heartbeat."""
        return self._held

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
            LockedError: Another process holds it, or took it at the same moment.
            StorageError: The store cannot be reached.
        """
        mine = LockHolder.of_this_process()
        self._judge()
        self._write(mine)
        time.sleep(self._settle_s)
        found = self._read()
        if found is None or found.token != mine.token:
            raise LockedError(f"{self._remote.url}: {who_text(found)} began to write there at the same moment: let it")
        self._mine, self._held = mine, True
        self._stop.clear()
        self._thread = threading.Thread(target=self._beat, name="coretune-lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Gives the lock back; one that is no longer ours is left alone.

        Raises:
            StorageError: The store cannot be reached.
        """
        if self._mine is None:
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        found, mine = self._read(), self._mine
        self._mine, self._held = None, False
        if found is not None and found.token == mine.token:
            self._remote.delete([NAME])

    def _judge(self) -> None:
        """Returns if there is no lock, or a stale one.

        Raises:
            LockedError: There is another.
        """
        entry = self._remote.entry(NAME)
        if entry is None:
            return
        found = self._read()
        alive = found.lives_here() if found is not None else None
        age = self._now() - entry.written
        if alive or (alive is None and age < STALE_S):
            wait = "" if alive else f" (if it is dead, the place is free in {max(STALE_S - age, 1):.0f} s)"
            raise LockedError(
                f"{self._remote.url} is being written by {who_text(found)}: wait for it, stop it, or choose another "
                f"place with --out{wait}"
            )
        why = "which is gone" if alive is False else f"which gave no sign of life for {age:.0f} s"
        self.took_over = f"took over from {who_text(found)}, {why}"

    def _now(self) -> int:
        """Returns the store's own time: the clocks of hosts may differ."""
        probe = f".{NAME}.{secrets.token_hex(4)}"
        self._remote.put(probe, b"")
        try:
            entry = self._remote.entry(probe)
        finally:
            self._remote.delete([probe])
        return entry.written if entry is not None else int(time.time())

    def _write(self, holder: LockHolder) -> None:
        self._remote.put(NAME, (holder.model_dump_json(indent=1) + "\n").encode())

    def _read(self) -> LockHolder | None:
        try:
            return LockHolder.model_validate_json(self._remote.get(NAME) or b"")
        except ValidationError:
            return None

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                found = self._read()
                self._held = found is not None and self._mine is not None and found.token == self._mine.token
                if self._held and self._mine is not None:
                    self._write(self._mine)
            except StorageError:
                continue  # a missed beat is made up for by the next one


def lock_of(mirror: OnDisk) -> DirectoryLock | RemoteLock:
    """Returns the lock of a results directory, wherever it lies."""
    return RemoteLock(mirror.remote) if isinstance(mirror, Mirror) else DirectoryLock(mirror.root)
