"""A pack in the making: which of its blocks are done stands beside it, so that a killed packing goes on.

    .<key>.partial/
        partial.json   what is made, from what, by which version
        images.u8      the images, each at its place
        blocks.jsonl   a line for each block that is on the disk: its number, and its images that cannot be read

A line is written after the block was flushed. One that was torn by a kill counts for nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coretune.data.blocks import BLOCK, Done, Target, Unread, members, number_of_blocks, opened

FORMAT = "coretune partial pack 1"

IMAGES = "images.u8"
"""The file of images, in a pack as in what becomes one."""

FLUSH_S = 2.0
"""Seconds of work that a kill may cost. Flushing each block by itself would wait for the disk thousands of times."""

ABANDONED_S = 7 * 86400.0
"""An unfinished pack that nobody has gone on with for so long is removed."""


class Partial:
    """A folder in which a pack grows. Its user holds the pack's lock.

    Args:
        folder: Where it is, or will be.
        header: What tells this pack from all others.
        target: Makes the file of images, of its path.

    Attributes:
        target: The file of images.
        images: Number of images.
        done: Blocks that are on the disk or on the way to it.
        unread: Images that cannot be read, of these blocks.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], target: Callable[[str], Target]) -> None:
        self.folder = folder
        self.target = target(str(folder / IMAGES))
        self.images = len(self.target.names)
        self.done: set[int] = set()
        self.unread: dict[int, str] = {}
        self._marks = folder / "blocks.jsonl"
        head = json.loads(json.dumps({"partial": FORMAT, "block": BLOCK, "images": self.images, **header}))
        if self._is_ours(head):
            for done in self._read_marks():
                self._note(done)
        else:
            remove(folder)
            self._make(head)

    @property
    def left(self) -> list[int]:
        """Blocks that are not done, in order."""
        return [block for block in range(number_of_blocks(self.target)) if block not in self.done]

    @property
    def bytes_left(self) -> int:
        """Bytes of the blocks that are not done."""
        spans = (members(self.target, block) for block in self.left)
        return sum(self.target.offset(span.stop) - self.target.offset(span.start) for span in spans)

    @property
    def images_done(self) -> int:
        """Number of images of the blocks that are done."""
        return sum(len(members(self.target, block)) for block in self.done)

    @contextmanager
    def growing(self) -> Iterator[Callable[[Done], None]]:
        """Yields what takes each block that is written; flushes them every two seconds, and the rest at the end.

        Raises:
            OSError: The disk is full, or lost.
        """
        fresh: list[Done] = []
        flushed = time.monotonic()

        def add(done: Done) -> None:
            nonlocal flushed
            self._note(done)
            fresh.append(done)
            if time.monotonic() - flushed >= FLUSH_S:
                flush()
                flushed = time.monotonic()

        def flush() -> None:
            os.fdatasync(images)
            lines = [json.dumps({"block": done.block, "unread": done.unread}) + "\n" for done in fresh]
            marks.write("".join(lines).encode())
            marks.flush()
            os.fdatasync(marks.fileno())
            fresh.clear()

        with opened(self.target) as images, self._marks.open("ab") as marks:
            try:
                yield add
            finally:
                flush()

    def move(self, place: Path) -> None:
        """Renames it to its place, once all that belongs there is in it and on the disk.

        Raises:
            OSError: It cannot be moved.
        """
        self.folder.rename(place)
        for name in ("partial.json", self._marks.name):
            (place / name).unlink(missing_ok=True)

    def _note(self, done: Done) -> None:
        self.done.add(done.block)
        self.unread.update(done.unread)

    def _is_ours(self, head: Mapping[str, Any]) -> bool:
        try:
            found = json.loads((self.folder / "partial.json").read_bytes())
            size = os.stat(self.target.path).st_size
        except (OSError, ValueError):
            return False
        return bool(found == head and size == self.target.offset(self.images) and self._marks.is_file())

    def _read_marks(self) -> Iterator[Done]:
        for line in self._marks.read_bytes().splitlines(keepends=True):
            try:
                mark = json.loads(line)
                unread = tuple(Unread(int(index), str(reason)) for index, reason in mark["unread"])
                done = Done(int(mark["block"]), unread)
            except (ValueError, TypeError, KeyError):
                continue
            if line.endswith(b"\n") and 0 <= done.block < number_of_blocks(self.target):
                yield done

    def _make(self, head: Mapping[str, Any]) -> None:
        self.folder.mkdir()
        with open(self.target.path, "xb") as file:
            file.truncate(self.target.offset(self.images))
        self._marks.touch()
        (self.folder / "partial.json").write_text(json.dumps(head), encoding="utf-8")  # last: without it nothing counts


def remove(path: Path) -> None:
    """Removes a folder, or a file in its place, if it is there. What cannot be removed only takes space."""
    if path.is_file():
        path.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Removes unfinished packs that nobody has gone on with for a week: of files that have changed since, perhaps."""
    for partial in folder.glob(".*.partial"):
        try:
            touched = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except OSError:
            continue  # another process takes it away
        if time.time() - touched > ABANDONED_S:
            remove(partial)
