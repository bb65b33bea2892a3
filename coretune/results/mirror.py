"""Where a results directory really lies: on disk, or in an object store with a copy of it on disk.

Whoever reads or writes results works on a folder of this machine. For a place in an object store that folder is a copy
under the cache: what is written there is published, object by object, and what others wrote is fetched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from coretune.errors import StorageError
from coretune.results.files import explain, put_atomic
from coretune.results.lock import NAME
from coretune.results.remote import Entry, Remote, remote_url
from coretune.spec.paths import cache_root

RECORD = "record.json"
_OWN = ".tmp"
PARTIAL = ".partial"
"""How folders end that hold what is done of something that is not finished: they stay on this machine."""

Role = Literal["driver", "worker", "evaluator", "reader"]


class OnDisk:
    """A results directory on disk: everybody sees the same files, nothing needs to be done.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.root.absolute())

    @property
    def name(self) -> str:
        """How people call it: the path as it was given."""
        return str(self.root)

    def refresh(self) -> None:
        """Makes the folder show all small files that the place has."""

    def fetch(self, *names: str) -> None:
        """Makes the folder show these files as the place has them; those that it does not have stay as they are."""

    def fetch_changed(self, *names: str) -> None:
        """Does as `fetch`, for large files: what is here as the place has it is not fetched again."""

    def fetch_below(self, folder: str) -> None:
        """Makes a folder below show exactly what the place has there."""

    def publish(self, *names: str) -> None:
        """Makes files of the folder visible to others; those that are not there vanish there, too."""

    def publish_changed(self, folder: str) -> None:
        """Makes what was written below a folder since it was fetched visible to others; a record comes last."""

    def publish_all(self, folder: str) -> None:
        """Makes others see below a folder exactly what is here."""

    def has(self, name: str) -> bool:
        """Returns whether the place has a file."""
        return (self.root / name).is_file()


class Mirror(OnDisk):
    """A results directory in an object store.

    Args:
        url: Where.
        role: `driver`, `worker`, `evaluator` or `reader`. Each has a copy of its own on a machine: what one has written
            and not published yet, another would take for gone.
        cache: Root of the caches of this machine.
    """

    def __init__(self, url: str, role: Role, cache: Path | None = None) -> None:
        name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:12]}-{role}"
        super().__init__((cache or cache_root()) / "remote" / name)
        self.url = url
        self._seen: dict[str, tuple[int, int]] = {}
        self.remote = Remote(url)

    @property
    def place(self) -> str:
        """The address."""
        return self.url

    @property
    def name(self) -> str:
        """The address."""
        return self.url

    def refresh(self) -> None:
        """Fetches every record, evaluation, search and table, and removes what the place does not have any more."""
        there = {name: entry for name, entry in self.remote.entries().items() if _small(name)}
        here = {name for name in self._names(self.root) if _small(name)}
        self.remote.each(self._fetch, [name for name, entry in there.items() if self._differs(name, entry)])
        for name in here - there.keys():
            self._remove(name)

    def fetch(self, *names: str) -> None:
        """Fetches files anew."""
        self.remote.each(self._fetch, names)

    def fetch_changed(self, *names: str) -> None:
        """Fetches those of some files that differ."""
        there = {name: entry for name in names if (entry := self.remote.entry(name)) is not None}
        self.remote.each(self._fetch, [name for name, entry in there.items() if self._differs(name, entry)])

    def fetch_below(self, folder: str) -> None:
        """Fetches what differs below a folder, and removes what the place does not have."""
        there = self.remote.entries(folder)
        self.remote.each(self._fetch, [name for name, entry in there.items() if self._differs(name, entry)])
        for name in self._names(self.root / folder):
            if name in there:
                self._see(name)
            else:
                self._remove(name)

    def publish(self, *names: str) -> None:
        """Writes files to the store, each in one request while it is small."""
        self.remote.each(self._publish, names)

    def publish_changed(self, folder: str) -> None:
        """Writes to the store what this process has neither fetched nor published as it is now."""
        changed = [
            name for name in sorted(self._names(self.root / folder)) if self._state(name) != self._seen.get(name)
        ]
        last = [name for name in changed if name.endswith(f"/{RECORD}")]
        self.publish(*(name for name in changed if name not in last))
        self.publish(*last)

    def publish_all(self, folder: str) -> None:
        """Writes what changed below a folder to the store, and removes there what is not here."""
        self.publish_changed(folder)
        here = self._names(self.root / folder)
        self.remote.delete(name for name in self.remote.entries(folder) if name not in here)

    def has(self, name: str) -> bool:
        """Asks the store, whatever lies here."""
        return self.remote.entry(name) is not None

    def _fetch(self, name: str) -> None:
        content = self.remote.get(name)
        if content is None:
            return
        put_atomic(self.root / name, content, durable=False)
        self._stamp(name)

    def _publish(self, name: str) -> None:
        path = self.root / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self.remote.delete([name])
            return
        except OSError as error:
            raise StorageError(explain(error, path)) from error
        self.remote.put(name, content)
        self._stamp(name)

    def _stamp(self, name: str) -> None:
        """Gives a file the time that the store says, so that it need not be fetched again."""
        entry = self.remote.entry(name)
        with suppress(FileNotFoundError):
            if entry is not None:
                os.utime(self.root / name, (entry.written, entry.written))
        self._see(name)

    def _see(self, name: str) -> None:
        if (state := self._state(name)) is not None:
            self._seen[name] = state

    def _state(self, name: str) -> tuple[int, int] | None:
        try:
            about = (self.root / name).stat()
        except FileNotFoundError:
            return None
        return about.st_size, about.st_mtime_ns

    def _differs(self, name: str, entry: Entry) -> bool:
        try:
            about = (self.root / name).stat()
        except OSError:
            return True
        return about.st_size != entry.size or int(about.st_mtime) != entry.written

    def _names(self, folder: Path) -> set[str]:
        paths: Iterable[Path] = folder.rglob("*") if folder.is_dir() else ()
        return {path.relative_to(self.root).as_posix() for path in paths if path.is_file() and not _own(path)}

    def _remove(self, name: str) -> None:
        path = self.root / name
        path.unlink(missing_ok=True)
        while (path := path.parent) != self.root and path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)


def mirror_of(place: str | Path, role: Role) -> OnDisk:
    """Returns what keeps a results directory at a place.

    Raises:
        RequestError: It is in an object store that this pyarrow does not know.
    """
    url = remote_url(place)
    return Mirror(url, role) if url is not None else OnDisk(Path(place))


def _small(name: str) -> bool:
    """Returns whether a file is read by whoever looks at a study: not weights, and not the state of a run."""
    words = name.split("/")
    if words[-1].startswith(".") or name == NAME:
        return False
    return not name.endswith(".safetensors") and not (words[0] == "runs" and len(words) > 2 and words[2] == "state")


def _own(path: Path) -> bool:
    """Returns whether a file is nobody else's business: being written, or a part of something unfinished."""
    return (path.name.startswith(".") and path.name.endswith(_OWN)) or path.parent.name.endswith(PARTIAL)
