from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command import coretune
from support.mask_sets import boundaries, voc2012
from support.scenes import scenes

from coretune.errors import RequestError, StudyError
from coretune.spec.load import find_study, load_study
from coretune_cli.segment import STUDY, overrides


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORETUNE_DATA", raising=False)


def test_the_shipped_study_and_its_smoke() -> None:
    text = find_study(STUDY).read_text()
    head = text.split("name:")[0]
    assert all(f"# {word} " in head for word in ("shows", "launch", "needs", "takes"))
    assert "`preset: smoke` is another experiment" in head
    full, smoke = load_study(STUDY), load_study(STUDY, ["preset=smoke"])
    for study in (full, smoke):
        assert [cell.method.label for cell in study.cells] == ["ce", "core_tuning"]
        assert study.study.objective.metrics == ("miou",) and "multi_scale" in study.evaluations
        assert all(cell.dataset.segmentation is not None for cell in study.cells)
    assert smoke.study.resources.gpus == 0 and smoke.cells[0].backbone.checkpoint is None
    assert smoke.cells[0].dataset.options.held_out_limit == 16 and smoke.cells[0].method.train["epochs"] == 1


def test_options_change_the_shipped_study(tmp_path: Path) -> None:
    root = scenes(tmp_path / "streets", {"train": 2, "val": 1})
    said = overrides(None, root, "core_tuning, ce", "fcn", 3)
    study = load_study(STUDY, said)
    assert [cell.dataset.label for cell in study.cells] == ["voc", "voc"]
    assert study.cells[0].dataset.path == str(root)
    assert tuple(study.study.methods) == ("core_tuning", "ce") and study.study.baseline == "core_tuning"
    segmentation = study.cells[0].dataset.segmentation
    assert segmentation is not None and segmentation.head == "fcn" and segmentation.pixels == 2048
    assert study.study.finals.seeds == 3


def test_classes_of_your_own_are_those_that_the_masks_tell_of(tmp_path: Path) -> None:
    root = scenes(tmp_path / "streets", {"train": 2, "val": 1})
    (root / "classes.txt").unlink()
    study = load_study(STUDY, overrides("voc", root, None, None, None))
    assert study.cells[0].dataset.ref.params == {"classes": 3}


def test_voc_stands_in_where_sbd_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overrides(None, None, None, None, None) == []
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path))
    voc2012(tmp_path)
    assert overrides(None, None, None, None, None) == ['datasets={"voc2012": {}}']
    said = capsys.readouterr().err
    assert "SBD is not there: voc2012, 1,464 images" in said and f"({tmp_path}/VOCdevkit: VOC 2012 is there" in said
    boundaries(tmp_path / "VOCdevkit")
    assert overrides(None, None, None, None, None) == []


@pytest.mark.parametrize("folder", ["voc2012", "voc2012_aug", "VOCdevkit"])
def test_sbd_is_taken_wherever_it_may_lie_and_another_set_never_hides_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path))
    voc2012(tmp_path / "voc2012")
    voc2012(tmp_path / folder)
    root = boundaries(tmp_path / folder)
    if folder == "VOCdevkit":
        shutil.rmtree(tmp_path / "voc2012")
    assert overrides(None, None, None, None, None) == []
    (root / "cls" / "2010_1.mat").unlink()
    assert overrides(None, None, None, None, None) == []  # train_aug, which the study refuses
    (root / "train.txt").unlink()
    assert overrides(None, None, None, None, None) == []


def test_a_path_with_sbd_is_train_aug(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voc2012(tmp_path)
    boundaries(tmp_path)
    assert load_study(STUDY, overrides(None, tmp_path, None, None, None)).cells[0].dataset.label == "voc2012_aug"
    assert f"{tmp_path}: VOC 2012 and SBD: voc2012_aug" in capsys.readouterr().err
    assert load_study(STUDY, overrides("voc2012", tmp_path, None, None, None)).cells[0].dataset.label == "voc2012"


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--dataset cifar10: has a class per image; voc2012_aug"):
        overrides("cifar10", None, None, None, None)
    with pytest.raises(RequestError, match="--methods: needs names, separated by commas"):
        overrides(None, None, ", ", None, None)
    with pytest.raises(StudyError, match=r"scl has no form for data sets with a class per pixel"):
        load_study(STUDY, overrides("voc2012", None, "ce,scl", None, None))
    with pytest.raises(StudyError, match=r"segmentation\.head"):
        load_study(STUDY, overrides("voc2012", None, None, "unet", None))


@pytest.mark.slow
def test_a_smoke_run_ends_in_a_leaderboard(tmp_path: Path) -> None:
    root = scenes(tmp_path / "streets", {"train": 8, "val": 2, "test": 2})
    sets = ("--set", "preset=smoke", "--set", "search=none", "--set", "data.input_size=32")
    done = coretune("segment", "run", "--path", str(root), *sets, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test miou %, higher is better" in done.stdout
    with (tmp_path / "results" / STUDY / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        assert 0 <= float(row["test.miou"]) <= 100 and float(row["test.pixel_accuracy"]) > 0
        assert float(row["test.iou_traffic_light"]) >= 0 and row["multi_scale.miou"]
        assert row["validation.last.miou"]
    drawn = coretune("segment", "show", "--images", "2", folder=tmp_path)
    assert drawn.returncode == 0 and "2 test images of ce, core_tuning" in drawn.stderr, drawn.stderr
    picture = f"what it predicts, as a picture: coretune segment show results/{STUDY}"
    assert picture in done.stderr
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")
    shown = coretune("leaderboard", "show", STUDY, folder=tmp_path)
    assert "IoU traffic_light" in shown.stdout and "pixel accuracy" in shown.stdout and picture in shown.stderr
    attacked = coretune("robust", "eval", STUDY, "--attack", "pgd", folder=tmp_path)
    assert attacked.returncode == 2 and "predicts a class for each pixel" in attacked.stderr


def test_one_model_is_tuned_by_one_command(cli: Any, tmp_path: Path) -> None:
    root = scenes(tmp_path / "streets", {"train": 4, "val": 2, "test": 2}, classes=("a", "b", "c", "d", "e"))
    small = ("--set", "arch.widths=[4, 8]", "--set", "arch.stem_stride=2", "--set", "data.input_size=16")
    words = (str(root), "--arch", "small_resnet", "--epochs", "1", "--batch", "4", *small)
    said = cli("tune", *words, "--set", "segmentation.head=fcn", "--set", "segmentation.pixels=20")
    assert said.code == 0, said.err
    assert "small_resnet on 4 images" in said.err and "pixel_accuracy" in said.out
    assert any(line.split()[:1] == ["iou_a"] for line in said.out.splitlines())
    assert f"coretune segment show results/tune --path {root}" in said.err
    without = cli("segment", "show", "results/tune")
    assert without.code == 2 and "do not record where voc lies: say --path DIR" in without.err
    drawn = cli("segment", "show", "results/tune", "--path", str(root), "--images", "1")
    assert drawn.code == 0 and "predictions.png: 1 test image of core_tuning" in drawn.err
    wrong = cli("tune", *words, "--method", "scl")
    assert wrong.code == 2 and "these have: ce, core_tuning" in wrong.err


def test_masks_are_nothing_to_pre_train_on(cli: Any, tmp_path: Path) -> None:
    said = cli("pretrain", "voc", "--path", str(scenes(tmp_path / "s", {"train": 2})), "--epochs", "1")
    assert said.code == 2 and "voc: it has a class per pixel, not one per image" in said.err
