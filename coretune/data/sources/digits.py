"""The 1,797 scanned digits that ship in scikit-learn's wheel."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coretune.data.source import UNDECIDED
from coretune.errors import UnfitError
from coretune.spec.frozen import Frozen

FILE = Path("datasets", "data", "digits.csv.gz")
SIDE = 8
INK = 16


class Digits:
    """Optical recognition of handwritten digits (UCI 80), test part: 8×8 pixels, ink from 0 to 16, light on dark.

    scikit-learn itself is not imported (that takes seconds): only its file is read, and only when it is needed.

    Args:
        path: The file `digits.csv.gz`, or None for the one in scikit-learn's wheel.
        params: Without effect: the data set has no parameters.

    Raises:
        UnfitError: The file is not there.
    """

    classes = tuple(str(digit) for digit in range(10))
    crop = True
    decoding = "digits/1"

    def __init__(self, path: Path | None, params: Frozen) -> None:
        self._file = path or _shipped()
        if not self._file.is_file():
            raise UnfitError(f"data set digits: there is no file {self._file}; install scikit-learn again")

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) labels in [0, 10)."""
        return self._table[:, -1].astype(np.int64)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """`digits/00042`: the row in the file."""
        return tuple(f"digits/{row:05d}" for row in range(len(self._table)))

    @cached_property
    def parts(self) -> NDArray[np.int8]:
        """(N,) all UNDECIDED: there is no official split."""
        return np.full(len(self._table), UNDECIDED, dtype=np.int8)

    def files(self) -> list[tuple[str, Path]]:
        """Returns the one file."""
        return [(FILE.name, self._file)]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one digit, (8, 8, 3), its ink scaled to 0..255."""
        ink = self._table[index, :-1].astype(np.uint16).reshape(SIDE, SIDE)
        grey = ((ink * 255 + INK // 2) // INK).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)

    @cached_property
    def _table(self) -> NDArray[np.uint8]:
        """(N, 65) ink of 64 pixels, then the label."""
        try:
            text = gzip.decompress(self._file.read_bytes()).decode("ascii")
            values = np.array([float(value) for value in text.replace("\n", ",").rstrip(",").split(",")])
            table = values.reshape(-1, SIDE * SIDE + 1)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise UnfitError(f"{self._file}: is not scikit-learn's digits.csv.gz: {error}") from error
        if not (table >= 0).all() or (table[:, :-1] > INK).any() or (table[:, -1] > 9).any():
            raise UnfitError(f"{self._file}: is not scikit-learn's digits.csv.gz: a value is out of range")
        return table.astype(np.uint8)


def _shipped() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise UnfitError(
            "data set digits: it ships with scikit-learn, which is not installed: pip install scikit-learn"
        )
    return Path(spec.submodule_search_locations[0]) / FILE
