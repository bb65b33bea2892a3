"""What images are known by wherever they lie, and under whatever name: short hashes of their files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIGITS = 16
"""Hexadecimal digits of a SHA-256 that are kept: two of a million files are alike by chance once in 10⁷ times."""


@dataclass(frozen=True, eq=False)
class Contents:
    """The contents of some images' files.

    Attributes:
        numbers: Sorted uint64, each once: the first 64 bits of the files' SHA-256.
        whole: Whether each is the file of one image; otherwise files hold many images, not all of which are meant.
    """

    numbers: NDArray[np.uint64]
    whole: bool

    def to_text(self) -> str:
        """Returns 32 characters for every 3 files, which `from_text` reads back."""
        kind = "images" if self.whole else "files"
        return f"{kind}:{base64.b64encode(self.numbers.astype('<u8').tobytes()).decode()}"

    @classmethod
    def from_text(cls, text: object) -> Contents | None:
        """Returns what `to_text` wrote; None of anything else."""
        kind, _, encoded = text.partition(":") if isinstance(text, str) else ("", "", "")
        if kind not in ("images", "files"):
            return None
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return None
        return cls(np.frombuffer(raw, dtype="<u8").astype(np.uint64), kind == "images") if len(raw) % 8 == 0 else None

    def have(self, others: Iterable[str]) -> NDArray[np.bool_]:
        """Returns whether each of other files, by their SHA-256, is among these."""
        return np.isin(numbers_of(others), self.numbers)


def numbers_of(hashes: Iterable[str]) -> NDArray[np.uint64]:
    """Returns the first 64 bits of each SHA-256, which is 64 hexadecimal digits."""
    return np.array([int(each[:DIGITS], 16) for each in hashes], dtype=np.uint64)


def contents_of(hashes: Iterable[str], *, whole: bool) -> Contents:
    """Returns the contents of files.

    Args:
        hashes: SHA-256 of each.
        whole: As in `Contents`.
    """
    return Contents(np.unique(numbers_of(hashes)), whole)
