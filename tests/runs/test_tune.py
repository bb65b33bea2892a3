from __future__ import annotations

from pathlib import Path

import pytest

import coretune as ct
from coretune.errors import RequestError, StudyError

SMALL = {
    "backbone": "small_resnet",
    "data": {"labels_per_class": 2, "validation": 50, "test": 50, "image_size": 8},
    "train": {"epochs": 2, "batch": 20, "contrast_batch": 20},
}


def test_one_model_is_tuned_and_tested_and_never_again(tmp_path: Path) -> None:
    events = []
    first = ct.tune("digits", out=tmp_path, eta=0.5, device="cpu", on_event=events.append, **SMALL)
    assert first.record.status == "completed" and events
    assert first.record.spec["method"]["params"] == {"eta": 0.5}
    assert 0 <= first.test.metrics["top1"] <= 100
    assert first.weights.is_file()
    events.clear()
    second = ct.tune("digits", out=tmp_path, eta=0.5, device="cpu", on_event=events.append, **SMALL)
    assert second == first and not events


def test_it_pretrains_first(tmp_path: Path) -> None:
    pretrain = {"method": "moco_v2", "train": {"epochs": 1, "batch": 64, "contrast_batch": 64}}
    result = ct.tune("digits", method="ce", out=tmp_path, pretrain=pretrain, device="cpu", **SMALL)
    origin = result.record.spec["backbone"]["weights"]
    assert origin.startswith("run:")
    assert (tmp_path / "runs" / origin.removeprefix("run:") / "record.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "core_tunning"}, "core_tuning"),
        ({"eta": -1}, "eta"),
        ({"etta": 1}, "eta"),
    ],
)
def test_wrong_names_and_values_are_refused(tmp_path: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        ct.tune("digits", out=tmp_path, **{**SMALL, **arguments})  # type: ignore[arg-type]


def test_a_search_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no search"):
        ct.tune("digits", out=tmp_path, eta={"uniform": [0, 1]}, **SMALL)
