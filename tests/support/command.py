"""Runs the `coretune` command as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

TINY = """
name: tiny
seed: 3
datasets: {digits: {validation: 200, test: 300, labels_per_class: 5}}
backbones: {plain: {arch: small_resnet, params: {widths: [8, 16]}}}
methods: [ce, core_tuning]
train: {epochs: 12, batch: 50, contrast_batch: 50, evaluate_every: 4, lr: {log_uniform: [0.01, 0.3], default: 0.05}}
search: {sampler: random, trials: 3}
finals: {seeds: 2}
"""


def write_study(folder: Path, text: str = TINY) -> Path:
    """Writes the tiny study and returns its file."""
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Starts the command in a folder, in a process group of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "TUNE_"))}
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from coretune_cli.main import main; sys.exit(main())", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def coretune(*arguments: str, folder: Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    process = start(arguments, folder)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wait_until(condition: Callable[[], bool], timeout: float = 120) -> None:
    """Waits for a condition.

    Raises:
        TimeoutError: It did not come true.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.05)


def records(results: Path) -> set[str]:
    """Returns the ids of the recorded runs of a results directory."""
    return {path.parent.name for path in results.glob("runs/*/record.json")}


def processes_below(word: str) -> list[psutil.Process]:
    """Returns the processes below this one that have a word in their command."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found
