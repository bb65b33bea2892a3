"""Blocks of images: decoded, made square, and written to their place in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from coretune.data.resize import square
from coretune.errors import StorageError, UnfitError

if TYPE_CHECKING:  # a child starts in half the time without the catalog
    from coretune.data.source import Source

BLOCK = 32
"""Images of a block: few enough that progress is seen and a kill loses little, enough that a message costs nothing."""


class Unread(NamedTuple):
    """An image that cannot be read.

    Attributes:
        image: Its index.
        reason: Its name and why.
    """

    image: int
    reason: str


class Done(NamedTuple):
    """A block that is written, but for its images that cannot be read."""

    block: int
    unread: tuple[Unread, ...]


class Target(Protocol):
    """A file in which each of n images has its place, and what stands there. It may be sent to other processes."""

    @property
    def path(self) -> str:
        """The file, which is there."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the n images."""

    def offset(self, index: int) -> int:
        """Returns at which byte an image begins; that of index n is the file's size."""

    def content(self, index: int) -> bytes:
        """Returns the bytes of an image.

        Raises:
            UnfitError: It cannot be read, whatever machine tries: that is a fault of the file's content.
            OSError: The machine cannot read it, now.
        """


@dataclass(frozen=True)
class Squares:
    """Square images of 3 bytes a pixel, one after the other.

    Attributes:
        path: The file.
        source: The images.
        side: In pixels.
        crop: Whether the centre square is cut.
    """

    path: str
    source: Source
    side: int
    crop: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images."""
        return self.source.names

    def offset(self, index: int) -> int:
        """Returns at which byte an image begins."""
        return index * self.side * self.side * 3

    def content(self, index: int) -> bytes:
        """Returns the bytes of an image.

        Raises:
            UnfitError: It cannot be read.
        """
        return square(self.source.image(index), self.side, crop=self.crop).tobytes()


def number_of_blocks(target: Target) -> int:
    """Returns the number of a file's blocks; the last one may be shorter."""
    return -(-len(target.names) // BLOCK)


def members(target: Target, block: int) -> range:
    """Returns the indices of a block's images."""
    return range(block * BLOCK, min((block + 1) * BLOCK, len(target.names)))


@contextmanager
def opened(target: Target) -> Iterator[int]:
    """Opens a file for writing, while the block of code runs.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = os.open(target.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_block(target: Target, descriptor: int, block: int) -> Done:
    """Writes the images of a block to their places.

    Args:
        target: The images and where they go.
        descriptor: The file, opened.
        block: Which.

    Returns:
        What cannot be read, whatever machine tries: that is a fault of the file's content.

    Raises:
        StorageError: An image cannot be read for a fault of the machine, which may pass: no permission, a lost disk.
        OSError: The file cannot be written.
    """
    unread = []
    for index in members(target, block):
        try:
            content = target.content(index)
        except StorageError:
            raise
        except UnfitError as error:
            unread.append(Unread(index, str(error)))
        except OSError as error:
            raise StorageError(f"{target.names[index]}: cannot be read: {error.strerror or error}") from error
        else:
            _write_at(descriptor, content, target.offset(index))
    return Done(block, tuple(unread))


def in_threads(target: Target, blocks: Iterable[int], threads: int) -> Iterator[Done]:
    """Writes blocks with a few threads of this process, or without any, and yields each in their order.

    Raises:
        StorageError: As in `write_block`.
        OSError: As in `write_block`.
    """
    with opened(target) as descriptor:
        if threads == 1:
            yield from (write_block(target, descriptor, block) for block in blocks)
            return
        pool = ThreadPoolExecutor(max_workers=threads)
        try:
            yield from pool.map(lambda block: write_block(target, descriptor, block), blocks)
        finally:
            pool.shutdown(cancel_futures=True)


def _write_at(descriptor: int, content: bytes, offset: int) -> None:
    # Not through a writable map: there a full disk is a SIGBUS, here it is an OSError.
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
