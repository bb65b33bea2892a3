from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.driving import STUDY
from support.mask_sets import save_mask
from support.scenes import scenes

from coretune.data.fingerprint import fingerprint
from coretune.data.mask_pack import pack_masks
from coretune.data.source import open_masks
from coretune.errors import RequestError, UnfitError
from coretune.results.store import ResultsStore
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.check import check_study
from coretune.study.data import check_data
from coretune.study.plan import make_plan
from coretune.study.resolved import resolve

MASKS = """
name: tiny
datasets: {{mine: {{dataset: voc, path: {root}}}}}
backbones: [small_resnet]
methods: [ce]
segmentation: {{head: fcn}}
data: {{input_size: 32}}
objective: {{metric: miou}}
"""


def loaded(*sets: str) -> LoadedStudy:
    return resolve_study(parse_yaml(STUDY, "tiny.yaml"), sets)


def test_data_that_are_there_are_counted() -> None:
    (data,) = check_study(loaded())
    assert (data.kind, data.label, data.state) == ("data set", "digits", "there")
    assert "50 to train on, 200 to validate, 600 to test" in data.text


def test_more_labels_than_there_are_is_a_wrong_request_of_a_named_data_set() -> None:
    with pytest.raises(RequestError, match=r"^data set digits: .*labels_per_class: must be at most"):
        check_study(loaded("datasets.digits.labels_per_class=5000"))


def test_a_data_set_that_is_missing_is_told_once_of_all_its_domains(tmp_path: Path) -> None:
    study = loaded(f"datasets={{vlcs: {{held_out_domain: all, path: {tmp_path / 'none'}}}}}")
    (data,) = check_study(study)
    assert len(study.cells) > 4 and (data.label, data.state) == ("vlcs", "missing")


def test_masks_that_nothing_can_be_learned_from_are_wrong_once_they_are_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "cache"))
    root = scenes(tmp_path / "mine", {"train": 2, "val": 1, "test": 1})
    save_mask(root / "SegmentationClass" / "test00.png", np.full((40, 48), 255, dtype=np.uint8))
    study = resolve_study(parse_yaml(MASKS.format(root=root), "tiny.yaml"), ())
    (data,) = check_study(study)
    assert (data.state, data.remarks) == (
        "there",
        ("the masks are not packed and were not read: `coretune data check` reads them",),
    )
    choice = study.cells[0].dataset
    source = open_masks(study.catalog, choice.ref, choice.path)
    pack_masks(source, fingerprint(source), tmp_path / "cache")
    (data,) = check_study(study)
    assert data.state == "wrong" and data.text.startswith("no pixel of any class in the 1 masks of the test part")


def test_a_single_image_is_too_few_for_a_head_before_anything_runs(tmp_path: Path) -> None:
    root = scenes(tmp_path / "streets", {"train": 1, "val": 1, "test": 1})
    streets = (f"datasets={{streets: {{dataset: voc, path: {root}}}}}", "data={}", "objective.metric=miou")
    pooled, fcn = loaded(*streets), loaded(*streets, "segmentation.head=fcn")
    for look in (check_study, lambda study: check_data(resolve(study), tmp_path / "cache", lambda label, now: None)):
        with pytest.raises(
            RequestError, match=r"data set streets: segmentation\.head: deeplabv3 .* there is one image"
        ):
            look(pooled)
        assert look(fcn)


def test_pairs_that_are_missing_are_wrong_unless_they_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "cache"))
    root = scenes(tmp_path / "mine", {"train": 3, "val": 1, "test": 1})
    (root / "JPEGImages" / "train00.jpg").unlink()
    save_mask(root / "SegmentationClass" / "val00.png", np.zeros((2, 2), dtype=np.uint8))
    text = MASKS.format(root=root)
    study = resolve_study(parse_yaml(text, "tiny.yaml"), ())
    (data,) = check_study(study)
    assert data.state == "wrong" and data.text.startswith(f"{root}: 2 of 5 images cannot be used; repair")
    assert [line.split(": ")[0].strip() for line in data.text.splitlines()[1:]] == [
        "JPEGImages/train00.jpg",
        "SegmentationClass/val00.png",
    ]
    with pytest.raises(UnfitError, match=rf"^data set mine: {root}: 2 of 5 images cannot be used") as refused:
        resolve(study)
    assert "JPEGImages/train00.jpg: there is no such image" in str(refused.value)
    assert "SegmentationClass/val00.png: the mask is 2×2 pixels" in str(refused.value)
    with caplog.at_level("INFO", "coretune.data"):
        (note,) = (text for text in make_plan(study, ResultsStore(tmp_path / "r")).notes if "unknown" in text)
    assert "2 of 5 images cannot be used" in note and "1 of 5 images lack a file" in caplog.text
    (data,) = check_study(resolve_study(parse_yaml(text, "tiny.yaml"), ("data.corrupt=skip",)))
    assert data.state == "there" and "2 to train on, 1 to validate" in data.text
    assert data.remarks[0] == "1 of 5 images cannot be used: left out"
