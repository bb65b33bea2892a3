"""The heads: shapes, unit length, precision, errors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.tuning.heads import ProjectionHead, linear_classifier, redraw

torch.set_num_threads(1)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(2, 8), st.one_of(st.none(), st.integers(1, 8)))
@settings(max_examples=20)
def test_projection_is_linear_relu_linear_unit(n: int, features: int, dim: int, hidden: int | None) -> None:
    head = ProjectionHead(features, dim, hidden)
    x = torch.randn(n, features)
    first, _, second = head.layers
    assert first.out_features == (features if hidden is None else hidden)
    raw = torch.relu(x @ first.weight.T + first.bias) @ second.weight.T + second.bias
    expected = raw / raw.norm(dim=1, keepdim=True)
    assert torch.allclose(head(x), expected, atol=1e-5)


def test_lengths_are_computed_in_float32_under_autocast() -> None:
    head = ProjectionHead(16, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = head(torch.randn(5, 16))
    assert z.dtype == torch.float32
    assert torch.allclose(z.norm(dim=1), torch.ones(5), atol=1e-6)
    assert head.double()(torch.randn(5, 16, dtype=torch.float64)).dtype == torch.float64


def test_a_zero_projection_stays_zero() -> None:
    head = ProjectionHead(4, 3)
    torch.nn.init.zeros_(head.layers[2].weight)
    torch.nn.init.zeros_(head.layers[2].bias)
    assert torch.equal(head(torch.randn(2, 4)), torch.zeros(2, 3))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_classifier(bias: bool) -> None:
    classifier = linear_classifier(4, 3, bias=bias)
    x = torch.randn(2, 4)
    assert (classifier.bias is not None) == bias
    assert torch.equal(classifier(x), F.linear(x, classifier.weight, classifier.bias))


def test_wrong_widths() -> None:
    with pytest.raises(ValueError, match=r"hidden: got 0, need an integer >= 1"):
        ProjectionHead(4, 3, 0)
    with pytest.raises(ValueError, match=r"dim: got -1"):
        ProjectionHead(4, -1)
    with pytest.raises(ValueError, match=r"classes: got 0"):
        linear_classifier(4, 0)


@given(st.integers(1, 9), st.integers(1, 5), st.booleans(), st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_layer_is_drawn_anew_as_torch_draws_one(features: int, classes: int, bias: bool, seed: int) -> None:
    layer = linear_classifier(features, classes, bias=bias)
    before = torch.get_rng_state()
    redraw(layer, torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(seed)
    fresh = linear_classifier(features, classes, bias=bias)
    for found, expected in zip(layer.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
        assert found.requires_grad
