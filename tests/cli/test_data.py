from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from support import image_sets as sets
from support import mask_sets

from coretune_cli.main import main


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path / "data"))


def test_list(cli: Any, tmp_path: Path) -> None:
    sets.pacs(tmp_path / "data")
    said = cli("data", "list")
    assert (said.code, said.err) == (0, "")
    rows = {line.split()[0]: line for line in said.out.splitlines()}
    assert "9,991" in rows["pacs"] and "$CORETUNE_DATA/PACS" in rows["pacs"]
    assert "no (--download)" in rows["dtd"] and "at its path" in rows["folder"] and "needs no files" in rows["digits"]
    assert "--download" not in rows["cars"]


def test_list_as_json(cli: Any, tmp_path: Path) -> None:
    value = json.loads(cli("data", "list", "--json").out)
    assert value["root"] == str(tmp_path / "data")
    found = {item["name"]: item for item in value["datasets"]}
    assert (found["cifar10"]["images"], found["cifar10"]["classes"], found["cifar10"]["image_size"]) == (60_000, 10, 32)
    assert found["pets"]["metrics"] == ["top1", "mean_per_class"]
    assert found["dtd"]["counts"] == {"train": 1880, "val": 1880, "test": 1880}
    assert all(item["licence"] and item["citation"] for item in found.values() if item["needs"] == "files")


def test_list_without_a_root(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORETUNE_DATA")
    assert "CORETUNE_DATA is not set" in cli("data", "list").err


def test_check_a_folder(cli: Any, tmp_path: Path) -> None:
    sets.folders(tmp_path / "birds", ("crow", "heron"), each=2)
    said = cli("data", "check", "birds")
    assert said.code == 0, said.err
    assert "folder in birds: 8 images, 2 classes" in said.out
    assert "train 4, test 4" in said.out and "nothing is wrong" in said.out
    (tmp_path / "birds/test/crow/0.png").write_bytes((tmp_path / "birds/train/crow/0.png").read_bytes())
    said = cli("data", "check", "birds")
    assert said.code == 1
    assert "! 1 images stand in several parts" in said.out
    assert "test/crow/0.png = train/crow/0.png" in said.out.splitlines()[-1]
    value = json.loads(cli("data", "check", "birds", "--json").out)
    assert value["across"] == [["test/crow/0.png", "train/crow/0.png"]]
    assert value["path"] == "birds"


def test_check_a_named_set_at_a_path(cli: Any, tmp_path: Path) -> None:
    sets.pets(tmp_path / "mine")
    said = cli("data", "check", "pets", "--path", "mine")
    assert said.code == 1
    assert "! train: 37 images, expected 3,680" in said.out
    assert cli("data", "check", "cifar100").code == 3


def test_what_a_path_is(cli: Any, tmp_path: Path) -> None:
    sets.parquet(tmp_path / "hub", 3)
    assert json.loads(cli("data", "check", "hub/", "--json").out)["name"] == "parquet"
    sets.folders(tmp_path / "birds", ("crow", "heron"))
    (tmp_path / "birds.csv").write_text("path,label\nbirds/train/crow/0.png,crow\nbirds/train/heron/0.png,heron\n")
    assert json.loads(cli("data", "check", "birds.csv", "--json").out)["name"] == "manifest"
    said = cli("data", "check", "pcas")
    assert (said.code, said.out) == (2, "")
    assert "unknown dataset 'pcas'; did you mean pacs?; there is no such path either" in said.err
    assert cli("data", "check", "hub:some/birds").code == 3


def test_pack(cli: Any, tmp_path: Path) -> None:
    sets.folders(tmp_path / "birds", ("crow", "heron"))
    said = cli("data", "pack", "birds", "--size", "12")
    assert said.code == 0
    assert "folder: 4 images of 12 pixels" in said.err and "; packed" in said.err
    folder = Path(said.out.strip())
    assert folder.is_relative_to(tmp_path / "cache" / "packs")
    assert (folder / "images.u8").stat().st_size == 4 * 12 * 12 * 3
    value = json.loads(cli("data", "pack", "birds", "--size", "12", "--json").out)
    assert (value["path"], value["new"], value["image_size"]) == (str(folder), False, 12)
    assert value["bytes"] >= 4 * 12 * 12 * 3


def test_images_that_cannot_be_read_are_told(cli: Any, tmp_path: Path) -> None:
    sets.folders(tmp_path / "birds", ("crow", "heron"), each=8)
    for i in range(6):
        for part in ("train", "test"):
            (tmp_path / f"birds/{part}/crow/{i}.png").write_bytes(b"")
    said = cli("data", "pack", "birds", "--size", "12")
    assert said.code == 1 and Path(said.out.strip()).is_dir()
    assert "12 of 32 images cannot be read: a study refuses them, or skips them (data.corrupt)" in said.err
    assert said.err.count("an empty file") == 10 and "and 2 more, which `coretune data check` lists" in said.err
    again = cli("data", "pack", "birds", "--size", "12", "--json")
    assert again.code == 1 and len(json.loads(again.out)["unreadable"]) == 12
    said = cli("data", "check", "birds")
    assert said.code == 1 and said.out.count("an empty file") == 12
    assert "! 12 of 32 images cannot be read" in said.out and "with `corrupt: skip` below `data`" in said.out


def test_a_set_that_is_not_there_is_fetched_on_request(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stand_in(root: str, download: bool) -> None:
        asked.append(root)
        sets.dtd(Path(root))

    monkeypatch.setattr(torchvision.datasets, "DTD", stand_in)
    assert cli("data", "check", "dtd").code == 3
    assert asked == []
    for _ in range(2):
        said = cli("data", "pack", "dtd", "--download", "--size", "8")
        assert said.code == 0, said.err
    assert asked == [str(tmp_path / "data" / "dtd")]
    said = cli("data", "pack", "dtd", "--path", "elsewhere", "--download", "--size", "8")
    assert said.code == 0 and "downloading dtd to elsewhere" in said.err
    monkeypatch.delenv("CORETUNE_DATA")
    said = cli("data", "check", "dtd", "--download")
    assert said.code == 2 and "--download needs a place: set CORETUNE_DATA, or say --path DIR" in said.err
    assert main(["data", "check", "cars", "--path", "none", "--download"]) == 2


def test_images_with_masks(cli: Any, tmp_path: Path) -> None:
    mask_sets.voc(tmp_path / "mine", {"train": ["a", "b"], "val": ["c"]}, classes=3)
    said = cli("data", "check", "mine")
    assert said.code == 0, said.err
    assert "voc in mine: 3 images, 3 classes" in said.out and "train 2, val 1" in said.out
    assert "of the pixels are void" in said.out and "share of pixels" in said.out and "nothing is wrong" in said.out
    value = json.loads(cli("data", "check", "mine", "--json").out)
    assert list(value["classes"]) == ["0", "1", "2"] and value["classes"]["0"]["images"] == {"train": 2, "val": 1}
    assert 0.1 < value["void"] < 0.2
    assert json.loads(cli("data", "check", "voc", "--path", "mine", "--json").out) == value
    said = cli("data", "pack", "mine")
    assert said.code == 0 and "voc: 3 images with masks, at their own size" in said.err
    folder = Path(said.out.strip())
    assert (folder / "images.u8").stat().st_size == (6 + 7 + 8) * 9 * 4
    value = json.loads(cli("data", "pack", "mine", "--json").out)
    assert (value["path"], value["new"], value["image_size"]) == (str(folder), False, None)
    said = cli("data", "pack", "mine", "--size", "32")
    assert said.code == 2 and "--size 32: images with masks are packed at their own size; leave it out" in said.err
    (tmp_path / "mine" / "SegmentationClass" / "a.png").write_bytes(b"")
    said = cli("data", "pack", "mine")
    assert said.code == 1 and "SegmentationClass/a.png: an empty file" in said.err
    assert "1 of 3 images cannot be used: a study refuses them, or skips them (data.corrupt)" in said.err
    said = cli("data", "check", "mine")
    assert said.code == 1 and "! 1 of 3 images cannot be used" in said.out
    assert "  SegmentationClass/a.png: an empty file" in said.out
    names = [f"x{number}" for number in range(30)]
    (tmp_path / "mine" / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(["b", *names]))
    (tmp_path / "mine" / "classes.txt").write_text("sky\nroad\ncar\n")
    said = cli("data", "check", "mine")
    assert "! 30 of 32 images cannot be used" in said.out and all(
        f"JPEGImages/{name}.jpg" in said.out for name in names
    )


def test_a_stray_value_in_masks_is_told(cli: Any, tmp_path: Path) -> None:
    mask_sets.voc(tmp_path / "mine", {"train": ["a", "b"], "val": ["c"]}, classes=3)
    mask_sets.save_mask(tmp_path / "mine" / "SegmentationClass" / "a.png", np.full((6, 9), 254, dtype=np.uint8))
    said = cli("data", "check", "mine")
    assert "mine: 255 classes by the values of the masks, of which 4 occur, up to 254" in said.err
    assert "of 255 classes, 4 occur: 0, 1, 2, 254; 254 is in a single image: is it a class?" in said.out


def test_voc_by_its_name(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(root: str, download: bool) -> None:
        mask_sets.voc2012(Path(root))

    monkeypatch.setattr(torchvision.datasets, "VOCSegmentation", stand_in)
    said = cli("data", "check", "voc2012", "--download")
    assert said.code == 1, said.err
    assert "! train: 3 images, expected 1,464" in said.out and "aeroplane" in said.out
    rows = {item["name"]: item for item in json.loads(cli("data", "list", "--json").out)["datasets"]}
    assert (rows["voc2012"]["labels"], rows["voc2012"]["metrics"]) == ("pixel", ["miou"])
    assert rows["voc2012"]["image_size"] is None and rows["voc2012_aug"]["counts"]["train"] == 10_582


def test_images_are_not_classified_by_masks(cli: Any, tmp_path: Path) -> None:
    mask_sets.voc2012(tmp_path)
    (tmp_path / "one.yaml").write_text("name: one\ndatasets: [voc2012]\nbackbones: [resnet18]\nmethods: [ce]\n")
    said = cli("study", "plan", "one.yaml")
    assert said.code == 2 and "objective.metric: voc2012 has a class per pixel, judged by miou" in said.err
    said = cli("pretrain", "voc2012", "--path", str(tmp_path), "--epochs", "1")
    assert said.code == 2 and "a class per pixel" in said.err
