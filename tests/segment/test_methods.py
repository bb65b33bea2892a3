from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.segmenting import make_model

from coretune.segment.methods import DenseCoreTuning, DenseCrossEntropy, PixelStep
from coretune.segment.model import SegmentationModel
from coretune.spec.catalog.methods.core_tuning import CoreTuningParameters
from coretune.spec.components import NoParameters
from coretune.spec.segmentation import SegmentationSpec
from coretune.tuning.losses import focal_contrastive
from coretune.tuning.mixup import hard_pairs

WEIGHTS = torch.tensor([1.0, 2.0, 0.5])


def options(**keys: Any) -> SegmentationSpec:
    return SegmentationSpec.model_validate({"head": "fcn", "pixels": 30, "distance": 1, "purity": 0.5, **keys})


def step_of(model: Any, *, weights: torch.Tensor | None = None, void: bool = False) -> PixelStep:
    torch.manual_seed(2)
    images = torch.rand(2, 3, 32, 32)
    masks = torch.randint(0, 3, (2, 4, 4)).repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    masks[:, :2] = 255
    if void:
        masks[:] = 255
    model.eval()
    outputs = model.outputs(images, auxiliary=True)
    return PixelStep(outputs, masks, weights, torch.Generator().manual_seed(9))


def ce(model: SegmentationModel, spec: SegmentationSpec) -> DenseCrossEntropy:
    return DenseCrossEntropy(NoParameters(), options=spec, head=model.head)


def core(model: SegmentationModel, spec: SegmentationSpec, **params: Any) -> DenseCoreTuning:
    torch.manual_seed(5)
    return DenseCoreTuning(CoreTuningParameters(**params), options=spec, head=model.head)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ce_is_the_cross_entropy_of_all_labelled_pixels(weights: torch.Tensor | None) -> None:
    model, spec = make_model(options()), options()
    step = step_of(model, weights=weights)
    found = ce(model, spec).pixel_loss(step)
    assert step.outputs.auxiliary is not None
    expected = [
        F.cross_entropy(
            F.interpolate(logits, size=(32, 32), mode="bilinear", align_corners=False),
            step.masks,
            weight=weights,
            ignore_index=255,
        )
        for logits in (step.outputs.logits, step.outputs.auxiliary)
    ]
    assert torch.allclose(found.total, expected[0] + 0.4 * expected[1])
    assert torch.allclose(found.terms["cross_entropy"], expected[0])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_core_tuning_is_the_equation(weights: torch.Tensor | None) -> None:
    """Recomputed from the sampled pixels, one mixture after another."""
    spec = options(mixtures=0.6)
    model = make_model(spec)
    method = core(model, spec, eta=0.3, temperature=0.2, alpha=0.7)
    rows, labels = method.sample(step_of(model, weights=weights))
    step = step_of(model, weights=weights)
    found = method.pixel_loss(step)
    # The same draws: the sample's come first, from the same generator.
    generator = torch.Generator().manual_seed(9)
    torch.rand((2, 2), generator=generator, dtype=torch.float64)
    torch.rand((2, *step.outputs.features.shape[2:]), generator=generator, dtype=torch.float64)
    pairs = hard_pairs(rows, labels, 3, alpha=0.7, generator=generator)
    total = mass = 0.0
    scale = torch.ones(3) if weights is None else weights
    for row, target in zip(pairs.features[len(rows) :], pairs.targets[len(rows) :], strict=True):
        log_p = model.head.classify(row[None])[0].log_softmax(dim=0)
        total = total - (scale * target * log_p).sum()
        mass = mass + (scale * target).sum()
    contrast = focal_contrastive(
        method.projector(pairs.features), pairs.groups, anchors=pairs.anchors, owner=pairs.owner, temperature=0.2
    )
    dense = ce(model, spec).pixel_loss(step).terms
    expected = 0.4 * dense["cross_entropy"] + 0.6 * total / mass + 0.4 * dense["auxiliary"] + 0.3 * contrast
    assert torch.allclose(found.total, expected, atol=1e-5)
    assert torch.allclose(found.terms["mixtures"], total / mass, atol=1e-5)
    assert int(found.counts["sampled_pixels"]) == len(rows) == 30


def test_without_mixtures_and_contrast_it_is_ce() -> None:
    spec = options(mixtures=0.0)
    model = make_model(spec)
    found = core(model, spec, eta=0.0).pixel_loss(step_of(model))
    assert torch.equal(found.total, ce(model, spec).pixel_loss(step_of(model)).total)
    rough = core(model, options(), eta=0.0, smooth_classifier=False).pixel_loss(step_of(model))
    assert torch.equal(rough.total, found.total)


def test_gradients_reach_backbone_head_and_projection() -> None:
    spec = options()
    model = make_model(spec)
    method = core(model, spec)
    method.pixel_loss(step_of(model)).total.backward()
    for name, parameter in [*model.named_parameters(), *method.projector.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.any(), name


def test_sampled_pixels_are_of_pure_positions_and_few() -> None:
    spec = options(pixels=7, purity=1.0)
    model = make_model(spec)
    step = step_of(model)
    rows, labels = core(model, spec).sample(step)
    assert rows.shape == (7, model.head.features) and labels.max() < 3
    features = step.outputs.features.permute(0, 2, 3, 1).flatten(0, 2)
    for row in rows:
        assert (features == row).all(dim=1).any()


def test_nothing_but_void_is_no_loss_and_no_nan() -> None:
    spec = options()
    model = make_model(spec)
    found = core(model, spec).pixel_loss(step_of(model, void=True))
    found.total.backward()
    assert found.total.item() == 0 and int(found.counts["sampled_pixels"]) == 0
    assert found.terms.keys() == core(model, spec).pixel_loss(step_of(model)).terms.keys()
