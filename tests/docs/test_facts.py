"""What the pages list is what the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import torch

from coretune.data.roots import CACHE_VARIABLE, DATA_VARIABLE
from coretune.results.planned import Plan
from coretune.results.record import CauseKind, Record
from coretune.results.retry import Keep
from coretune.results.store import ResultsStore
from coretune.spec.catalog.methods.core_tuning import CoreTuningParameters
from coretune.spec.run import RunSpec
from coretune.tuning.diagnostics import diagnose_features


def test_every_field_of_a_record_is_explained(root: Path) -> None:
    text = (root / "docs" / "results-directory.md").read_text()
    fields = [*Record.model_fields, *RunSpec.model_fields, *get_args(CauseKind), *get_args(Keep)]
    assert [name for name in fields if f"`{name}`" not in text] == []


def test_the_layout_names_what_the_store_writes(root: Path) -> None:
    text = (root / "docs" / "results-directory.md").read_text()
    store = ResultsStore("RESULTS")
    for path in (store.weights_path("x"), store.weights_path("x", "best"), store.state_folder("x")):
        assert path.name in text
    documented = re.search(r"RESULTS/\n\s+(.*?)\n\"\"\"", (root / "coretune/results/store.py").read_text(), re.DOTALL)
    assert documented is not None
    names = re.findall(r"[\w-]+\.(?:yaml|json|journal|csv|txt)", documented.group(1))
    assert len(names) >= 8
    assert [name for name in names if name not in text] == []


def test_the_plan_is_explained(root: Path) -> None:
    text = (root / "docs" / "results-directory.md").read_text()
    assert [name for name in (*Plan.model_fields, "planned.json") if f"`{name}`" not in text] == []


def test_every_option_of_core_tuning_is_explained(root: Path) -> None:
    text = (root / "docs" / "core-tuning.md").read_text()
    symbols = {"eta": "η", "temperature": r"\tau", "alpha": r"\alpha", "gamma": r"\gamma", "projection_hidden": "ReLU"}
    missing = [name for name in CoreTuningParameters.model_fields if symbols.get(name, f"`{name}") not in text]
    assert missing == []


def test_every_number_of_the_diagnosis_is_explained(root: Path) -> None:
    labels = torch.arange(8) % 2
    features = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    names = diagnose_features(features, labels, weight=torch.eye(3), logits=features).metrics()
    rows = re.findall(r"^\| (`.*?) \|", (root / "docs" / "diagnostics.md").read_text(), re.MULTILINE)
    explained = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert explained == {*names, "nc4_train_means"}


def test_the_environment_variables_are_listed(root: Path) -> None:
    text = (root / "docs" / "study-files.md").read_text()
    assert CACHE_VARIABLE in text and DATA_VARIABLE in text


def test_the_rooms_are_those_of_the_contract(root: Path) -> None:
    contract = re.search(r"layers = \[(.*?)\]", (root / "pyproject.toml").read_text(), re.DOTALL)
    assert contract is not None
    rooms = [
        name.replace("coretune_", "").replace("coretune.", "") for name in re.findall(r'"(.*?)"', contract.group(1))
    ]
    assert " → ".join(rooms) in (root / "CONTRIBUTING.md").read_text()
