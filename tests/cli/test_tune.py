"""One model from the command line, with and without an adversary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

SMALL = [
    "digits", "--method", "ce", "--arch", "small_resnet", "--set", "arch.widths=[4, 8]", "--image-size", "8", "--batch",
    "20", "--epochs", "2", "--set", "train.contrast_batch=20", "--set", "data.labels_per_class=2", "--set",
    "data.validation=50", "--set", "data.test=50",
]  # fmt: skip


def test_a_model_is_tuned_tested_and_never_again(cli: Any) -> None:
    said = cli("tune", *SMALL)
    assert said.code == 0, said.err
    (folder,) = Path("results/tune/runs").iterdir()
    assert f"run {folder.name}: small_resnet on 20 images, in results/tune" in said.err
    assert "epoch 2/2  loss " in said.err and "robust" not in said.out + said.err
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
    assert {"test", "validation,", "weights"} <= rows.keys() and "top1" in said.out
    again = cli("tune", *SMALL, "--json")
    value = json.loads(again.out)
    assert again.code == 0 and value["run_id"] == folder.name and "epoch 2/2" not in again.err
    assert Path(value["weights"]).is_file() and 0 <= value["test"]["top1"] <= 100
    other = json.loads(cli("tune", *SMALL, "--set", "train.momentum=0.8", "--json").out)
    assert other["run_id"] != value["run_id"]


def test_a_model_is_trained_against_an_adversary_and_attacked(cli: Any) -> None:
    words = ["--set", "adversary.validation_limit=20", "--eps", "4/255"]
    said = cli("robust", "train", *SMALL, *words, "--attack", "fgsm_rs")
    assert said.code == 0, said.err
    assert "adversary: fgsm_rs L∞ 4/255, 1 × 5/255, features adversarial" in said.err
    assert "robust_top1" in said.out and "fgsm_top1" in said.out
    (folder,) = Path("results/robust-train/runs").iterdir()
    hint = f"coretune robust eval results/robust-train --run {folder.name} --attack "
    assert hint in said.err
    words = ["--eps", "1/255", "--limit", "10", "--steps", "2", "--median", "0", "--json"]
    attacked = cli("robust", "eval", "results/robust-train", "--run", folder.name, "--attack", "pgd", *words)
    assert attacked.code == 0, attacked.err
    assert "robust_top1" in attacked.out


@pytest.mark.parametrize(
    "words, said",
    [
        (["tune", "digits", "--epochs", "2", "--set", "train.epochs=3"], "--epochs is said by --set too"),
        (["tune", "digits", "--image-size", "8", "--set", "data.image_size=9"], "--image-size is said by --set too"),
        (["tune", "digits", "--set", "lr=3"], "the key as train.momentum, method.eta or data.labels_per_class"),
        (["tune", "digits", "--set", "methd.eta=3"], "'methd' begins no key here; did you mean method?"),
        (["tune", "digits", "--set", "method.etta=3"], "etta: unknown key; did you mean eta?"),
        (["tune", "digits", "--set", "adversary.eps=8", "--set", "adversary.attack=pgd"], '8 grey levels are "8/255"'),
        (["tune", "nowhere"], "nowhere"),
        (["robust", "train", "digits", "--eps", "8"], '8 grey levels are "8/255"'),
        (["robust", "train", "digits", "--set", "adversary.eps=1/255"], "say it by --eps"),
        (["robust", "train", "digits", "--attack", "trades", "--features", "both"], "got both, need clean"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(cli: Any, words: list[str], said: str) -> None:
    found = cli(*words)
    assert found.code == 2 and said in found.err, found.err
    assert not list(Path().glob("results/*/runs/*"))
