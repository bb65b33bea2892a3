"""The released form as a method: its terms are the functions', its recipe the script's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.training import TinyNet
from torch import Tensor

from coretune.spec.catalog.methods.core_tuning import CoreTuningReleasedParameters
from coretune.tuning.losses import focal_contrastive, soft_cross_entropy
from coretune.tuning.method import Step
from coretune.tuning.methods.core_tuning_released import CoreTuningReleased
from coretune.tuning.mixup import hard_pairs

torch.set_num_threads(1)


def make(**options: Any) -> CoreTuningReleased:
    torch.manual_seed(0)
    params = CoreTuningReleasedParameters(projection_dim=4, **options)
    return CoreTuningReleased(params, features=6, classes=3).double()


def sample(n: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 6, generator=generator, dtype=torch.float64), torch.arange(n) % 3


def step(features: Tensor, labels: Tensor) -> Step:
    return Step(features, labels, (), lambda x: x, torch.Generator().manual_seed(5), epoch=0, progress=0.0)


@pytest.mark.parametrize("grouping", ["exact", "released_code"])
def test_both_terms_are_those_of_the_functions(grouping: Any) -> None:
    method = make(eta=2.0, temperature=0.2, alpha=0.7, grouping=grouping)
    features, labels = sample()
    loss = method.loss(step(features, labels))
    generator = torch.Generator().manual_seed(5)
    pairs = hard_pairs(features, labels, 3, variant="released", alpha=0.7, generator=generator, grouping=grouping)
    cross_entropy = soft_cross_entropy(method.classifier(pairs.features), pairs.targets)
    z = method.projector(pairs.features)
    contrast = focal_contrastive(z, pairs.groups, temperature=0.2, normalizer="batch")
    assert loss.terms["cross_entropy"].item() == pytest.approx(cross_entropy.item(), abs=1e-12)
    assert loss.terms["contrastive"].item() == pytest.approx(contrast.item(), abs=1e-12)
    assert loss.total.item() == pytest.approx((cross_entropy + 2.0 * contrast).item(), abs=1e-12)


def test_the_backbone_learns_from_mixtures_alone() -> None:
    features, labels = sample()
    found = {}
    for detach in (True, False):
        x = features.clone().requires_grad_()
        make(detach_originals=detach).loss(step(x, labels)).total.backward()  # type: ignore[no-untyped-call]
        found[detach] = x.grad
    assert found[True] is not None and bool(found[True].any())
    assert not torch.allclose(found[True], found[False])


def test_batch_norm_moves_as_with_two_forward_passes() -> None:
    encoder, twice = TinyNet().double(), TinyNet().double()
    make().prepare(encoder)
    assert encoder.norm.momentum == 0.19
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64)
    twice.load_state_dict(encoder.state_dict())
    encoder(images)
    twice(images)
    twice(images)
    torch.testing.assert_close(encoder.norm.running_mean, twice.norm.running_mean)
    torch.testing.assert_close(encoder.norm.running_var, twice.norm.running_var)
    make(batch_norm_momentum=None).prepare(twice)
    assert twice.norm.momentum == 0.1


def test_its_classifier_has_no_bias_by_default() -> None:
    assert make().classifier.bias is None
    assert make(classifier_bias=True).classifier.bias is not None


def test_a_nan_is_not_turned_into_zero() -> None:
    features, labels = sample()
    features[2, 3] = torch.nan
    assert not torch.isfinite(make().loss(step(features, labels)).total)
