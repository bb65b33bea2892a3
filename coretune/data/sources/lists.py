"""The files beside the images of known sets: text lists and MATLAB files, each read with errors that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coretune.data.decode import head_of, resemblance
from coretune.errors import UnfitError


def text_lines(file: Path) -> list[tuple[int, str]]:
    """Returns the lines of a list that hold something, stripped, each with its one-based number.

    Raises:
        UnfitError: It cannot be read, is no text, or has no line.
    """
    _refuse_resembling(file, "a list")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnfitError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise UnfitError(f"{file}: has no line")
    return lines


def class_names(file: Path) -> tuple[str, ...]:
    """Returns the names of classes, one a line, from label 0 on.

    Raises:
        UnfitError: It cannot be read, a line is empty, or a name stands twice.
    """
    try:
        lines = tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UnfitError(f"{file}: cannot be read: {error}; expected the names of the classes, one a line") from error
    if len(set(lines)) < len(lines) or not all(lines):
        raise UnfitError(f"{file}: expected one distinct name a class, got {', '.join(lines)}")
    return lines


def matlab(file: Path, *variables: str) -> dict[str, Any]:
    """Returns variables of a MATLAB file, without dimensions of length one; structures as records.

    Raises:
        UnfitError: It cannot be read, is no MATLAB file, or lacks a variable.
    """
    from scipy.io import loadmat

    if not file.is_file():  # scipy does not say so
        raise UnfitError(f"{file}: there is no such file")
    _refuse_resembling(file, "a MATLAB file")
    try:
        found = loadmat(file, squeeze_me=True)
    except Exception as error:  # scipy raises many kinds of errors on a broken file
        reason = getattr(error, "strerror", None) or f"is no MATLAB file: {str(error) or type(error).__name__}"
        raise UnfitError(f"{file}: {str(reason).splitlines()[0]}") from error
    absent = [name for name in variables if name not in found]
    if absent:
        there = ", ".join(name for name in found if not name.startswith("__"))
        raise UnfitError(f"{file}: no variable {', '.join(absent)} in it, only {there or 'nothing'}")
    return {name: found[name] for name in variables}


def _refuse_resembling(file: Path, wanted: str) -> None:
    head = head_of(file)
    if head is not None and (looks_like := resemblance(head, wanted)):
        raise UnfitError(f"{file}: {looks_like}")
