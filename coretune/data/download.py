"""Fetches the files of a known image set with torchvision's downloaders."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from coretune.errors import RequestError, UnfitError
from coretune.spec.components import DatasetComponent


def download(about: DatasetComponent, folder: Path) -> None:
    """Downloads and unpacks a data set, as torchvision lays it out. What is there already is not fetched again.

    Folders that a failed download leaves without a file are removed: an empty folder is no data set. torchvision
    reports its progress itself; what it prints goes to stderr.

    Args:
        about: The data set.
        folder: Where to.

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
        with contextlib.redirect_stdout(sys.stderr):
            getattr(datasets, about.download)(str(folder), download=True)
    except Exception as error:  # the network, the disk, and torchvision itself raise many kinds
        _remove_empty(folder)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnfitError(f"data set {about.name}: the download to {folder} failed: {reason}") from error


def _remove_empty(folder: Path) -> None:
    """Removes a folder and those below it, as far as no file is in them."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # something is in it
            os.rmdir(place)
