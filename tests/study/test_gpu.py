"""Studies on GPUs: fractions of one, several workers, what a compiler and other memory formats change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command import coretune, write_study

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

STUDY = """
name: tiny
seed: 3
datasets: {digits: {validation: 200, test: 300, labels_per_class: 5}}
backbones: {plain: {arch: small_resnet, params: {widths: [8, 16]}}}
methods: [ce, core_tuning]
train: {epochs: 12, batch: 50, contrast_batch: 50, evaluate_every: 4, lr: 0.05}
search: none
finals: {seeds: 2}
"""


def records_of(folder: Path, resources: str) -> dict[str, dict[str, Any]]:
    """Runs the study with these resources; returns its records by run."""
    folder.mkdir()
    done = coretune(
        "study", "run", str(write_study(folder, f"{STUDY}resources: {resources}\n")), folder=folder, timeout=800
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for path in (folder / "results" / "tiny").glob("runs/*/record.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "completed"
        found[path.parent.name] = record
    return found


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return records_of(tmp_path_factory.mktemp("study") / "cpu", "{}")


@pytest.mark.parametrize(
    "resources",
    [
        "{gpus: 1}",
        "{gpus: 0.25}",  # four runs share a GPU
        "{gpus: 1, channels_last: true, compile: true, micro_batch: 25}",
        "{gpus: 0.5, workers: 2}",  # two workers share a GPU: gloo
        "{gpus: 1, workers: 2}",  # NCCL
    ],
)
def test_a_study_on_gpus_is_that_of_the_cpu(on_cpu: dict[str, dict[str, Any]], resources: str, tmp_path: Path) -> None:
    if "gpus: 1, workers: 2" in resources and torch.cuda.device_count() < 2:
        pytest.skip("NCCL wants a GPU for each worker, and there is one")
    found = records_of(tmp_path / "gpu", resources)
    assert found.keys() == on_cpu.keys()
    for run, record in found.items():
        assert record["environment"]["device"].startswith("cuda")
        assert abs(record["metrics"]["last"]["top1"] - on_cpu[run]["metrics"]["last"]["top1"]) < 10, "seed noise"
