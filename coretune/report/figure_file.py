"""A figure's file: its format by its ending, written whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from coretune.errors import RequestError
from coretune.results.files import put_atomic

FORMATS = ("png", "pdf", "svg")


def write_drawn(draw: Callable[[], Figure], path: Path) -> None:
    """Writes what is drawn, as PNG of 150 dots per inch, PDF or SVG by the file's ending, whole or not at all.

    Raises:
        RequestError: The ending is another one; whatever `draw` raises passes through.
        StorageError: The disk is full or the folder is read-only.
    """
    form = check_format(path)
    content = io.BytesIO()
    draw().savefig(content, format=form, dpi=150)
    put_atomic(path, content.getvalue(), durable=False)


def check_format(path: Path) -> str:
    """Returns the format that a figure's ending means.

    Raises:
        RequestError: It means none.
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise RequestError(f"{path}: a figure is written as {', '.join(FORMATS)}: end its name in one of them")
    return form
