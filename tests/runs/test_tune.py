from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.checkpoints import moco
from support.image_sets import pacs

import coretune as ct
from coretune.data.fingerprint import hash_file
from coretune.errors import LockedError, RequestError, RunError, StudyError
from coretune.nets.small_resnet import SmallResNet
from coretune.results.lock import NAME, DirectoryLock
from coretune.spec.catalog import load_catalog
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.run import TrainSpec

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


def test_one_model_has_one_held_out_domain(tmp_path: Path) -> None:
    data = {"held_out_domain": "all", "image_size": 8}
    with pytest.raises(RequestError, match="one model has one held-out domain; name one of art_painting, cartoon, pho"):
        ct.tune("pacs", path=str(pacs(tmp_path)), out=tmp_path / "out", **{**SMALL, "data": data})


def test_an_adversary_makes_another_run(tmp_path: Path) -> None:
    adversary = {"attack": "fgsm_rs", "eps": "8/255", "validation_limit": 20}
    clean = ct.tune("digits", method="ce", out=tmp_path, device="cpu", **SMALL)
    found = ct.tune("digits", method="ce", adversary=adversary, out=tmp_path, device="cpu", **SMALL)
    assert found.record.run_id != clean.record.run_id
    assert found.record.spec["adversary"] == {"attack": "fgsm_rs", "validation_limit": 20}
    assert found.record.spec["best_by"] == "robust_top1" and len(list(found.weights.parent.glob("evals/*.json"))) == 2
    assert len(list(found.weights.parent.glob("*.safetensors"))) == 2
    assert {"robust_top1", "fgsm_top1", "catastrophic_overfitting"} <= set(found.record.metrics["last"])
    assert "robust_top1" not in clean.record.metrics["last"]


def test_it_pretrains_first(tmp_path: Path) -> None:
    pretrain = {"method": "moco_v2", "train": {"epochs": 1, "batch": 64, "contrast_batch": 64}}
    result = ct.tune("digits", method="ce", out=tmp_path, pretrain=pretrain, device="cpu", **SMALL)
    origin = result.record.spec["backbone"]["weights"]
    assert origin.startswith("run:")
    assert (tmp_path / "runs" / origin.removeprefix("run:") / "record.json").is_file()


def test_it_starts_from_another_projects_checkpoint(tmp_path: Path) -> None:
    state = SmallResNet(SmallResNetParameters()).state_dict()
    path = tmp_path / "moco.pth.tar"
    torch.save(moco({key: tensor for key, tensor in state.items() if key != "norm.bias"}, mlp=True), path)
    result = ct.tune("digits", method="ce", out=tmp_path / "out", checkpoint=str(path), device="cpu", **SMALL)
    digest = hash_file(path)
    assert result.record.spec["backbone"]["weights"] == f"sha256:{digest}"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["checkpoints"] == {"small_resnet": digest}
    (note,) = [note for note in result.record.notes if "checkpoint" in note]
    assert note.startswith("checkpoint moco.pth.tar: layout moco_v2: 44 of 45 tensors match (97.7 %)")
    assert note.endswith("missing: norm.bias")
    log = (tmp_path / "out" / "runs" / result.record.run_id / "log.txt").read_text()
    assert note in log


def test_a_checkpoint_of_another_architecture_ends_it(tmp_path: Path) -> None:
    torch.save(SmallResNet(SmallResNetParameters(widths=(4, 8))).state_dict(), tmp_path / "w.pth")
    with pytest.raises(RunError, match=r"another architecture than small_resnet.*\nThe shapes suggest small_resnet of"):
        ct.tune("digits", out=tmp_path / "out", checkpoint=str(tmp_path / "w.pth"), device="cpu", **SMALL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "core_tunning"}, "core_tuning"),
        ({"eta": -1}, "eta"),
        ({"etta": 1}, "eta"),
        ({"train": {"lrr": 0.1}}, r"core_tuning\.train\.lrr: unknown key; did you mean lr\?"),
    ],
)
def test_wrong_names_and_values_are_refused(tmp_path: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        ct.tune("digits", out=tmp_path, **{**SMALL, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"eta": {"uniform": [0, 1]}}, {"train": {"lr": {"uniform": [0.1, 1]}}}])
def test_a_search_space_is_refused(tmp_path: Path, given: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="no search"):
        ct.tune("digits", out=tmp_path, **{**SMALL, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "key", "value"), [("dr_tune", "head_lr", 2.0), ("l2_sp", "weight_decay", 1e-3), ("bss", "lr", 0.5)]
)
def test_a_recipe_that_is_given_wins_over_the_methods_own(tmp_path: Path, method: str, key: str, value: float) -> None:
    own = load_catalog().get("method", method).train
    assert own.get(key) != value
    given = {**SMALL, "train": {**SMALL["train"], "epochs": 1, key: value}}  # type: ignore[dict-item]
    result = ct.tune("digits", method=method, out=tmp_path, device="cpu", **given)  # type: ignore[arg-type]
    spec = TrainSpec.model_validate(result.record.spec["train"])
    assert spec == TrainSpec.model_validate({**own, **given["train"]})


@pytest.mark.parametrize("path", ["/nonexistent", "~/images", "./images", "images/photos", r"C:\images"])
def test_a_path_in_place_of_a_name_is_told_how_to_give_it(tmp_path: Path, path: str) -> None:
    with pytest.raises(RequestError, match="looks like a path") as caught:
        ct.tune(path, out=tmp_path, **SMALL)
    assert f'ct.tune("folder", path={path!r}, ...)' in str(caught.value)


def test_a_data_set_that_is_wrong_is_not_also_said_to_be_for_pretraining_alone(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        ct.tune("no name", out=tmp_path, **SMALL)
    assert len(caught.value.problems) == 1 and "is no label" in str(caught.value)


def test_a_directory_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path), pytest.raises(LockedError, match="is being written by process"):
        ct.tune("digits", out=tmp_path, device="cpu", **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == []


def test_the_directory_is_held_while_it_trains_and_free_afterwards(tmp_path: Path) -> None:
    held: list[bool] = []
    ct.tune("digits", out=tmp_path, device="cpu", on_event=lambda _: held.append((tmp_path / NAME).exists()), **SMALL)
    assert held and all(held)
    assert not (tmp_path / NAME).exists()


def test_a_study_keeps_its_directory_to_itself(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: mine\n")
    (tmp_path / "manifest.json").write_text(json.dumps({"study": "mine"}))
    with pytest.raises(RequestError, match=r"holds the results of a study .* out="):
        ct.tune("digits", out=tmp_path, device="cpu", **SMALL)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"study": "mine"}
    assert not (tmp_path / "runs").exists()
