"""States of studies as a driver writes them, results directories, and the command line as a function."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coretune_cli.main import main

START = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
DATASETS = ("imagenet20", "cifar10", "cifar100", "dtd", "caltech101", "cars", "pets", "flowers", "aircraft")
METHODS = ("ce", "l2sp", "delta", "mm", "bss", "rifle", "scl", "bi_tuning", "core_tuning")


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def quick_state() -> dict[str, Any]:
    """The quickstart in the middle of its search."""
    return {
        "schema_version": 1,
        "study": "quickstart",
        "phase": "searching",
        "results": "results/quickstart",
        "pid": 4242,
        "host": "node-1",
        "started": at(0),
        "updated": at(72),
        "elapsed_s": 72.0,
        "remaining_s": 48.0,
        "runs": {"total": 29, "done": 11, "running": 2, "failed": 1, "recorded_before": 3},
        "prepare": [{"run_id": "a" * 16, "label": "moco_v2 moco_small on digits", "state": "running"}],
        "cells": [
            {
                "key": "digits--ce--moco_small",
                "dataset": "digits",
                "method": "ce",
                "backbone": "moco_small",
                "state": "finals",
                "trials": {"total": 8, "done": 8, "running": 0, "pruned": 2, "failed": 0},
                "best": 76.5,
                "finals": {"total": 6, "done": 2, "running": 1, "failed": 0},
                "mean": 75.91,
            },
            {
                "key": "digits--core_tuning--moco_small",
                "dataset": "digits",
                "method": "core_tuning",
                "backbone": "moco_small",
                "state": "searching",
                "trials": {"total": 8, "done": 3, "running": 1, "pruned": 1, "failed": 1},
                "best": 78.26,
                "finals": {"total": 6, "done": 0, "running": 0, "failed": 0},
                "mean": None,
            },
        ],
        "objective": {"metric": "top1", "direction": "max"},
        "slots": [
            {
                "slot": 0,
                "run_id": "b" * 16,
                "label": "digits--ce--moco_small final 3",
                "epoch": 23,
                "epochs": 40,
                "images_per_s": 612.4,
                "since": at(69),
            },
            {
                "slot": 1,
                "run_id": None,
                "label": "",
                "epoch": 0,
                "epochs": 0,
                "images_per_s": None,
                "since": at(70),
            },
        ],
        "throughput": {"images_per_s": 820.4, "runs_per_min": 9.12},
        "events": [
            {"time": at(60), "level": "info", "text": "digits--ce--moco_small: trial 4 chosen, 76.5 on validation"},
            {
                "time": at(65),
                "level": "warning",
                "text": "digits--core_tuning--moco_small trial 2 [bold]diverged[/] at epoch 3",
            },
        ],
    }


def nine_state(step: int = 100) -> dict[str, Any]:
    """Nine data sets × nine methods, some way through."""
    cells: list[dict[str, Any]] = []
    for number, (dataset, method) in enumerate((dataset, method) for dataset in DATASETS for method in METHODS):
        position = 4 * step - 8 * number
        trials, finals = max(0, min(20, position)), max(0, min(3, position - 20))
        state = "waiting" if position <= 0 else "searching" if trials < 20 else "finals" if finals < 3 else "done"
        cells.append(
            {
                "key": f"{dataset}--{method}--resnet50",
                "dataset": dataset,
                "method": method,
                "backbone": "resnet50",
                "state": "failed" if number == 7 else state,
                "trials": {"total": 20, "done": trials, "running": 2 * (state == "searching"), "pruned": trials // 4},
                "best": 60 + number / 3 if trials else None,
                "finals": {"total": 3, "done": finals},
                "mean": 59 + number / 3 if state == "done" else None,
            }
        )
    slots = [
        {
            "slot": slot,
            "run_id": "d" * 16 if slot < 10 else None,
            "label": f"{DATASETS[slot % 9]}--{METHODS[slot % 9]}--resnet50 trial {slot}",
            "epoch": 7 * slot,
            "epochs": 100,
            "images_per_s": 310.0 + slot,
            "since": at(step * 10 - 60 * slot),
        }
        for slot in range(12)
    ]
    done = sum(cell["trials"]["done"] + cell["finals"]["done"] for cell in cells)
    return {
        **quick_state(),
        "study": "nine_by_nine",
        "updated": at(step * 10),
        "elapsed_s": step * 360.0,
        "remaining_s": 100_000.0,
        "runs": {"total": 1863, "done": done, "running": 10, "failed": 2, "recorded_before": 7},
        "prepare": [],
        "cells": cells,
        "slots": slots,
        "throughput": {"images_per_s": 3720.0, "runs_per_min": 2.3},
        "events": [
            {"time": at(step * 10 + i), "level": "error" if i == 49 else "info", "text": f"trial {i}: {60 + i / 2:.1f}"}
            for i in range(50)
        ],
    }


@pytest.fixture
def quick() -> dict[str, Any]:
    return quick_state()


@pytest.fixture
def nine() -> dict[str, Any]:
    return nine_state()


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is UTC, and nothing of the developer's terminal is looked at."""
    monkeypatch.setenv("TZ", "UTC")
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CORETUNE_DEBUG", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@dataclass(frozen=True)
class Said:
    """What a command line answered."""

    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of that name in `golden/`; `CORETUNE_GOLDEN=write` writes it instead."""
    import os

    folder = Path(__file__).parent / "golden"

    def compare(name: str, text: str) -> None:
        text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
        path = folder / f"{name}.txt"
        if os.environ.get("CORETUNE_GOLDEN") == "write":
            folder.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text

    return compare


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    """For commands that own their process, which is here the tests' own."""
    import torch

    before = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = before
