"""What every backbone of the catalog promises: the whole contract in small, shapes and keys of the large ones."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from coretune.errors import RequestError
from coretune.nets.backbone import Backbone
from coretune.nets.checkpoints.vit import resized_positions
from coretune.nets.scale_shift import ScaleShift, insert_scale_shift
from coretune.spec.catalog import load_catalog
from coretune.spec.catalog.backbones import TORCHVISION
from coretune.tuning.feature_maps import stage_ends

torch.set_num_threads(1)

CATALOG = load_catalog()
NAMES = [name for name in CATALOG.names("backbone") if name != "timm"]
"""All but timm's, which needs that package; a stand-in of it is held to the same in `test_timm_net.py`."""

SMALL: dict[str, tuple[str, dict[str, Any], int]] = {
    "small_resnet": ("small_resnet", {"widths": [4, 8]}, 16),
    "small_resnet with a strided stem": ("small_resnet", {"widths": [4, 8], "stem_stride": 2}, 16),
    "resnet18": ("resnet18", {}, 64),
    "resnet18 for small images": ("resnet18", {"stem": "cifar"}, 16),
    "cifar_resnet": ("cifar_resnet", {}, 16),
    "cifar_resnet with projections": ("cifar_resnet", {"shortcut": "B"}, 16),
    "vit_b_16": ("vit_b_16", {"image_size": 32}, 32),
    "swin_t": ("swin_t", {}, 64),
    "convnext_tiny": ("convnext_tiny", {}, 64),
}
"""What is cheap enough to run: name, parameters, side of the images."""

WIDTHS = {name: width for _, _, nets in TORCHVISION for name, _, width, _ in nets}
RENAMED = (("features.", "stages."), ("classifier.0.", "norm."))
"""torchvision's keys, and ours where they differ."""

KEPT: dict[str, Backbone] = {}


def build(name: str, params: dict[str, Any] | None = None, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    ref = CATALOG.ref("backbone", name, params)
    made = CATALOG.get("backbone", name).load()(CATALOG.parameters("backbone", ref))
    assert isinstance(made, Backbone)
    return made


def small(case: str) -> tuple[Backbone, Tensor]:
    """A net in evaluation mode that a test leaves as it is, and three images."""
    name, params, side = SMALL[case]
    if case not in KEPT:
        KEPT[case] = build(name, params).eval()
    return KEPT[case], torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))


def check_maps(net: Backbone, maps: tuple[Tensor, ...], images: Tensor) -> None:
    assert len(maps) == len(net.levels) > 0
    n, _, height, width = images.shape
    for level, found in zip(net.levels, maps, strict=True):
        assert found.shape == (n, level.channels, height // level.stride, width // level.stride), level
        assert isinstance(net.get_submodule(level.name), nn.Module)
    strides = [level.stride for level in net.levels]
    assert strides == sorted(strides)


@pytest.mark.parametrize("name", NAMES)
def test_width_levels_and_names_of_all(name: str) -> None:
    """On torch's meta device, which computes shapes alone."""
    with torch.device("meta"):
        net = build(name).eval()
        images = torch.rand(2, 3, net.input_size, net.input_size)
        features = net(images)
        maps = net.maps(images)
    assert features.shape == (2, net.features)
    assert f"{net.features}-d features" in CATALOG.get("backbone", name).summary
    check_maps(net, maps, images)
    assert net.sizes.check(name, net.input_size, net.input_size) is None
    assert len(net.mean) == len(net.std) == 3
    known = dict(net.named_parameters())
    assert net.undecayed <= known.keys()
    tables = {key for key in known if any(word in key for word in ("position", "pos_", "token", "layer_scale"))}
    assert net.undecayed == tables


@pytest.mark.parametrize("name", WIDTHS)
def test_keys_and_shapes_are_torchvision_s_without_the_classifier(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = build(name).state_dict(), models.get_model(name, weights=None).state_dict()
    expected = {}
    for key, value in theirs.items():
        for old, new in RENAMED:
            key = new + key.removeprefix(old) if key.startswith(old) else key
        if not key.startswith(("fc.", "head.", "heads.", "classifier.")):
            expected[key] = value.shape
    assert {key: value.shape for key, value in ours.items()} == expected


@pytest.mark.parametrize("case", ["vit_b_16", "swin_t", "convnext_tiny"])
def test_features_are_what_torchvision_feeds_its_classifier(case: str) -> None:
    net, images = small(case)
    name, params, _ = SMALL[case]
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None, **params).eval()
    fed: list[Tensor] = []
    last = [module for module in theirs.modules() if isinstance(module, nn.Linear)][-1]
    last.register_forward_hook(lambda module, inputs, output: fed.append(inputs[0]))
    with torch.no_grad():
        theirs(images)
        torch.testing.assert_close(net(images), fed[0])


@pytest.mark.parametrize("case", SMALL)
def test_features_and_maps_of_images(case: str) -> None:
    net, images = small(case)
    with torch.no_grad():
        features, maps = net(images), net.maps(images)
    assert features.shape == (3, net.features) and features.isfinite().all() and features.std() > 0
    check_maps(net, maps, images)
    assert all(found.isfinite().all() and found.std() > 0 for found in maps)


@torch.no_grad()
def test_a_vision_transformer_has_maps_of_images_of_other_sizes() -> None:
    """They are those of a net whose position embedding was interpolated for that size once and for all."""
    net, _ = small("vit_b_16")
    images = torch.rand(2, 3, 48, 48)
    other = build("vit_b_16", {"image_size": 48}).eval()
    state = net.state_dict()
    state["encoder.pos_embedding"] = resized_positions(state["encoder.pos_embedding"], 1 + 9)
    other.load_state_dict(state, strict=True)
    torch.testing.assert_close(net.maps(images), other.maps(images))
    assert net.maps(torch.rand(1, 3, 32, 64))[0].shape == (1, 768, 2, 4)
    with pytest.raises(RequestError, match=r"of at least 16 pixels that are multiples of 16, got 32×40"):
        net.maps(torch.rand(1, 3, 32, 40))


@pytest.mark.parametrize("case", SMALL)
def test_an_image_does_not_depend_on_its_batch_and_a_batch_may_be_empty(case: str) -> None:
    net, images = small(case)
    with torch.no_grad():
        together = net(images)
        torch.testing.assert_close(net(images[1:2]), together[1:2], atol=1e-5, rtol=1e-4)
        assert net(images[:0]).shape == (0, net.features)


@pytest.mark.parametrize("case", SMALL)
def test_a_gradient_reaches_every_parameter(case: str) -> None:
    net, images = small(case)
    trained = copy.deepcopy(net).train()
    torch.manual_seed(2)
    features = trained(images)
    (features * torch.randn(features.shape)).sum().backward()
    without = [
        name for name, parameter in trained.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert not without
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("case", SMALL)
def test_copies_and_stored_weights_give_the_same_features(case: str) -> None:
    net, images = small(case)
    name, params, _ = SMALL[case]
    other = build(name, params, seed=1).eval()
    with torch.no_grad():
        expected = net(images)
        assert torch.equal(copy.deepcopy(net)(images), expected)
        assert not torch.equal(other(images), expected)
        other.load_state_dict(net.state_dict(), strict=True)
        assert torch.equal(other(images), expected)


@pytest.mark.parametrize("case", SMALL)
def test_the_memory_format_changes_nothing(case: str) -> None:
    net, images = small(case)
    other: nn.Module = copy.deepcopy(net).to(memory_format=torch.channels_last)
    with torch.no_grad():
        found = other(images.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, net(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", SMALL)
def test_delta_has_the_stages_or_says_why_not(case: str) -> None:
    net, images = small(case)
    if case in ("vit_b_16", "swin_t"):
        with pytest.raises(RequestError, match=r"has no stages of feature maps .* it works on tokens"):
            stage_ends(net, 4)
        return
    shapes: list[torch.Size] = []
    net = copy.deepcopy(net)
    for name in stage_ends(net, 4):
        net.get_submodule(name).register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        net(images)
    side = images.shape[-1]
    assert shapes == [(3, level.channels, side // level.stride, side // level.stride) for level in net.levels]


@pytest.mark.parametrize("case", SMALL)
def test_scales_and_shifts_go_after_the_layers_or_it_says_why_not(case: str) -> None:
    net, images = copy.deepcopy(small(case)[0]), small(case)[1]
    if case == "vit_b_16":
        with pytest.raises(RequestError, match="MultiheadAttention reads its layers' weights"):
            insert_scale_shift(net, 0.0)
        return
    with torch.no_grad():
        expected = net(images)
    insert_scale_shift(net, 0.0)
    features = net(images)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    (features * torch.randn(features.shape)).sum().backward()
    parts = [part for part in net.modules() if isinstance(part, ScaleShift)]
    assert all(part.scale.grad is not None and part.scale.grad.any() for part in parts)
    assert all(part.shift.grad is not None and part.shift.grad.any() for part in parts)


@pytest.mark.parametrize(
    ("name", "sides", "message"),
    [
        (
            "vit_b_16",
            (96, 96),
            "backbone vit_b_16 takes images of 224×224 pixels, got 96×96; data.image_size sets them",
        ),
        ("vit_b_16", (224, 240), "takes images of 224×224 pixels, got 224×240"),
        ("swin_t", (96, 98), "swin_t takes images with sides of at least 32 pixels that are multiples of 4, got 96×98"),
        ("swin_t", (16, 16), "of at least 32 pixels that are multiples of 4, got 16×16"),
        ("convnext_tiny", (32, 28), "convnext_tiny takes images with sides of at least 32 pixels, got 32×28"),
    ],
)
def test_images_of_wrong_sizes_are_refused(name: str, sides: tuple[int, int], message: str) -> None:
    with torch.device("meta"):
        net, images = build(name), torch.rand(1, 3, *sides)
        for call in (net,) if net.map_sizes else (net, net.maps):
            with pytest.raises(RequestError, match=message):
                call(images)


@pytest.mark.parametrize("name", ["swin_t", "convnext_tiny", "resnet18", "resnet20"])
def test_other_sizes_need_no_other_weights(name: str) -> None:
    with torch.device("meta"):
        net = build(name)
        for sides in ((32, 32), (96, 64), (100, 132)):
            images = torch.rand(2, 3, *sides)
            assert net(images).shape == (2, net.features)
            for level, found in zip(net.levels, net.maps(images), strict=True):
                for size, side in zip(found.shape[2:], sides, strict=True):
                    assert size in (side // level.stride, math.ceil(side / level.stride))
