"""Runs every speed promise and prints them as a table; exit code 1 if one is not kept.

    python benchmarks/all.py [NAME ...]

A benchmark is a script beside this one that prints, as its last line, one JSON object: name, ratio, goal, better
(lower or higher), rival, detail.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT_S = 600.0
COLUMNS = ("benchmark", "ratio", "goal", "verdict", "seconds", "against")


@dataclass(frozen=True)
class Result:
    """What came of a benchmark.

    Attributes:
        name: Name of the script.
        ratio: The measured ratio, as text; empty if there is none.
        goal: The promise, e.g. `≤ 1.03`.
        kept: Whether the promise is kept.
        verdict: The same in words, or why there is no ratio.
        rival: What it is compared with.
        seconds: How long it took.
    """

    name: str
    ratio: str
    goal: str
    kept: bool
    verdict: str
    rival: str
    seconds: float

    @property
    def row(self) -> tuple[str, ...]:
        """Its cells in the table."""
        return (self.name, self.ratio, self.goal, self.verdict, f"{self.seconds:.0f}", self.rival)


def judge(name: str, output: str, seconds: float) -> Result:
    """Reads the last line of a benchmark's output."""
    try:
        found = json.loads(output.strip().splitlines()[-1])
        ratio, goal, lower = float(found["ratio"]), float(found["goal"]), found["better"] == "lower"
        rival = str(found["rival"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        return Result(name, "", "", False, f"no result: {type(error).__name__}", "", seconds)
    kept = ratio <= goal if lower else ratio >= goal
    sign = "≤" if lower else "≥"
    return Result(name, f"{ratio:.3f}", f"{sign} {goal:.3f}", kept, "kept" if kept else "MISSED", rival, seconds)


def run(script: Path) -> Result:
    """Runs a benchmark in a process of its own; what it says goes on to stderr."""
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Result(script.stem, "", "", False, f"no result: longer than {LIMIT_S:.0f} s", "", LIMIT_S)
    seconds = time.perf_counter() - started
    if done.returncode:
        return Result(script.stem, "", "", False, f"no result: exit code {done.returncode}", "", seconds)
    print(done.stdout.rstrip(), file=sys.stderr)
    return judge(script.stem, done.stdout, seconds)


def table(results: Sequence[Result]) -> str:
    """Returns the results as lines of aligned columns."""
    rows = [COLUMNS, *(result.row for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main(names: Sequence[str]) -> int:
    """Runs the named benchmarks, or all; returns the exit code."""
    scripts = {path.stem: path for path in sorted(HERE.glob("*.py")) if path.stem != "all"}
    unknown = [name for name in names if name not in scripts]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(scripts)}", file=sys.stderr)
        return 2
    results = [run(scripts[name]) for name in names or scripts]
    print(table(results))
    return 0 if all(result.kept for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
