"""How soon does the command line answer, when no training is asked for?

    python benchmarks/start_up.py

Ours is `coretune --help`, with every group of commands. The rival is a program of two Typer commands and nothing else:
what Python, Typer and Rich need in any case. `ratio_status` is `coretune study list` in an empty folder, which reads
studies, against the same rival, with `import torch` beside it: what would be waited for if the command needed it. Each
is a process of its own, in turn; what is compared is processor time, the median of the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 9
GOAL = 2.5
RIVAL = """
import typer

app = typer.Typer()


@app.command()
def greet(name: str = "you") -> None:
    "Say hello."


@app.command()
def leave(name: str = "you") -> None:
    "Say goodbye."


app()
"""
OURS = ("-m", "coretune_cli.main")


def processor_time(words: Sequence[str], folder: Path) -> float:
    """Returns the seconds of processor time, user and system, of one Python process."""
    before = os.times()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Prints the line that `benchmarks/all.py` reads."""
    commands = {
        "rival": ("-c", RIVAL, "--help"),
        "help": (*OURS, "--help"),
        "status": (*OURS, "study", "list"),
        "torch": ("-c", "import torch"),
    }
    with tempfile.TemporaryDirectory() as name:
        rounds = [{key: processor_time(words, Path(name)) for key, words in commands.items()} for _ in range(ROUNDS)]
    seconds = {key: statistics.median(spent[key] for spent in rounds) for key in commands}
    found = {
        "name": "start_up",
        "ratio": seconds["help"] / seconds["rival"],
        "goal": GOAL,
        "better": "lower",
        "rival": "a program of two Typer commands",
        "detail": {
            "ratio_status": seconds["status"] / seconds["rival"],
            **{f"{key}_s": round(spent, 3) for key, spent in seconds.items()},
            "rounds": ROUNDS,
        },
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
