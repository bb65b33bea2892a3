"""The final runs of a recorded cell, for the scripts beside this file."""

from __future__ import annotations

import argparse
from pathlib import Path

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


def parser_of(description: str | None, *outputs: str) -> argparse.ArgumentParser:
    """Returns the parser of a script that reads final runs of cells: RESULTS, what it writes, CELL..., --data."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("results", *outputs):
        parser.add_argument(name, type=Path)
    parser.add_argument("cells", nargs="+")
    parser.add_argument("--data", default=None, help="folder of the images; default: below $CORETUNE_DATA")
    return parser
