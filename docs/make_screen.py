"""Draws the README's picture of the screen, and writes its block about the quickstart.

    python docs/make_screen.py              from docs/screen.json and docs/quickstart.json, which a real run left
    python docs/make_screen.py RESULTS      takes the numbers of a finished quickstart over first

docs/screen.json is a copy of RESULTS/state.json made while the study ran.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from coretune.report.export import to_dict
from coretune.report.leaderboard import Leaderboard, Row, build
from coretune.results.store import ResultsStore
from coretune_cli.board import board
from coretune_cli.formats import duration
from coretune_cli.screen import render
from coretune_cli.state import parse_state

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
STATE, RUN = DOCS / "screen.json", DOCS / "quickstart.json"
BEGIN, END = "<!-- quickstart:begin -->", "<!-- quickstart:end -->"
SCREEN_WIDTH, BOARD_WIDTH = 116, 100


def screen(state: Mapping[str, Any]) -> str:
    """Returns the picture of a running study, as SVG, from what its driver wrote to `state.json`."""
    console = plain_console(SCREEN_WIDTH, force_terminal=True, color_system="truecolor", legacy_windows=False)
    console.print(render(parse_state(state), width=SCREEN_WIDTH))
    return console.export_svg(title="coretune study run studies/quickstart.yaml", unique_id="coretune")


def block(run: Mapping[str, Any]) -> str:
    """Returns what the README says of the quickstart: time, versions, leaderboard."""
    console = plain_console(BOARD_WIDTH, color_system=None)
    console.print(board(read_leaderboard(run["leaderboard"]), BOARD_WIDTH))
    text = "\n".join(line.rstrip() for line in console.export_text().splitlines())
    took = f"{run['runs']} runs in {duration(run['elapsed_s'])} on {run['cpus']} CPUs (torch {run['torch']})"
    return f"Recorded: {took}.\n\n```text\n{text}\n```"


def plain_console(width: int, **options: Any) -> Console:
    """Returns a console that records what it would print; strings are literal, as in the command line's own."""
    return Console(record=True, width=width, file=io.StringIO(), markup=False, highlight=False, emoji=False, **options)


def read_run(results: Path) -> dict[str, Any]:
    """Returns what the docs say of a finished quickstart.

    Raises:
        ValueError: The study is not finished.
    """
    store = ResultsStore(results)
    state, manifest = store.json("state.json"), store.json("manifest.json")
    found = build(store)
    if not found.complete or state is None or manifest is None:
        raise ValueError(f"{results} is not finished; coretune study resume {results}")
    return {
        "runs": state["runs"]["done"],
        "elapsed_s": state["elapsed_s"],
        "cpus": manifest["environment"]["cpus"],
        "torch": manifest["environment"]["versions"]["torch"],
        "leaderboard": to_dict(found),
    }


def read_leaderboard(value: Mapping[str, Any]) -> Leaderboard:
    """Returns the leaderboard that `coretune leaderboard show --json` prints."""
    rest = {key: value[key] for key in value if key not in ("schema_version", "rows", "means", "notes", "evaluations")}
    rows, means = ([Row(**row) for row in value[key]] for key in ("rows", "means"))
    return Leaderboard(**rest, rows=tuple(rows), means=tuple(means), notes=tuple(value["notes"]))


def readme(text: str, run: Mapping[str, Any]) -> str:
    """Returns the README with its block made anew.

    Raises:
        ValueError: It has not both marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README} needs the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{block(run)}\n{END}{after}"


def main(results: Path | None = None) -> None:
    """Writes the picture and the block."""
    os.environ["TZ"] = "UTC"  # events are shown in local time
    time.tzset()
    if results is not None:
        RUN.write_text(json.dumps(read_run(results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    run = json.loads(RUN.read_text(encoding="utf-8"))
    (DOCS / "screen.svg").write_text(screen(json.loads(STATE.read_text(encoding="utf-8"))), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), run), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
