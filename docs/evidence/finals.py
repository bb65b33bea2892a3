"""The final runs of a recorded cell, for the scripts beside this file."""

from __future__ import annotations

from coretune.results.store import ResultsStore
from coretune.spec.run import RunSpec


def final_specs(store: ResultsStore, cell: str, seeds: int) -> list[RunSpec]:
    """Returns the descriptions of a cell's first final runs."""
    found = store.cell(cell)
    finals = found.finals[:seeds] if found is not None else []
    records = [record for entry in finals if (record := store.record(entry.run_id)) is not None]
    if len(records) < seeds:
        raise SystemExit(f"{store.root}: cell {cell} has {len(records)} of {seeds} final runs")
    return [RunSpec.model_validate(record.spec) for record in records]
