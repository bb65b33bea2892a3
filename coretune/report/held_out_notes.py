"""What a reader should know of held-out domains before quoting a number: one sentence each."""

from __future__ import annotations

from collections.abc import Iterable

from coretune.results.cellfile import CellFile


def about_held_out(cells: Iterable[CellFile]) -> list[str]:
    """Returns of which backbones nobody can tell whether they have seen images of held-out domains, and why.

    Args:
        cells: The cells that have a row.
    """
    found: dict[str, None] = {}
    for cell in cells:
        if cell.held_out is not None and cell.held_out.unknown:
            found[cannot_tell(cell.backbone, cell.held_out.unknown)] = None
    return list(found)


def cannot_tell(backbone: str, unknown: str) -> str:
    """Returns that nobody can tell what a backbone has seen, and why."""
    return f"nobody can tell whether backbone {backbone} has seen images of held-out domains: {unknown}"
