from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from coretune.errors import RequestError
from coretune.nets.backbone import Backbone, Level, LevelledBackbone, Sizes
from coretune.nets.dilation import dilate
from coretune.nets.small_resnet import SmallResNet
from coretune.nets.torchvision_vit import vit_b_16
from coretune.spec.catalog import load_catalog
from coretune.spec.catalog.backbones import SmallResNetParameters, VisionTransformerParameters


def backbone(name: str, **params: object) -> LevelledBackbone:
    torch.manual_seed(0)
    catalog = load_catalog()
    made = catalog.get("backbone", name).load()(catalog.parameters("backbone", catalog.ref("backbone", name, params)))
    for module in made.modules():  # statistics that are none of a fresh net
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return made.eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "convnext_tiny"])
@pytest.mark.parametrize("stride", [8, 16])
@torch.no_grad()
def test_the_features_that_there_were_stand_among_the_new_ones(name: str, stride: int) -> None:
    net = backbone(name)
    finer = copy.deepcopy(net)
    levels = dilate(finer, stride, name)
    images = torch.randn(1, 3, 64, 64)
    before, after = net.maps(images), finer.maps(images)
    assert [level.stride for level in levels] == [min(4 * 2**i, stride) for i in range(4)]
    for old, new, level in zip(before, after, levels, strict=True):
        assert new.shape[2] == 64 // level.stride
        step = new.shape[2] // old.shape[2]
        assert torch.allclose(new[:, :, ::step, ::step], old, rtol=1e-3, atol=1e-3)
    assert net.state_dict().keys() == finer.state_dict().keys()


@torch.no_grad()
def test_a_dilated_net_is_torchvisions() -> None:
    net = backbone("resnet50")
    dilate(net, 8, "resnet50")
    theirs = get_model("resnet50", weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    theirs.load_state_dict(net.state_dict(), strict=False)
    images = torch.randn(1, 3, 32, 40)
    hidden = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(hidden))))
    assert torch.allclose(net.maps(images)[-1], expected, rtol=1e-3, atol=1e-3)


def test_what_is_fine_enough_stays_as_it_is() -> None:
    net = backbone("small_resnet")
    before = copy.deepcopy(net)
    assert dilate(net, 8, "small_resnet") == net.levels
    images = torch.randn(1, 3, 24, 20)
    assert torch.equal(net.maps(images)[-1], before.maps(images)[-1])


@torch.no_grad()
def test_several_levels_are_dilated_one_after_another() -> None:
    torch.manual_seed(0)
    net = SmallResNet(SmallResNetParameters(widths=(4, 8, 8, 8, 8), stem_stride=2)).eval()
    finer = copy.deepcopy(net)
    assert [level.stride for level in dilate(finer, 8, "small")] == [2, 4, 8, 8, 8]
    images = torch.randn(1, 3, 64, 32)
    assert torch.allclose(finer.maps(images)[-1][:, :, ::4, ::4], net.maps(images)[-1], atol=1e-5)


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_tokens_that_are_too_coarse_are_refused(name: str) -> None:
    catalog = load_catalog()
    with torch.device("meta"):
        net = catalog.get("backbone", name).load()(catalog.parameters("backbone", catalog.ref("backbone", name)))
    with pytest.raises(RequestError, match=rf"backbone {name}: .*are too coarse.*resnet18"):
        dilate(net, 8, name)


def test_a_vision_transformer_is_taken_as_fine_as_its_patches_are() -> None:
    with torch.device("meta"):
        net = vit_b_16(VisionTransformerParameters(image_size=32))
    assert dilate(net, 16, "vit_b_16") == net.levels


def test_what_has_maps_of_squares_of_one_size_alone_is_refused() -> None:
    class Fixed(Backbone):
        levels = (Level("blocks.0", 8, 16),)
        sizes = Sizes(only=224)

    with pytest.raises(RequestError, match=r"vit: takes squares of 224 pixels alone, .*dynamic_img_size: true"):
        dilate(Fixed(), 16, "vit")


def test_the_weights_of_a_net_without_centres_are_its_own() -> None:
    net = backbone("convnext_tiny")
    before = dict(net.named_parameters())
    dilate(net, 8, "convnext_tiny")
    assert [name for name, value in net.named_parameters() if value is not before[name]] == []


def test_what_is_fine_enough_is_taken_whatever_it_is_made_of() -> None:
    class Tokens(Backbone):
        levels = (Level("blocks.0", 8, 16), Level("blocks.1", 8, 16))

    assert dilate(Tokens(), 16, "vit") == Tokens.levels
    with pytest.raises(RequestError, match="too coarse"):
        dilate(Tokens(), 8, "vit")
    with pytest.raises(RequestError, match="has no feature maps"):
        dilate(nn.Identity(), 8, "none")


def test_a_stem_that_is_coarser_is_refused() -> None:
    net = SmallResNet(SmallResNetParameters(widths=(4, 8), stem_stride=4))
    with pytest.raises(RequestError, match="first level has stride 4 already"):
        dilate(net, 2, "small_resnet")
