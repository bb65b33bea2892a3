"""Object stores, `s3://` and `gs://`, as places for results: whole objects by name, nothing else.

pyarrow talks to them. It is given a file system of our own making and never an address: from addresses it loses an
endpoint, and it caches credentials. Both come from the environment (docs/cluster.md).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from coretune.errors import RequestError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_URL = re.compile(r"(s3|gs):/{1,2}([^/].*?)/*")
ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
GCS_ENDPOINT = "STORAGE_EMULATOR_HOST"
CONNECT_S = 10.0
ANSWER_S = 60.0
ATTEMPTS = 6
"""With the pauses between them, these outlast an outage of some ten seconds; a study is stopped by a longer one."""
AT_A_TIME = 16
READINGS = 20


@dataclass(frozen=True)
class Entry:
    """What a store says of an object: its size in bytes, and when it was written, in whole seconds since 1970."""

    size: int
    written: int


def remote_url(place: str | Path) -> str | None:
    """Returns the address of a place in an object store, or None of one on disk; a `Path` has lost a slash of it."""
    match = _URL.fullmatch(str(place))
    return f"{match[1]}://{match[2]}" if match else None


class Remote:
    """One folder of a bucket. Names are relative to it; an object is there whole or not at all.

    Args:
        url: As `remote_url` returns it.

    Raises:
        RequestError: This pyarrow knows no such store.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        scheme, _, self._base = url.partition("://")
        self._fs = _s3() if scheme == "s3" else _gcs()

    def get(self, name: str) -> bytes | None:
        """Returns an object's content, or None if there is none.

        pyarrow asks for the size, and then for so many bytes: of an object that is replaced in between it returns the
        beginning, or all of a shorter one and what was in memory behind it. Such a content is read again.
        """
        for _ in range(READINGS):
            with self._told(name):
                try:
                    content, before = self._read(name)
                    with self._fs.open_input_stream(self._path(name)) as file:
                        after = file.metadata()
                except FileNotFoundError:
                    return None
            if before == after:
                return content
        raise StorageError(f"{self.url}/{name}: is replaced faster than it can be read")

    def _read(self, name: str) -> tuple[bytes, object]:
        """Returns what there is, and what the store said of it before (with its ETag)."""
        with self._fs.open_input_stream(self._path(name)) as file:
            about = file.metadata()
            return file.read(), about

    def put(self, name: str, content: bytes) -> None:
        """Writes an object, in one request while it is small."""
        with self._told(name), self._fs.open_output_stream(self._path(name)) as file:
            file.write(content)

    def entry(self, name: str) -> Entry | None:
        """Returns what the store says of an object, or None if there is none."""
        with self._told(name):
            info = self._fs.get_file_info(self._path(name))
        return _entry(info) if info.is_file else None

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Returns all objects below a folder, by name."""
        from pyarrow.fs import FileSelector

        with self._told(folder):
            selector = FileSelector(self._path(folder), allow_not_found=True, recursive=True)
            infos = self._fs.get_file_info(selector)
        return {info.path[len(self._base) + 1 :]: _entry(info) for info in infos if info.is_file}

    def delete(self, names: Iterable[str]) -> None:
        """Removes objects; those that are not there are as wished."""

        def one(name: str) -> None:
            with self._told(name):
                try:
                    self._fs.delete_file(self._path(name))
                except FileNotFoundError:
                    return

        self.each(one, names)

    @staticmethod
    def each(function: Any, names: Iterable[str]) -> None:
        """Calls a function on names, several at a time, since each waits for the network."""
        names = list(names)
        if len(names) < 2:
            for name in names:
                function(name)
            return
        with ThreadPoolExecutor(min(AT_A_TIME, len(names))) as pool:
            list(pool.map(function, names))

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Makes one line of what pyarrow raises.

        Raises:
            StorageError: The store cannot be reached, or does not allow it.
        """
        try:
            yield
        except OSError as error:
            said = " ".join(str(error).split())
            raise StorageError(f"{self.url}{'/' + name if name else ''}: {said[:300]}") from error


def _s3() -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        "request_timeout": ANSWER_S,
        "allow_delayed_open": True,  # a small object is one request, not an upload in parts
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    }
    if endpoint := _first(ENDPOINT):
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if region := _first(REGION):
        options["region"] = region
    elif endpoint:
        options["region"] = "us-east-1"  # asked for otherwise, and other services have none
    return fs.S3FileSystem(**options)


def _gcs() -> Any:
    try:
        from pyarrow.fs import GcsFileSystem
    except ImportError as error:
        raise RequestError("gs://: this pyarrow was built without Google Cloud Storage; use s3:// or a path") from error
    if not (endpoint := os.environ.get(GCS_ENDPOINT)):
        return GcsFileSystem()
    parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    return GcsFileSystem(anonymous=True, endpoint_override=parts.netloc, scheme=parts.scheme)


def _first(names: Iterable[str]) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _entry(info: Any) -> Entry:
    return Entry(info.size, int(info.mtime_ns or 0) // 10**9)
