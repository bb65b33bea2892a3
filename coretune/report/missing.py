"""What the last session of a study found missing: data sets and checkpoints, read from `state.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coretune.results.store import ResultsStore
from coretune.spec.wording import some


@dataclass(frozen=True)
class Lacking:
    """A data set or a checkpoint that was not there.

    Attributes:
        kind: `data set` or `checkpoint`.
        label: Its label, or that of the backbone.
        text: All about it on one line.
    """

    kind: str
    label: str
    text: str


def read_missing(store: ResultsStore) -> list[Lacking]:
    """Returns what the driver found missing; nothing where it said nothing, or nothing that can be read."""
    state = store.json("state.json")
    items = state.get("missing") if isinstance(state, dict) else None
    found = [_lacking(item) for item in items] if isinstance(items, list) else []
    return [item for item in found if item is not None]


def _lacking(item: Any) -> Lacking | None:
    if not isinstance(item, dict):
        return None
    values = [value for key in ("kind", "label", "text") if isinstance(value := item.get(key), str)]
    return Lacking(*values) if len(values) == 3 else None


def missing_note(found: list[Lacking]) -> list[str]:
    """Returns a remark under a table on what was missing, without where to get it; none if nothing was."""
    if not found:
        return []
    kinds = {kind: [item.label for item in found if item.kind == kind] for kind in ("data set", "checkpoint")}
    said = [f"{kind} {some(labels, 20)}" for kind, labels in kinds.items() if labels]
    return [f"missing in the last session: {'; '.join(said)} (`coretune study status` says where to get them)"]
