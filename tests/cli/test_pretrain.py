from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from coretune.errors import RequestError
from coretune_cli.pretrain import SECTIONS, settings

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

SMALL = ["digits", "--arch", "small_resnet", "--set", "arch.widths=[4, 8]", "--image-size", "8", "--batch", "200"]
PLACE = Path("results/pretrain-digits-small_resnet")


def test_it_says_where_the_weights_are_and_how_to_use_them(cli: Any) -> None:
    said = cli("pretrain", *SMALL, "--epochs", "2")
    assert said.code == 0, said.err
    (folder,) = (PLACE / "runs").iterdir()
    weights = folder / "model.safetensors"
    assert weights.is_file() and f"weights  {weights}" in said.out
    assert "loss     " in said.out and "InfoNCE" in said.out
    assert "small_resnet on 1,258 images" in said.err and "epoch 2/2  loss " in said.err and "knn_top1" in said.err
    head, _, lines = said.out.partition("to start from it, in a study file:\n")
    rows = [line.split() for line in head.splitlines()]
    assert ["epoch", "knn_top1"] in rows and any(row[:1] == ["2"] for row in rows)
    study = Path("study.yaml")
    study.write_text(f"name: s\ndatasets: [digits]\nmethods: [ce]\nsearch: none\n{lines}")
    assert cli("study", "plan", str(study)).code == 0
    again = cli("pretrain", *SMALL, "--epochs", "2", "--json")
    value = json.loads(again.out)
    assert again.code == 0 and value["recorded"] and value["run_id"] == folder.name and value["images"] == 1258
    assert [item["epoch"] for item in value["epochs"]] == [1, 2] and value["backbone"]["small_resnet"]["checkpoint"]
    assert f"run {folder.name} is recorded" in cli("pretrain", *SMALL, "--epochs", "2").err
    assert folder.name in cli("study", "show", folder.name).out


def test_a_folder_without_class_folders_is_images_without_labels(cli: Any) -> None:
    Path("photos").mkdir()
    for number in range(40):
        Image.new("RGB", (9, 9), (6 * number, 0, 0)).save(f"photos/{number}.png")
    words = ["--arch", "small_resnet", "--set", "arch.widths=[4, 8]", "--image-size", "8", "--epochs", "1"]
    said = cli("pretrain", "photos", *words, "--json")
    value = json.loads(said.out)
    assert said.code == 0 and (value["images"], value["epochs"]) == (38, []) and value["loss"] > 0
    assert "the images have no labels" in said.err and "pretrain-photos-small_resnet" in value["weights"]
    study = Path("study.yaml")
    study.write_text("name: s\ndatasets: {photos: {dataset: images}}\nmethods: [ce]\nbackbones: [small_resnet]\n")
    refused = cli("study", "plan", str(study), "--set", "datasets.photos.path=photos")
    assert refused.code == 2 and "datasets.photos: images has no labels to tune with" in refused.err


def test_ctrl_c_stores_the_state_and_the_same_command_goes_on(cli: Any) -> None:
    words = [*SMALL, "--epochs", "400", "--set", "train.evaluate_every=400"]
    process = subprocess.Popen(
        [sys.executable, "-m", "coretune_cli.main", "pretrain", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        logs = PLACE / "runs"
        while not (logs.is_dir() and any(logs.glob("*/metrics-0.jsonl"))):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted: the same command goes on"
    assert "stopping after the step or the evaluation under way; Ctrl-C again stops at once" in said
    (run,) = logs.iterdir()
    assert (run / "state").is_dir() and not (run / "record.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digit"], "unknown dataset 'digit'; did you mean digits?; there is no such path either"),
        (["digits", "--epochs", "0"], "train.epochs: must be at least 1, got 0"),
        (["digits", "--lr", "-1"], "train.lr: must be greater than 0.0, got -1.0"),
        (["digits", "--arch", "resnet19"], "arch: unknown backbone 'resnet19'; did you mean resnet18?"),
        (["digits", "--image-size", "2"], "data.image_size: must be at least 4, got 2"),
        (["digits", "--set", "train.lrr=1"], "train.lrr: unknown key; did you mean lr?"),
        (["digits", "--set", "augmnt.grey=1"], "'augmnt' begins no key here; did you mean augment?"),
        (["digits", "--set", "train"], "--set train: needs KEY=VALUE, the key as train.epochs, "),
        (["digits", "--set", "params.queue=[1"], "--set params.queue=[1: "),
        (["digits", "--lr", "1", "--set", "train.lr=2"], "--lr is said by --set too; leave one out"),
        (["digits", "--image-size", "8", "--set", "data.image_size=9"], "--image-size is said by --set too"),
        (["digits", "--device", "abacus"], "device abacus: "),
        (["digits", "--out", "file"], "file is a file, not a directory"),
    ],
    ids=" ".join,
)
def test_a_bad_request_is_answered_in_a_line(cli: Any, words: list[str], said: str) -> None:
    Path("file").write_text("")
    found = cli("pretrain", *words)
    assert found.code == 2 and found.out == ""
    assert said in found.err and len(found.err.splitlines()) <= 2


def test_settings_by_section() -> None:
    assert settings(
        ["train.lr=1e-3", "arch.stem=cifar", "augment.crop_scale=[0.1, 1]", "train.lr=2"], SECTIONS, ""
    ) == {
        "train": {"lr": 2},
        "augment": {"crop_scale": [0.1, 1]},
        "params": {},
        "arch": {"stem": "cifar"},
        "data": {},
    }
    with pytest.raises(RequestError, match="begins no key"):
        settings(["seed.x=1"], SECTIONS, "")


def test_help_names_the_options(cli: Any) -> None:
    said = cli("pretrain", "--help")
    assert said.code == 0
    for option in ("--arch", "--epochs", "--batch", "--lr", "--image-size", "--set", "--out", "--device", "--json"):
        assert option in said.out
