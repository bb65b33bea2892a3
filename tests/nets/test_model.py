from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.transforms.v2 import functional

from coretune.errors import RequestError
from coretune.nets.model import IMAGENET_MEAN, IMAGENET_STD, Model, Normalise

torch.set_num_threads(1)


class Mean(nn.Module):
    """Mean by channel: (n, 3, H, W) → (n, 3)."""

    features = 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


def test_normalisation_is_imagenet_s_by_default() -> None:
    images = torch.rand(4, 3, 5, 5)
    expected = functional.normalize(images, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(Model(Mean()).normalise(images), expected)
    torch.testing.assert_close(Model(Mean()).features(images), expected.mean((2, 3)))


def test_logits_are_the_classifier_s_of_the_features() -> None:
    model = Model(Mean(), nn.Linear(3, 7), mean=(0.5,) * 3, std=(0.25,) * 3)
    images = torch.rand(4, 3, 5, 5)
    torch.testing.assert_close(model(images), model.classifier(((images - 0.5) / 0.25).mean((2, 3))))


def test_normalisation_is_stored_moved_and_not_trained() -> None:
    model = Model(Mean(), nn.Linear(3, 2))
    assert {"normalise.mean", "normalise.std"} <= set(model.state_dict())
    assert {name for name, _ in model.named_parameters()} == {"classifier.weight", "classifier.bias"}
    assert model.double().normalise.mean.dtype == torch.float64


def test_gradients_reach_the_images() -> None:
    """Attacks differentiate through the normalisation."""
    images = torch.rand(2, 3, 4, 4, requires_grad=True)
    Model(Mean(), nn.Linear(3, 2))(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_a_model_without_classifier_has_no_logits() -> None:
    with pytest.raises(RequestError, match="no classifier"):
        Model(Mean())(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(("mean", "std"), [((0.5,) * 3, (0.1, 0.1, 0.0)), ((0.5,) * 3, (0.1,)), ((0.5,), (-1.0,))])
def test_impossible_statistics_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(RequestError, match="one mean and one std > 0 per channel"):
        Normalise(mean, std)
