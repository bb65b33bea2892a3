"""What a reader should know of held-out domains before quoting a number: one sentence each."""

from __future__ import annotations

from collections.abc import Iterable

from coretune.results.cellfile import CellFile


def about_held_out(cells: Iterable[CellFile]) -> list[str]:
    """Returns which held-out domains share images with others, and of which backbones nobody can tell what they saw.

    Args:
        cells: The cells that have a row.
    """
    found: dict[str, None] = {}
    for cell in cells:
        if cell.held_out is None:
            continue
        if cell.held_out.repeated:
            found[images_repeated(cell.held_out.section, cell.held_out.domain, cell.held_out.repeated)] = None
        if cell.held_out.unknown:
            found[cannot_tell(cell.backbone, cell.held_out.unknown)] = None
    return list(found)


def images_repeated(section: str, domain: str, count: int) -> str:
    """Returns that images of a held-out domain stand in other ones, too, and what that means."""
    stand = "1 image stands" if count == 1 else f"{count:,} images stand"
    return (
        f"{section}: {stand} in the held-out domain {domain} and, the same file byte for byte, in a domain that is "
        "trained on"
    )


def cannot_tell(backbone: str, unknown: str) -> str:
    """Returns that nobody can tell what a backbone has seen, and why."""
    return f"nobody can tell whether backbone {backbone} has seen images of held-out domains: {unknown}"
