"""What the last session of a study found missing: data sets and checkpoints, read from `state.json`."""

from __future__ import annotations

from coretune.results.store import ResultsStore


def read_missing(store: ResultsStore) -> list[str]:
    """Returns what the driver found missing, a line each; none where it said nothing, or nothing that can be read."""
    state = store.json("state.json")
    items = state.get("missing") if isinstance(state, dict) else None
    texts = [item.get("text") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [text for text in texts if isinstance(text, str)]
