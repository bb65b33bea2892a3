"""What every declared backbone promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coretune.spec.catalog import load_catalog

torch.set_num_threads(1)
CATALOG = load_catalog()


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    encoder = CATALOG.get("backbone", name).load()(CATALOG.parameters("backbone", CATALOG.ref("backbone", name)))
    assert isinstance(encoder, nn.Module)
    return encoder


@pytest.mark.parametrize("name", CATALOG.names("backbone"))
def test_features_have_the_stated_width_and_no_classifier_is_left(name: str) -> None:
    encoder = build(name)
    images = torch.rand(2, 3, 32, 32)
    features = encoder(images)
    assert features.shape == (2, encoder.features)
    assert not any(isinstance(module, nn.Linear) for module in encoder.modules())
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.mark.parametrize("name", CATALOG.names("backbone"))
def test_in_eval_mode_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    encoder = build(name).eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images)[:1], encoder(images[:1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "width"), [("small_resnet", 256), ("resnet18", 512), ("resnet50", 2048)])
def test_widths_are_as_the_catalog_s_summary_says(name: str, width: int) -> None:
    assert build(name).features == width
    assert f"{width}-d features" in CATALOG.get("backbone", name).summary
