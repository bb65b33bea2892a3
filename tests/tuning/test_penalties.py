"""Quadratic penalties equal their formula, at any precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.tuning.penalties import as_vector, half_squared_norm

torch.set_num_threads(1)
SHAPES = [(2, 3, 1, 2), (4,), ()]


def parameters(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), from_start=st.booleans())
def test_equals_the_formula(seed: int, from_start: bool) -> None:
    values, start = parameters(seed), parameters(seed + 1)
    expected = 0.0
    for one, other in zip(values, start, strict=True):
        for w, w0 in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True):
            expected += (w - w0 * from_start) ** 2 / 2
    found = half_squared_norm(values, as_vector(start) if from_start else None)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert half_squared_norm(values, as_vector(values)).item() == 0


def test_gradient_is_the_distance() -> None:
    values, start = [value.requires_grad_() for value in parameters()], parameters(1)
    half_squared_norm(values, as_vector(start)).backward()
    for value, other in zip(values, start, strict=True):
        torch.testing.assert_close(value.grad, value.detach() - other)
    assert torch.autograd.gradcheck(lambda *given: half_squared_norm(given, as_vector(start)), values)


def test_the_order_of_values_does_not_depend_on_the_memory_format() -> None:
    weight = torch.randn(2, 3, 4, 4)
    other = weight.to(memory_format=torch.channels_last)
    assert other.stride() != weight.stride()
    assert torch.equal(as_vector([weight]), as_vector([other]))


def test_half_precision_is_summed_in_single() -> None:
    values = parameters(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = half_squared_norm(values)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(half_squared_norm([value.double() for value in values]).item(), rel=1e-6)


def test_no_parameters_at_all() -> None:
    with pytest.raises((RuntimeError, ValueError), match="non-empty"):
        half_squared_norm([])
