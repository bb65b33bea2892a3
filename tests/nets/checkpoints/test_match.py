from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkpoints import below, features, linear, moco, narrow
from torch import Tensor, nn
from torchvision import models

from coretune.errors import RequestError
from coretune.nets import torchvision_hierarchical
from coretune.nets.checkpoints import Contents, Found, match, put, recognise
from coretune.nets.weights import load_encoder
from coretune.spec.components import NoParameters

torch.set_num_threads(1)


def found(state: dict[str, Tensor]) -> Found:
    return recognise(Contents("PyTorch zip", {"": state}))


def meta(make: Callable[..., nn.Module]) -> dict[str, Tensor]:
    with torch.device("meta"):
        net = make()
    if hasattr(net, "fc"):
        net.fc = nn.Identity()
    return dict(net.state_dict())


class Columns(nn.Module):
    """A hundred tensors of one size."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        for index in range(100):
            setattr(self, f"w{index:02}", nn.Parameter(torch.randn(width)))


def part(net: nn.Module, count: int) -> dict[str, Tensor]:
    return dict(list(net.state_dict().items())[:count])


def test_94_per_cent_are_refused_and_change_nothing_96_are_loaded() -> None:
    source, net = Columns(), Columns()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(
        RequestError, match=r"94 of 100 tensors match \(94 %\), 94 % of the elements.*missing: w94, w95"
    ):
        put(found(part(source, 94)), net, "columns")
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    result = put(found(part(source, 96)), net, "columns")
    assert result.fits and result.missing == ("w96", "w97", "w98", "w99")
    for index, (key, tensor) in enumerate(net.state_dict().items()):
        assert torch.equal(tensor, source.state_dict()[key] if index < 96 else before[key])


@settings(max_examples=20)
@given(st.integers(0, 100))
def test_the_limit_is_95_of_a_hundred(count: int) -> None:
    state = part(Columns(), count) or {"other": torch.zeros(1)}
    result, ready = match(found(state), Columns().state_dict(), "columns")
    assert result.fits == (count >= 95) and len(ready) == count
    assert result.tensors == result.elements == count / 100


def test_few_large_tensors_are_as_bad_as_many_small_ones() -> None:
    state = dict(Columns().state_dict())
    large = {**state, "w00": torch.zeros(3000)}
    without = {key: tensor for key, tensor in large.items() if key != "w00"}
    result, _ = match(found(without), large, "x")
    assert result.tensors == 0.99 and result.elements < 0.1 and not result.fits
    only = {key: large[key] for key in list(large)[:90]}
    result, _ = match(found(only), large, "x")
    assert result.elements > 0.99 and result.tensors == 0.9 and not result.fits


@pytest.mark.parametrize("name", ["swin_t", "swin_s", "swin_b", "convnext_tiny", "convnext_small", "convnext_base"])
def test_torchvision_s_hierarchical_nets_start_from_torchvision_s_files(name: str) -> None:
    with torch.device("meta"):
        theirs = dict(models.get_model(name).state_dict())
        ours = getattr(torchvision_hierarchical, name)(NoParameters()).state_dict()
    file = found(theirs)
    result, ready = match(file, ours, name)
    assert file.layout.name == "torchvision_hierarchical" and file.dropped == {"classifier": 2}
    assert result.fits and ready.keys() == ours.keys() and result.suggested == name
    assert not result.missing and not result.unexpected
    other = "swin_t" if name != "swin_t" else "convnext_tiny"
    with torch.device("meta"):
        wrong = getattr(torchvision_hierarchical, other)(NoParameters()).state_dict()
    assert not match(file, wrong, other)[0].fits


def test_a_converted_convnext_computes_what_torchvision_s_does() -> None:
    torch.manual_seed(0)
    theirs = models.convnext_tiny().eval()
    ours = torchvision_hierarchical.convnext_tiny(NoParameters()).eval()
    put(found(dict(theirs.state_dict())), ours, "convnext_tiny")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.classifier[:2](theirs.avgpool(theirs.features(images)))
        assert torch.allclose(ours(images), expected, atol=1e-5)


def test_a_deeper_network_is_not_cut_to_a_shallower_one() -> None:
    result, ready = match(found(meta(models.resnet101)), meta(models.resnet50), "resnet50")
    assert len(ready) == len(meta(models.resnet50)) and result.tensors == result.elements == 1.0
    assert not result.fits and result.suggested == "resnet101"
    assert result.unexpected[0].startswith("layer3.6.")


@pytest.mark.parametrize(
    ("name", "other"),
    [("resnet50", "resnet18"), ("resnet18", "resnet50"), ("resnet34", "resnet18"), ("wide_resnet50_2", "resnet50")],
)
def test_the_right_architecture_is_suggested(name: str, other: str) -> None:
    state = below("module.encoder_q.", meta(models.__dict__[name]) | linear("fc"))
    result, _ = match(found(state), meta(models.__dict__[other]), other)
    assert not result.fits and result.layout == "moco_v1"
    assert f"is of another architecture than {other}: layout moco_v1" in result.refusal()
    assert result.refusal().endswith(f"\nThe shapes suggest {name}.") and len(result.refusal().splitlines()) == 2


def test_a_file_that_holds_a_part_is_not_called_another_architecture() -> None:
    state = {key: tensor for key, tensor in meta(models.resnet50).items() if "bn" not in key}
    result, _ = match(found(state), meta(models.resnet50), "resnet50")
    assert not result.fits and result.suggested == "resnet50"
    assert result.refusal().startswith("holds resnet50 in part: ") and "suggest" not in result.refusal()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    state = {key: tensor.clone() for key, tensor in narrow().state_dict().items()}
    state["layer1.0.conv1.weight"][0, 0] = value
    net = narrow(1)
    before = features(net)
    with pytest.raises(RequestError, match=r"^is broken: .*not finite \(NaN or infinity\): layer1\.0\.conv1\.weight"):
        put(found(state), net, "x")
    assert torch.equal(features(net), before)


def test_shapes_are_named_and_nothing_changes(tmp_path: Path) -> None:
    net = narrow(1, bottleneck=True)
    before = features(net)
    torch.save(moco(narrow().state_dict(), mlp=True), tmp_path / "w.pth")
    with pytest.raises(
        RequestError, match=r"w\.pth: is of another .* of another shape: layer1\.0\.conv1\.weight \(4, 64"
    ):
        load_encoder(net, tmp_path / "w.pth")
    assert torch.equal(features(net), before)


def test_counters_of_old_files_may_be_missing() -> None:
    net = narrow()
    state = {key: tensor for key, tensor in net.state_dict().items() if "num_batches" not in key}
    fresh = narrow(1)
    result = put(found(state), fresh, "x")
    assert result.missing == () and result.tensors == 1.0 and result.used == 1.0
    assert torch.equal(features(fresh), features(net))


def test_half_precision_is_widened() -> None:
    net, fresh = narrow(), narrow(1)
    state = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in net.state_dict().items()}
    put(found(state), fresh, "x")
    assert fresh.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(features(fresh), features(net), atol=1e-2, rtol=1e-2)


def test_the_report_says_what_became_of_each() -> None:
    state = dict(part(Columns(), 97)) | {"w96": torch.zeros(4), "extra": torch.zeros(1), "fc.weight": torch.zeros(2)}
    result, _ = match(found(state), Columns().state_dict(), "columns")
    assert result.report() == [
        "layout unknown, on columns",
        "96 of 100 tensors match (96 %), 96 % of the elements; 97.9 % of the file's are used",
        "dropped: 1 tensor: classifier",
        "of another shape: w96 (4,) in the file, (3,) here",
        "missing: w97, w98 and 1 more",
        "not in the backbone: extra",
    ]
    assert "\n" not in result.summary()
