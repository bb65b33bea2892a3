from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coretune.segment.losses import mask_cross_entropy, soft_pixel_cross_entropy


def example(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, 4, (2, 4, 5), generator=generator)
    return logits, torch.where(masks == 3, 255, masks), torch.rand(3, generator=generator, dtype=torch.float64) + 0.1


def slow(logits: torch.Tensor, masks: torch.Tensor, weights: list[float]) -> float:
    total = mass = 0.0
    for n, i, j in (masks != 255).nonzero().tolist():
        row = [float(value) for value in logits[n, :, i, j]]
        label = int(masks[n, i, j])
        total += weights[label] * (math.log(sum(map(math.exp, row))) - row[label])
        mass += weights[label]
    return total / mass if mass else 0.0


@given(st.integers(0, 10_000))
def test_the_loss_of_masks_is_the_mean_over_labelled_pixels(seed: int) -> None:
    logits, masks, weights = example(seed)
    assert mask_cross_entropy(logits, masks).item() == pytest.approx(slow(logits, masks, [1.0] * 3))
    assert mask_cross_entropy(logits, masks, weights).item() == pytest.approx(slow(logits, masks, weights.tolist()))


@given(st.integers(0, 10_000))
def test_soft_labels_that_are_sure_give_the_loss_of_masks(seed: int) -> None:
    logits, masks, weights = example(seed)
    rows, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), masks.flatten()
    rows, labels = rows[labels != 255], labels[labels != 255]
    targets = torch.nn.functional.one_hot(labels, 3)
    for given_ in (None, weights):
        expected = mask_cross_entropy(logits, masks, given_)
        assert torch.allclose(soft_pixel_cross_entropy(rows, targets, given_), expected)


def test_soft_labels_are_mixed_linearly() -> None:
    logits, weights = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([1.0, 3.0, 1.0])
    log_p = logits.log_softmax(dim=1)[0]
    expected = -(0.25 * log_p[0] + 0.75 * 3 * log_p[1]) / (0.25 + 0.75 * 3)
    assert torch.allclose(soft_pixel_cross_entropy(logits, torch.tensor([[0.25, 0.75, 0.0]]), weights), expected)


def test_gradients() -> None:
    logits, masks, weights = example(1)
    assert torch.autograd.gradcheck(lambda x: mask_cross_entropy(x, masks, weights), logits.requires_grad_())
    targets = torch.rand(6, 3, dtype=torch.float64).softmax(dim=1)
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: soft_pixel_cross_entropy(x, targets, weights), rows)


def test_nothing_but_void_is_no_loss_and_no_nan() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = mask_cross_entropy(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()
    assert soft_pixel_cross_entropy(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0
