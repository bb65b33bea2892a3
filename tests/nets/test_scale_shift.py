"""Scales and shifts by loops, what rests, and a merge that gives the original architecture the same features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from coretune.errors import RequestError
from coretune.nets.scale_shift import ScaleShift, insert_scale_shift, merged
from coretune.spec.catalog import load_catalog

torch.set_num_threads(1)

CATALOG = load_catalog()
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5), 1),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), (2, 4, 5), 1),
    "batch norm": (lambda: nn.BatchNorm2d(4), (2, 4, 3, 3), 1),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(4), (2, 4), 1),
    "group norm": (lambda: nn.GroupNorm(2, 4), (2, 4, 3, 3), 1),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), (2, 4, 3, 3), 1),
    "linear": (lambda: nn.Linear(4, 6), (2, 5, 4), 2),
    "layer norm": (lambda: nn.LayerNorm(4), (2, 5, 4), 2),
}
"""Name → layer, shape of its input, dimension of its output's channels."""


def backbone(name: str) -> nn.Module:
    torch.manual_seed(0)
    encoder: nn.Module = CATALOG.get("backbone", name).load()(
        CATALOG.parameters("backbone", CATALOG.ref("backbone", name))
    )
    return encoder


def trained(encoder: nn.Module, seed: int = 1) -> nn.Module:
    """Scales, shifts, weights and statistics as after a training."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in encoder.modules():
            if isinstance(part, ScaleShift):
                part.scale.copy_(0.8 + 0.4 * torch.rand(part.scale.shape, generator=draws, dtype=torch.float64))
                part.shift.copy_(0.4 * torch.rand(part.shift.shape, generator=draws, dtype=torch.float64) - 0.2)
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.copy_(torch.rand(part.num_features, generator=draws) - 0.5)
                part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=draws))
    return encoder


@pytest.mark.parametrize("name", LAYERS)
def test_each_channel_has_a_scale_and_a_shift(name: str) -> None:
    make, shape, dimension = LAYERS[name]
    torch.manual_seed(0)
    part = trained(ScaleShift(make().double(), 0.02).train())
    inputs = torch.randn(shape, dtype=torch.float64)
    plain, found = part.layer(inputs), part(inputs)
    scale, shift = part.scale.tolist(), part.shift.tolist()
    assert len(scale) == len(shift) == plain.shape[dimension]
    for channel in range(plain.shape[dimension]):
        expected = plain.select(dimension, channel) * scale[channel] + shift[channel]
        torch.testing.assert_close(found.select(dimension, channel), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_gradient(name: str) -> None:
    make, shape, _ = LAYERS[name]
    torch.manual_seed(0)
    part = ScaleShift(make().double(), 0.1)
    inputs = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def output(inputs: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(part, {"scale": scale, "shift": shift}, (inputs,))
        return found

    assert torch.autograd.gradcheck(output, (inputs, part.scale, part.shift))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_with_a_bias_merges_alone(name: str) -> None:
    make, shape, _ = LAYERS[name]
    encoder = nn.Sequential(make()).double()
    keys = set(encoder.state_dict())
    insert_scale_shift(encoder, 0.02)
    inputs = torch.randn(shape, dtype=torch.float64)
    plain = merged(trained(encoder).eval())
    assert set(plain.state_dict()) == keys
    torch.testing.assert_close(plain(inputs), encoder(inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["small_resnet", "resnet18", "resnet20", "resnet50"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)], ids=["fp64", "fp32"])
def test_residual_nets_merge(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """In float32, ResNet-50's features are 1e-6 of the largest away from those in float64, merged or not."""
    encoder, original = backbone(name), backbone(name)
    insert_scale_shift(encoder, 0.02)
    trained(encoder).to(dtype)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    plain = merged(encoder)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert not any(isinstance(part, ScaleShift) for part in plain.modules())
    original.to(dtype).eval().load_state_dict(plain.state_dict(), strict=True)
    images = torch.rand(2, 3, 32, 32, dtype=dtype)
    encoder.eval()
    with torch.no_grad():
        expected, untouched = encoder(images), backbone(name).to(dtype).eval()(images)
        scale = float(expected.abs().max())
        torch.testing.assert_close(original(images) / scale, expected / scale, rtol=0, atol=tolerance)
        torch.testing.assert_close(plain(images), original(images), rtol=0, atol=0)
    assert float((expected - untouched).abs().max()) > 0.01 * scale, "the scales and shifts matter"


def test_what_reads_a_linear_layer_s_weights_gets_the_scaled_ones() -> None:
    """As Swin's attention does."""
    for bias in (True, False):
        part = trained(ScaleShift(nn.Linear(4, 6, bias=bias).double(), 0.02))
        inputs = torch.randn(2, 4, dtype=torch.float64)
        found = nn.functional.linear(inputs, part.weight, part.bias)
        torch.testing.assert_close(found, part(inputs), rtol=1e-12, atol=1e-12)
        found.square().sum().backward()
        assert part.scale.grad is not None and part.scale.grad.all()
        assert part.shift.grad is not None and part.shift.grad.all()


@pytest.mark.parametrize("side", [3, 4])
def test_a_layer_norm_of_maps_has_its_channels_second(side: int) -> None:
    """Also where the map is as wide as it has channels."""
    part = trained(ScaleShift(LayerNorm2d(4).double(), 0.02))
    inputs = torch.randn(2, 4, 5, side, dtype=torch.float64)
    expected = part.layer(inputs)
    for channel in range(4):
        expected[:, channel] = expected[:, channel] * part.scale[channel] + part.shift[channel]
    torch.testing.assert_close(part(inputs), expected, rtol=1e-12, atol=1e-12)
    plain = merged(nn.Sequential(part))
    torch.testing.assert_close(plain(inputs), expected, rtol=1e-12, atol=1e-12)


class OtherLayerNorm(nn.LayerNorm):
    """Of vectors, in code of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


def test_a_layer_norm_of_vectors_in_other_code_has_its_channels_last() -> None:
    part = trained(ScaleShift(OtherLayerNorm(4).double(), 0.02))
    inputs = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(part(inputs), part.layer(inputs) * part.scale + part.shift, rtol=0, atol=0)


@given(st.lists(st.sampled_from(["conv", "linear-like", "group"]), min_size=1, max_size=4), st.integers(0, 10**6))
@settings(max_examples=25)
def test_chains_of_layers_merge(kinds: list[str], seed: int) -> None:
    made: list[nn.Module] = []
    for kind in kinds:
        if kind == "conv":
            made += [nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
        else:
            made += [nn.Conv2d(4, 4, 1), nn.ReLU()] if kind == "linear-like" else [nn.GroupNorm(2, 4)]
    encoder = nn.Sequential(*made).double()
    insert_scale_shift(encoder, 0.02)
    trained(encoder, seed).eval()
    inputs = torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(merged(encoder)(inputs), encoder(inputs), rtol=1e-12, atol=1e-12)


def test_only_scales_and_shifts_are_trained_and_the_statistics_rest() -> None:
    encoder = backbone("small_resnet")
    weights = {key: value.clone() for key, value in encoder.state_dict().items()}
    torch.manual_seed(3)
    insert_scale_shift(encoder, 0.02)
    encoder.train()
    encoder(torch.rand(4, 3, 16, 16)).square().sum().backward()
    trained_names = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert {name.rpartition(".")[2] for name in trained_names} == {"scale", "shift"}
    assert len(trained_names) == 2 * sum(isinstance(m, nn.Conv2d | nn.BatchNorm2d) for m in encoder.modules())
    assert all(bool(p.grad.any()) for p in encoder.parameters() if p.requires_grad and p.grad is not None)
    resting = {key.replace(".layer.", "."): value for key, value in encoder.state_dict().items() if ".layer." in key}
    assert resting.keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in resting.items())
    scales = torch.cat([p for name, p in encoder.named_parameters() if name.endswith("scale")])
    shifts = torch.cat([p for name, p in encoder.named_parameters() if name.endswith("shift")])
    assert scales.mean().item() == pytest.approx(1.0, abs=0.005) and scales.std().item() == pytest.approx(0.02, rel=0.1)
    assert shifts.mean().item() == pytest.approx(0.0, abs=0.005) and shifts.std().item() == pytest.approx(0.02, rel=0.1)


def test_training_mode_reaches_all_but_the_layers() -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    insert_scale_shift(encoder, 0.0)
    encoder.train()
    assert [part.training for part in encoder] == [True, True, True]
    assert not encoder[1].layer.training
    encoder.eval()
    assert not any(part.training for part in encoder.modules())


def test_a_spread_of_zero_leaves_the_features() -> None:
    encoder = backbone("small_resnet").eval()
    images = torch.rand(2, 3, 16, 16)
    expected = encoder(images)
    insert_scale_shift(encoder, 0.0)
    insert_scale_shift(encoder, 0.5)
    torch.testing.assert_close(encoder(images), expected, rtol=0, atol=0)


class TwoTakers(nn.Module):
    """A convolution without a bias that feeds batch norm and more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.conv(images)
        found: Tensor = self.norm(hidden) + hidden
        return found


class Branching(TwoTakers):
    """Its path depends on the values, which cannot be followed."""

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)) if images.sum() > 0 else images


class TwoGivers(TwoTakers):
    """Batch norm that takes from two places."""

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.norm(self.conv(images)) + self.norm(images)
        return found


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (TwoTakers(), "after conv cannot be merged: it has no bias, and feeds no batch norm alone"),
        (TwoGivers(), "after conv cannot be merged: it has no bias"),
        (Branching(), "cannot follow the data through Branching"),
        (nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.BatchNorm2d(3)), "after 0 cannot be merged"),
        (nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.GroupNorm(1, 3)), "after 0 cannot be merged"),
        (nn.Sequential(nn.InstanceNorm2d(3)), "after 0 cannot be merged: it has no weight"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_merged_is_refused(encoder: nn.Module, message: str) -> None:
    insert_scale_shift(encoder, 0.02)
    with pytest.raises(RequestError, match=message):
        merged(encoder)


def test_what_cannot_be_scaled_is_refused() -> None:
    with pytest.raises(RequestError, match="Flatten has no convolution, linear or norm layer"):
        insert_scale_shift(nn.Flatten(), 0.02)
    with pytest.raises(RequestError, match=r"0: nn\.MultiheadAttention reads its layers' weights"):
        insert_scale_shift(nn.Sequential(nn.MultiheadAttention(4, 2)), 0.02)
