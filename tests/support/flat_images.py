"""A source of flat images, which processes that decode can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coretune.errors import UnfitError

if TYPE_CHECKING:
    from coretune.data.pack import Packed

PRINT = "ab" * 32
ARRIVAL = -1


@dataclass(frozen=True)
class Fields:
    """A source of n flat images; notes in a file who decodes what.

    Attributes:
        pause: Seconds that an image takes.
        broken: Images that cannot be read.
        deadly: Images that end the process that decodes them.
        once: Whether they do so at the first try only.
        here: The test's own process, which no image ends.
        others: How many processes must have been sent this source before `here` decodes more than `alone` images.
        alone: How many.
    """

    n: int = 100
    log: Path | None = None
    pause: float = 0.0
    broken: tuple[int, ...] = ()
    crop: bool = True
    decoding: str = "fields/1"
    classes: tuple[str, ...] = ("even", "odd")
    deadly: tuple[int, ...] = ()
    once: bool = False
    here: int = 0
    others: int = 0
    alone: int = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.log is not None:
            self._say(ARRIVAL)

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.arange(self.n, dtype=np.int64) % 2

    @property
    def parts(self) -> NDArray[np.int8]:
        return np.full(self.n, -1, dtype=np.int8)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"i{i}" for i in range(self.n))

    def files(self) -> list[tuple[str, Path]]:
        return []

    def image(self, index: int) -> NDArray[np.uint8]:
        if os.getpid() == self.here and index >= self.alone:
            self._wait_for_others()
        again = self.once and self.log is not None and any(seen == index for _, seen in decoded(self.log))
        if self.log is not None:
            self._say(index)
        time.sleep(self.pause)
        if index in self.deadly and os.getpid() != self.here and not again:
            os.kill(os.getpid(), signal.SIGKILL)
        if index in self.broken:
            raise UnfitError(f"i{index}: truncated")
        return np.full((8, 8, 3), index % 256, dtype=np.uint8)

    def _say(self, number: int) -> None:
        assert self.log is not None
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {number}\n")

    def _wait_for_others(self) -> None:
        deadline = time.monotonic() + 60
        while self.log is not None and len(_arrived(self.log)) < self.others and time.monotonic() < deadline:
            time.sleep(0.01)


@dataclass(frozen=True)
class Odd(Fields):
    """Raises what no source should."""

    def image(self, index: int) -> NDArray[np.uint8]:
        if index == 100:
            raise RuntimeError("a bug in a plug-in")
        if index == 200:
            raise OSError(5, "Input/output error")
        return super().image(index)


def decoded(log: Path) -> list[tuple[int, int]]:
    """Returns the process and the index of each image that was decoded, in order."""
    return [(process, index) for process, index in _lines(log) if index != ARRIVAL]


def _arrived(log: Path) -> set[int]:
    return {process for process, index in _lines(log) if index == ARRIVAL}


def _lines(log: Path) -> list[tuple[int, int]]:
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    pairs = (line.split() for line in lines if line.endswith("\n"))
    return [(int(process), int(index)) for process, index in pairs]


def check_fields(packed: Packed, n: int = 100, size: int = 8) -> None:
    """Refuses a pack that is not that of `Fields`."""
    assert packed.images.shape == (n, size, size, 3)
    np.testing.assert_array_equal(packed.images[:, 0, 0, 0], np.arange(n) % 256)
    assert (packed.images == packed.images[:, :1, :1, :1]).all()
    np.testing.assert_array_equal(packed.labels, np.arange(n) % 2)
    assert packed.names[3] == "i3"
    assert packed.fingerprint == PRINT
