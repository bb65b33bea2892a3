"""Feature maps: which layers stand for the stages, and what is collected of them."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import TinyNet, catalog
from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.model import Model
from coretune.tuning.copies import EncoderCopy
from coretune.tuning.encode import encode_in_groups
from coretune.tuning.feature_maps import FeatureMaps, stage_ends

torch.set_num_threads(1)

ENDS = {
    "small_resnet": ["blocks.0.conv2", "blocks.1.conv2", "blocks.2.conv2"],
    "resnet18": ["layer1.1.conv2", "layer2.1.conv2", "layer3.1.conv2", "layer4.1.conv2"],
    "resnet20": ["layer1.2.conv2", "layer2.2.conv2", "layer3.2.conv2"],
    "convnext_tiny": ["stages.1.2", "stages.3.2", "stages.5.8", "stages.7.2"],
    "resnet50": ["layer1.2.conv3", "layer2.3.conv3", "layer3.5.conv3", "layer4.2.conv3"],
}
"""Those of ResNet-50 are the layers of DELTA's authors."""


def encoder(name: str) -> nn.Module:
    torch.manual_seed(0)
    found: nn.Module = (
        catalog().get("backbone", name).load()(catalog().parameters("backbone", catalog().ref("backbone", name)))
    )
    return found


class Twice(nn.Module):
    """A layer that runs twice, one that puts out vectors, and one without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.pool = nn.AvgPool2d(2)
        self.linear = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.linear(self.conv(self.pool(self.conv(images))).mean((2, 3)))
        return found


def images(n: int, side: int = 8) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("name", ENDS)
def test_the_stages_of_convolutional_nets(name: str) -> None:
    net = encoder(name)
    assert stage_ends(net, 4) == ENDS[name]
    assert stage_ends(net, 1) == ENDS[name][-1:]


def test_the_stages_of_plain_nets() -> None:
    assert stage_ends(TinyNet(), 4) == ["conv"]
    deep = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.Conv2d(2, 2, 1, 2), nn.BatchNorm2d(2)), nn.ReLU())
    assert stage_ends(deep, 4) == ["0", "1.0"]
    assert stage_ends(nn.Sequential(nn.BatchNorm2d(3), nn.AvgPool2d(2), nn.BatchNorm2d(3)), 4) == ["0", "2"]
    assert stage_ends(Twice(), 4) == ["conv"]


class Wrapper(nn.Module):
    """A net in another."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.net(images)
        return found


def test_a_wrapper_has_the_stages_of_what_it_wraps() -> None:
    assert stage_ends(Wrapper(encoder("small_resnet")), 2) == ["net.blocks.1.conv2", "net.blocks.2.conv2"]


class Tokens(nn.Module):
    """A patch embedding, and one layer on tokens in a layout."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 16, 16)
        self.mixer = nn.Linear(6, 6)
        self.flat = flat

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).permute(0, 2, 3, 1)
        mixed: Tensor = self.mixer(tokens.flatten(1, 2) if self.flat else tokens)
        return mixed.flatten(1, -2).mean(1)


@pytest.mark.parametrize("flat", [True, False])
def test_a_patch_embedding_before_tokens_is_no_stage(flat: bool) -> None:
    with pytest.raises(RequestError, match=r"Tokens has no stages of feature maps .* from mixer on it works on tokens"):
        stage_ends(Tokens(flat=flat), 4)


def test_looking_for_stages_leaves_the_encoder_as_it_is() -> None:
    net = TinyNet(dropout=0.5).train()
    net.norm.eval()
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    stage_ends(net, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net.training and not net.norm.training
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("net", [nn.Sequential(nn.Flatten(), nn.Linear(12288, 2)), nn.Flatten()], ids=["mlp", "bare"])
def test_an_encoder_without_feature_maps_is_refused(net: nn.Module) -> None:
    with pytest.raises(RequestError, match=r"no layer that puts out feature maps \(n, C, H, W\)"):
        stage_ends(net, 4)


@settings(max_examples=25)
@given(calls=st.lists(st.integers(1, 5), min_size=1, max_size=4), data=st.data())
def test_maps_come_in_the_order_of_the_samples_however_they_were_divided(calls: list[int], data: st.DataObject) -> None:
    net = TinyNet(features=2).eval()
    maps = FeatureMaps(net, ["conv", "norm"])
    maps.start()
    batches = [images(n) for n in calls]
    for batch in batches:
        net(batch)
    expected = (net.conv(torch.cat(batches)), net.norm(net.conv(torch.cat(batches))))
    left, start = sum(calls), 0
    while left:
        size = data.draw(st.integers(1, left))
        for found, whole in zip(maps.take(size), expected, strict=True):
            torch.testing.assert_close(found, whole[start : start + size])
        left, start = left - size, start + size
    with pytest.raises(RuntimeError, match="feature maps of 1 more samples"):
        maps.take(1)


def test_nothing_is_collected_before_the_start_or_after_the_last_sample() -> None:
    net = TinyNet()
    maps = FeatureMaps(net, ["norm"])
    net(images(2))
    with pytest.raises(RuntimeError, match="feature maps of 2 more samples"):
        maps.take(2)
    maps.start()
    net(images(2))
    maps.take(2)
    net(images(3))
    with pytest.raises(RuntimeError, match="feature maps of 3 more samples"):
        maps.take(3)
    maps.start()
    net(images(2))
    maps.start()
    net(images(3))
    assert maps.take(3)[0].shape[0] == 3


def test_calls_of_no_image_do_not_keep_it_collecting() -> None:
    net = TinyNet().eval()
    maps = FeatureMaps(net, ["norm"])
    maps.start()
    for n in (0, 2, 0, 3, 0):
        net(images(n))
    assert maps.take(0) == ()
    assert [maps.take(n)[0].shape[0] for n in (2, 3)] == [2, 3]
    maps.start()
    net(images(0))
    assert maps.take(0) == ()
    net(images(4))
    with pytest.raises(RuntimeError, match="feature maps of 1 more samples"):
        maps.take(1)


def test_what_is_collected_aside_leaves_the_rest_alone() -> None:
    net = TinyNet().eval()
    maps = FeatureMaps(net, ["norm"])
    maps.start()
    net(images(2))
    with maps.aside() as calls:
        net(images(3))
        net(images(4))
    assert [call[0].shape[0] for call in calls] == [3, 4]
    net(images(1))
    expected = net.norm(net.conv(torch.cat([images(2), images(1)])))
    torch.testing.assert_close(maps.take(3)[0], expected)
    with pytest.raises(RuntimeError, match="more samples"):
        maps.take(1)


def test_a_copy_of_the_encoder_is_not_listened_to() -> None:
    net = TinyNet()
    maps = FeatureMaps(net, ["norm"])
    twin = copy.deepcopy(net)
    maps.start()
    twin(images(2))
    with pytest.raises(RuntimeError, match="more samples"):
        maps.take(1)
    assert torch.equal(copy.deepcopy(twin)(images(2)), twin(images(2)))


def test_a_copy_that_runs_in_the_encoders_place_is_listened_to() -> None:
    net = Model(TinyNet()).eval()
    source = EncoderCopy(net.encoder, resting=True)
    maps = FeatureMaps(net.encoder, ["norm"])
    before = net.encoder.norm(net.encoder.conv(net.normalise(images(3)))).detach()
    with torch.no_grad():
        net.encoder.conv.weight.add_(1.0)
    with maps.aside() as calls:
        source(images(3), net.features)
    ((found,),) = calls
    torch.testing.assert_close(found, before)
    assert not found.requires_grad


def test_a_layer_that_runs_twice_counts_once() -> None:
    net = Twice()
    maps = FeatureMaps(net, ["conv"])
    maps.start()
    net(images(2))
    assert maps.take(2)[0].shape == (2, 3, 4, 4)


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_maps_of_micro_batches_have_their_graph_and_are_collected_once(micro_batch: int) -> None:
    found = []
    for size in (None, micro_batch):
        torch.manual_seed(0)
        net = Model(TinyNet()).double().train()
        maps = FeatureMaps(net.encoder, ["conv", "norm"])
        maps.start()
        features = encode_in_groups(net.features, images(8).double(), [2, 2, 2, 2], size)
        conv, norm = maps.take(8)
        (features.square().sum() + conv.sin().sum() + norm.pow(3).sum()).backward()
        with pytest.raises(RuntimeError, match="more samples"):
            maps.take(1)
        found.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-10)


def test_maps_are_kept_no_longer_than_needed() -> None:
    net = TinyNet()
    maps = FeatureMaps(net, ["norm"])
    maps.start()
    net(images(2))
    maps.take(2)
    assert all(not value for value in vars(maps).values() if not isinstance(value, tuple))
