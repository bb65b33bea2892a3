from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from coretune.errors import StudyError
from coretune.segment.fit import check_backbones
from coretune.spec.catalog import load_catalog
from coretune.spec.catalog.backbones import TORCHVISION
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.yamlfile import parse_yaml

STUDY = """\
name: streets
datasets:
  mine: {dataset: voc, path: /data/mine}
backbones: [resnet18]
methods: [ce, core_tuning]
segmentation:
  auxiliary: 0
objective: {metric: miou}
search: none
"""
VITS = {name for module, _, nets in TORCHVISION if module == "vit" for name, *_ in nets}
SWINS = {"swin_t", "swin_s", "swin_b"}


def loaded(*sets: str, folder: Path = Path("/")) -> LoadedStudy:
    return resolve_study(parse_yaml(STUDY, "streets.yaml"), sets, folder=folder)


def problems(study: LoadedStudy) -> dict[str, str]:
    with pytest.raises(StudyError) as caught:
        check_backbones(study, study.cells)
    return {problem.key: str(problem) for problem in caught.value.problems}


@pytest.mark.parametrize("stride", [8, 16])
def test_all_backbones_of_the_catalog_are_told_apart_at_once(stride: int) -> None:
    names = [name for name in load_catalog().names("backbone") if name != "timm"]
    found = problems(loaded(f"backbones={names}", f"segmentation.output_stride={stride}"))
    wrong = SWINS | (VITS if stride == 8 else set())
    assert found.keys() == {f"backbones.{name}" for name in wrong}
    for key, text in found.items():
        cure = "segmentation.output_stride: 16 takes it; " if key.removeprefix("backbones.") in VITS else ""
        assert f"too coarse and cannot be made finer; {cure}segmentation takes resnet18" in text


def test_heads_and_sizes_are_said_where_they_stand() -> None:
    sets = ("backbones=[vit_b_16, resnet18]", "segmentation.auxiliary=0.4", "segmentation.head=lraspp")
    found = problems(loaded(*sets, "datasets.mine.input_size=200"))
    assert found.keys() == {"segmentation.auxiliary", "segmentation.head", "datasets.mine.input_size"}
    assert "lraspp needs a map of twice the resolution of the last; strides: 16" in found["segmentation.head"]
    assert "multiples of 16, got 200×200" in found["datasets.mine.input_size"]
    assert problems(loaded("backbones=[vit_b_16]", "data.input_size=200")).keys() == {"data.input_size"}


def test_the_line_of_a_backbone_is_said() -> None:
    text = STUDY.replace("backbones: [resnet18]", "backbones:\n  fine: {arch: resnet18}\n  coarse: {arch: swin_t}")
    study = resolve_study(parse_yaml(text, "streets.yaml"), folder=Path("/"))
    assert problems(study)["backbones.coarse"].startswith("streets.yaml:6: backbones.coarse: backbone swin_t: ")


def test_only_the_cells_that_are_asked_about_are_looked_at() -> None:
    study = loaded("backbones=[swin_t, resnet18]")
    check_backbones(study, [cell for cell in study.cells if cell.backbone.label == "resnet18"])


def test_a_package_that_is_not_here_may_be_where_the_runs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    study = loaded("backbones={timm: {params: {model: resnet18}}}")
    check_backbones(study, study.cells)


PLUGIN = """
import torch
from coretune.nets.backbone import Backbone, Level
from coretune.spec.components import Component

class Counted(Backbone):
    levels = (Level("last", 4, {stride}),)

    def __init__(self, params):
        super().__init__()
        self.features = int(torch.ones(4).sum())
        self.last = torch.nn.Conv2d(3, self.features, {stride}, {stride})

COMPONENTS = [Component(kind="backbone", name="counted", target=":Counted", summary="reads a number")]
"""


@pytest.mark.parametrize("stride", [16, 32])
def test_a_net_that_reads_numbers_is_made_with_them(stride: int, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(PLUGIN.replace("{stride}", str(stride)))
    before: Any = torch.get_rng_state()
    study = loaded("plugins=[./net.py]", "backbones=[counted]", folder=tmp_path)
    if stride == 16:
        check_backbones(study, study.cells)
    else:
        assert problems(study).keys() == {"backbones.counted"}
    assert torch.equal(torch.get_rng_state(), before)
