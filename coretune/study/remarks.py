"""What a plan and a run tell of a study's data, beside what is missing or wrong. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterable

from coretune.report.held_out_notes import cannot_tell
from coretune.spec.cells import Cell
from coretune.study.leak import Sight


def about_backbones(sights: Iterable[tuple[Cell, Sight]]) -> list[str]:
    """Returns what backbones have seen of held-out domains, and where nobody can tell, each once.

    Args:
        sights: What is known of the backbone of each cell.
    """
    found: dict[str, None] = {}
    for cell, sight in sights:
        if sight.seen:
            found[
                f"transductive: backbone {cell.backbone.label} has seen images of the held-out domain "
                f"{cell.dataset.held_out_domain} ({sight.seen})"
            ] = None
        if sight.unknown:
            found[cannot_tell(cell.backbone.label, sight.unknown)] = None
    return list(found)
