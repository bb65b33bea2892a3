"""timm's models through a stand-in of the package: what is asked of it, what is read off it, and its absence."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from coretune.errors import RequestError, UnfitError
from coretune.nets.backbone import Level
from coretune.nets.scale_shift import insert_scale_shift
from coretune.nets.timm_net import TimmBackbone
from coretune.spec.catalog import load_catalog
from coretune.spec.catalog.backbones import TimmParameters
from coretune.tuning.feature_maps import stage_ends

torch.set_num_threads(1)


class Conv(nn.Module):
    """A convolutional net as timm's are: attributes, and intermediate features."""

    num_features = 6
    pretrained_cfg: dict[str, Any] = {"input_size": (3, 48, 48), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}  # noqa: RUF012

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.Conv2d(width, 6, 3, 2, 1))
        self.scale = nn.Parameter(torch.ones(6))
        self.feature_info = [
            {"num_chs": width, "reduction": 2, "module": "stages.0"},
            {"num_chs": 6, "reduction": 4, "module": "stages.1"},
        ]

    def no_weight_decay(self) -> set[str]:
        return {"scale"}

    def forward_intermediates(self, x: Tensor, *, intermediates_only: bool, output_fmt: str) -> list[Tensor]:
        assert intermediates_only and output_fmt == "NCHW"
        first = self.stages[0](x)
        return [first, self.stages[1](first)]

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images).mean((2, 3)) * self.scale


class Fixed(nn.Module):
    """A model for images of one size, that gives no intermediate features, and widens before its classifier."""

    num_features = 3
    head_hidden_size = 5
    pretrained_cfg: dict[str, Any] = {"input_size": (3, 32, 32), "fixed_input_size": True}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(images.mean((2, 3)))
        return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What timm was asked for."""
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **arguments: Any) -> nn.Module:
        calls.append({"name": name, **arguments})
        assert arguments.pop("pretrained") is False
        assert arguments.pop("num_classes") == 0
        if name not in ("conv", "fixed"):
            raise RuntimeError(f"Unknown model ({name})")
        arguments.pop("dynamic_img_size", None)
        arguments.pop("dynamic_img_pad", None)
        if name == "conv":
            return Conv(arguments.pop("width", 4), **arguments)
        return Fixed()

    standin = ModuleType("timm")
    standin.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", standin)
    return calls


def build(**params: Any) -> TimmBackbone:
    catalog = load_catalog()
    torch.manual_seed(0)
    component = catalog.get("backbone", "timm")
    made = component.load()(catalog.parameters("backbone", catalog.ref("backbone", "timm", params)))
    assert isinstance(made, TimmBackbone)
    return made


def test_the_contract_is_read_off_the_model(asked: list[dict[str, Any]]) -> None:
    net = build(model="conv", kwargs={"width": 5})
    assert asked == [{"name": "conv", "pretrained": False, "num_classes": 0, "width": 5}]
    assert (net.features, net.input_size, net.sizes.only) == (6, 48, None)
    assert (net.mean, net.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert net.levels == (Level("net.stages.0", 5, 2), Level("net.stages.1", 6, 4))
    assert net.undecayed == {"net.scale"} <= dict(net.named_parameters()).keys()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(net(images), net.net(images))
    assert net(images[:0]).shape == (0, 6)
    for level, found in zip(net.levels, net.maps(images), strict=True):
        assert found.shape == (2, level.channels, 16 // level.stride, 16 // level.stride)
        assert torch.equal(found, net.maps(images)[net.levels.index(level)])


@pytest.mark.parametrize(("pad", "multiple"), [(False, 4), (True, 1)])
def test_a_vision_transformer_for_any_image_takes_whole_patches(
    asked: list[dict[str, Any]], pad: bool, multiple: int
) -> None:
    net = build(model="conv", kwargs={"dynamic_img_size": True, "dynamic_img_pad": pad})
    assert (net.sizes.only, net.sizes.least, net.sizes.multiple) == (None, multiple, multiple)


def test_methods_reach_into_the_model(asked: list[dict[str, Any]]) -> None:
    net = build(model="conv")
    assert stage_ends(net, 4) == ["net.stages.0", "net.stages.1"]
    images = torch.rand(2, 3, 16, 16)
    expected = net(images)
    insert_scale_shift(net, 0.0)
    torch.testing.assert_close(net(images), expected)


@pytest.mark.parametrize(
    ("kwargs", "side"), [({}, 32), ({"img_size": 64}, 64), ({"img_size": 64, "dynamic_img_size": True}, None)]
)
def test_a_model_for_one_size_says_so(asked: list[dict[str, Any]], kwargs: dict[str, Any], side: int | None) -> None:
    net = build(model="fixed", kwargs=kwargs)
    assert (net.features, net.levels, net.sizes.only) == (5, (), side)
    assert net(torch.rand(2, 3, side or 8, side or 8)).shape == (2, 5)
    if side is not None:
        with pytest.raises(RequestError, match=f"backbone Fixed takes images of {side}×{side} pixels, got 16×16"):
            net(torch.rand(1, 3, 16, 16))
    with pytest.raises(RequestError, match="TimmBackbone has no feature maps by level"):
        net.maps(torch.rand(1, 3, 32, 32))


def test_what_timm_refuses_is_said_in_its_words(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(RequestError, match=r"backbone timm: cannot make cnov: RuntimeError: Unknown model \(cnov\)"):
        build(model="cnov")
    with pytest.raises(RequestError, match=r"cannot make conv: TypeError: .*unexpected keyword argument 'depth'"):
        build(model="conv", kwargs={"depth": 3})


def test_without_timm_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UnfitError, match=r"backbone timm: .*`pip install coretune\[timm\]` installs it"):
        build(model="conv")


@pytest.mark.parametrize(
    "params",
    [
        {"model": ""},
        {"model": "hf_hub:someone/net"},
        {"model": "conv", "kwargs": {"pretrained": True}},
        {"model": "conv", "kwargs": {"num_classes": 10}},
        {"model": "conv", "kwargs": {"drop_rate": float("nan")}},
        {"model": "conv", "kwargs": {"layers": [1, 2]}},
    ],
)
def test_what_a_study_cannot_say_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TimmParameters.model_validate(params)


def test_true_stays_true_and_a_whole_number_whole() -> None:
    params = TimmParameters(model="conv", kwargs={"a": True, "b": 1, "c": 0.5, "d": "x"})
    assert [type(value) for value in params.kwargs.values()] == [bool, int, float, str]
