"""Fetches the files of a known image set with torchvision's downloaders."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from coretune.errors import RequestError, UnfitError
from coretune.spec.components import DatasetComponent

OnBytes = Callable[[int, int | None], None]
"""Told how many bytes of a file are there, and how many there will be, if that is known."""


def download(about: DatasetComponent, folder: Path, on_bytes: OnBytes = lambda done, total: None) -> None:
    """Downloads and unpacks a data set, as torchvision lays it out. What is there already is not fetched again.

    Folders that a failed download leaves without a file are removed: an empty folder is no data set. What torchvision
    prints goes to stderr.

    Args:
        about: The data set.
        folder: Where to.
        on_bytes: Called as each file comes in.

    Raises:
        RequestError: torchvision cannot download it; the message says where to get it.
        UnfitError: The download failed.
    """
    if not about.download:
        where = f" To get it: {about.obtain}" if about.obtain else ""
        raise RequestError(f"data set {about.name}: there is no downloader for it.{where}")
    from torchvision import datasets

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr), _metered(on_bytes):
            getattr(datasets, about.download)(str(folder), download=True)
    except Exception as error:  # the network, the disk, and torchvision itself raise many kinds
        _remove_empty(folder)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnfitError(f"data set {about.name}: the download to {folder} failed: {reason}") from error


class _Meter:
    """Takes the place of the bar that torchvision draws for each file."""

    def __init__(self, on_bytes: OnBytes, total: int | None) -> None:
        self._on_bytes, self._done, self._total = on_bytes, 0, total

    def __enter__(self) -> _Meter:
        self.update(0)
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, size: int) -> None:
        """Counts bytes."""
        self._done += size
        self._on_bytes(self._done, self._total)


@contextlib.contextmanager
def _metered(on_bytes: OnBytes) -> Iterator[None]:
    """Has torchvision tell how far its downloads are, instead of drawing bars of its own."""
    from torchvision.datasets import utils

    own = utils.tqdm
    utils.tqdm = lambda *_, total=None, **__: _Meter(on_bytes, total)
    try:
        yield
    finally:
        utils.tqdm = own


def _remove_empty(folder: Path) -> None:
    """Removes a folder and those below it, as far as no file is in them."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # something is in it
            os.rmdir(place)
