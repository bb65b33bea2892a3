"""One backbone, pre-trained in this process: done once, resumable, of use as a checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import coretune as ct
from coretune.errors import LockedError, RequestError, StudyError, UnfitError
from coretune.nets.small_resnet import SmallResNet
from coretune.nets.weights import load_encoder, load_weights
from coretune.results.lock import DirectoryLock
from coretune.results.store import ResultsStore
from coretune.runs.pretrain import default_place
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.run import RunSpec
from coretune.tuning.loop import EpochReport, Tick

torch.set_num_threads(1)

SMALL: dict[str, Any] = {
    "backbone": "small_resnet",
    "backbone_params": {"widths": [4, 8]},
    "data": {"image_size": 8},
    "train": {"epochs": 2, "batch": 200},
    "device": "cpu",
}


def test_a_backbone_is_pretrained_once_and_of_use(tmp_path: Path) -> None:
    said: list[Any] = []
    options = {**SMALL, "out": tmp_path / "pre", "on_start": lambda *about: said.append(about)}
    first = ct.pretrain_backbone("digits", **options)
    (spec, images, place) = said.pop()
    assert (spec.run_id, images, place) == (first.record.run_id, first.images, tmp_path / "pre")
    assert first.images == 1258 and not first.recorded and first.weights.is_file()
    assert spec.method.params == {"momentum": 0.999, "queue": 512}, "what is the paper's; half of the images at most"
    assert spec.train.bn_group == 32 and spec.train.lr == pytest.approx(0.03 * 200 / 256)
    assert sorted(first.epochs) == [1, 2] and all(0 <= found["knn_top1"] <= 100 for found in first.epochs.values())
    assert first.record.metrics["last"]["knn_top1"] == first.epochs[2]["knn_top1"]
    second = ct.pretrain_backbone("digits", **options)
    assert second.recorded and second.record == first.record and not said
    study = tmp_path / "study.yaml"
    study.write_text(f"name: s\ndatasets: [digits]\nmethods: [ce]\nbackbones: {json.dumps(first.backbone)}\n")
    (cell,) = ct.load_study(study).cells
    encoder = SmallResNet(SmallResNetParameters.model_validate(cell.backbone.arch.params))
    assert cell.backbone.checkpoint == str(first.weights) and load_encoder(encoder, first.weights) is None
    trained = load_weights(first.weights)[0]
    assert all(torch.equal(value, trained[f"encoder.{name}"]) for name, value in encoder.state_dict().items())


def test_without_a_word_small_images_get_a_net_for_small_images() -> None:
    seen: list[RunSpec] = []

    class Stop(Exception):
        pass

    def stop(spec: RunSpec, images: int, place: Path) -> None:
        seen.append(spec)
        raise Stop

    for options in ({}, {"data": {"image_size": 80}}, {"augment": {"grey": 0.5}, "seed": 4, "queue": 64}):
        with pytest.raises(Stop):
            ct.pretrain_backbone("digits", on_start=stop, device="cpu", **options)
    small, large, said = seen
    assert (small.backbone.arch.name, small.backbone.arch.params) == ("resnet18", {"stem": "cifar"})
    assert (large.backbone.arch.name, large.backbone.arch.params) == ("resnet50", {})
    assert (small.data.augment.blur, large.data.augment.blur) == (0, 0.5)
    assert small.data.augment.rotation == 0, "the data set's own augmentation has no part in the recipe"
    assert (said.data.augment.grey, said.seed, said.method.params["queue"]) == (0.5, 4, 64)
    assert small.train.epochs == 200 and small.data.labels_per_class is None


def test_a_run_that_a_neighbour_has_is_taken_over(tmp_path: Path) -> None:
    first = ct.pretrain_backbone("digits", out=tmp_path / "one", **SMALL)
    second = ct.pretrain_backbone("digits", out=tmp_path / "two", **SMALL)
    assert second.recorded and second.weights.parent.parent.parent == tmp_path / "two"
    assert second.weights.read_bytes() == first.weights.read_bytes()


def test_weights_that_are_gone_are_made_again(tmp_path: Path) -> None:
    first = ct.pretrain_backbone("digits", out=tmp_path, **SMALL)
    before, _ = load_weights(first.weights)
    first.weights.unlink()
    again = ct.pretrain_backbone("digits", out=tmp_path, **SMALL)
    assert not again.recorded
    after, _ = load_weights(again.weights)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_stores_the_state_and_the_same_call_goes_on(tmp_path: Path, number: int) -> None:
    whole = ct.pretrain_backbone("digits", out=tmp_path / "a" / "whole", **SMALL)
    events: list[Tick | EpochReport] = []

    def interrupt(event: Tick | EpochReport) -> None:
        events.append(event)
        if isinstance(event, EpochReport) and event.epoch == 1 and len(events) < 99:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        ct.pretrain_backbone("digits", out=tmp_path / "b" / "halves", on_event=interrupt, **SMALL)
    run_id = whole.record.run_id
    store = ResultsStore(tmp_path / "b" / "halves")
    assert store.record(run_id) is None and store.state_folder(run_id).is_dir()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    halves = ct.pretrain_backbone("digits", out=tmp_path / "b" / "halves", **SMALL)
    assert "resume at epoch 2" in (store.run_folder(run_id) / "log.txt").read_text()
    one, other = load_weights(whole.weights)[0], load_weights(halves.weights)[0]
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert halves.epochs.keys() == whole.epochs.keys() and not store.state_folder(run_id).exists()
    assert [found["knn_top1"] for found in halves.epochs.values()] == [
        found["knn_top1"] for found in whole.epochs.values()
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"train": {"lrr": 1}}, r"^train\.lrr: unknown key; did you mean lr\?$"),
        ({"train": {"lr": -1}}, r"^train\.lr: must be greater than 0"),
        ({"augment": {"gray": 1}}, r"^augment\.gray: unknown key; did you mean grey\?$"),
        ({"queue": 0}, r"^params\.queue: must be at least 1, got 0$"),
        ({"queu": 8}, r"^params\.queu: unknown key; did you mean queue\?$"),
        ({"backbone": "small_resnett"}, r"^arch: unknown backbone 'small_resnett'; did you mean small_resnet\?$"),
        ({"backbone_params": {"width": 3}}, r"^arch\.width: unknown key; did you mean widths\?$"),
        ({"data": {"validatoin": 3}}, r"^data\.validatoin: unknown key; did you mean validation\?$"),
        ({"data": {"image_size": "big"}}, r"^data\.image_size: must be a whole number"),
        ({"seed": -1}, r"^seed: must be at least 0, got -1$"),
    ],
)
def test_wrong_names_and_values_are_refused_by_their_names_here(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(StudyError, match=said):
        ct.pretrain_backbone("digits", out=tmp_path, **{**SMALL, **arguments})


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"unknown dataset 'digit'; did you mean digits\?"):
        ct.pretrain_backbone("digit", out=tmp_path, **SMALL)
    with pytest.raises(RequestError, match="device abacus: "):
        ct.pretrain_backbone("digits", out=tmp_path, **{**SMALL, "device": "abacus"})
    with pytest.raises(UnfitError, match="is no folder"):
        ct.pretrain_backbone("folder", path=str(tmp_path / "absent"), out=tmp_path, **SMALL)
    with DirectoryLock(tmp_path), pytest.raises(LockedError, match="is being written by process"):
        ct.pretrain_backbone("digits", out=tmp_path, **SMALL)
    (tmp_path / "study.yaml").write_text("name: mine\n")
    with pytest.raises(RequestError, match="holds the results of a study"):
        ct.pretrain_backbone("digits", out=tmp_path, **SMALL)


def test_its_place_is_named_by_the_images_and_the_net() -> None:
    assert default_place("cifar10", None, "resnet18") == Path("results/pretrain-cifar10-resnet18")
    assert default_place("folder", "~/my images/", "resnet50") == Path("results/pretrain-my_images-resnet50")
    assert default_place("manifest", "a/list.csv", "vit_b_16") == Path("results/pretrain-list-vit_b_16")


def test_it_needs_no_ray() -> None:
    program = "import sys, coretune; coretune.pretrain_backbone; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
