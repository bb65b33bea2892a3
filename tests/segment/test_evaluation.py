from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.segmenting import make_model
from torch import Tensor

from coretune.data.mask_dataset import MaskDataset
from coretune.nets.backbone import Backbone, Sizes
from coretune.nets.dilation import dilate
from coretune.nets.model import Model
from coretune.nets.torchvision_vit import vit_b_16
from coretune.segment import evaluation
from coretune.segment.evaluation import evaluate_segmentation, predicted_classes, whole_images
from coretune.segment.heads import make_head
from coretune.segment.metrics import ConfusionMatrix
from coretune.segment.model import SegmentationModel
from coretune.spec.catalog.backbones import VisionTransformerParameters
from coretune.spec.catalog.evaluations import SegmentationParameters
from coretune.spec.segmentation import SegmentationSpec
from coretune.tuning.context import Context

CONTEXT = Context(device=torch.device("cpu"))


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    return cast(SegmentationModel, make_model().eval())


def everything(dataset: MaskDataset) -> np.ndarray:
    return np.arange(len(dataset.packed.names))


@torch.no_grad()
def test_it_is_the_reference_on_whole_images(model: SegmentationModel, dataset: MaskDataset) -> None:
    found = evaluate_segmentation(model, dataset.packed, everything(dataset), CONTEXT)
    matrix = ConfusionMatrix(3, CONTEXT.device)
    for index in everything(dataset):
        image, mask = dataset.packed[int(index)]
        features = model.backbone.maps(model.normalise(torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255))
        logits = F.interpolate(model.head(features), size=mask.shape, mode="bilinear", align_corners=False)
        matrix.update(logits.argmax(dim=1)[0], torch.from_numpy(mask.copy()))
    assert found == pytest.approx(matrix.compute(dataset.packed.classes), abs=0.1)


def test_batches_are_of_one_size_and_change_nothing(
    model: SegmentationModel, dataset: MaskDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = list(whole_images(dataset.packed, everything(dataset), CONTEXT))
    assert all(images.shape[2:] == masks.shape[1:] for images, masks in batches)
    assert sum(len(images) for images, _ in batches) == 14 and len({masks.shape for _, masks in batches}) > 1
    monkeypatch.setattr(evaluation, "PIXELS", 1)
    alone = list(whole_images(dataset.packed, everything(dataset), CONTEXT))
    assert [len(images) for images, _ in alone] == [1] * 14
    assert torch.equal(torch.cat([m.flatten() for _, m in alone]), torch.cat([m.flatten() for _, m in batches]))


def test_scales_and_mirrors_are_averaged(model: SegmentationModel) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 30, 26)
    params = SegmentationParameters(scales=(0.5, 1.0, 1.5), flip=True)
    total: Tensor | float = 0.0
    with torch.no_grad():
        for scale in params.scales:
            size = (round(30 * scale), round(26 * scale))
            resized = F.interpolate(images, size, mode="bilinear", antialias=scale < 1, align_corners=False).clamp(0, 1)
            if scale == 1:
                resized = images
            for logits in (model(resized), model(resized.flip(3)).flip(3)):
                total = total + F.interpolate(logits, (30, 26), mode="bilinear", align_corners=False).softmax(dim=1)
        assert isinstance(total, Tensor)
        found = predicted_classes(model, images, params)
        assert torch.equal(found, total.argmax(dim=1))
        mirrored = predicted_classes(model, images.flip(3), params)
    assert float((mirrored == found.flip(2)).float().mean()) > 0.99  # the same, but for rounding


class Fussy(Backbone):
    """Takes images of some sizes only, and says what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = Sizes(least=16, multiple=8)
        self.seen: list[tuple[int, int]] = []


class Constant(Model):
    """Predicts from the pixel alone."""

    def forward(self, images: Tensor) -> Tensor:
        assert isinstance(self.encoder, Fussy)
        self.encoder.seen.append((images.shape[2], images.shape[3]))
        return images


def test_padding_is_not_counted() -> None:
    net = Constant(Fussy())
    images = torch.rand(1, 3, 10, 21)
    found = predicted_classes(net, images, SegmentationParameters())
    assert cast(Fussy, net.encoder).seen == [(16, 24)]
    assert torch.equal(found, images.argmax(dim=1))


@torch.no_grad()
def test_a_vision_transformer_evaluates_images_of_any_size() -> None:
    torch.manual_seed(0)
    encoder = vit_b_16(VisionTransformerParameters(image_size=32))
    options = SegmentationSpec(head="fcn", output_stride=16, auxiliary=0)
    model = SegmentationModel(encoder, make_head(options, dilate(encoder, 16, "vit_b_16"), 3, "vit_b_16")).eval()
    images = torch.rand(1, 3, 40, 70)
    found = predicted_classes(model, images, SegmentationParameters())
    whole = F.pad(images, (0, 10, 0, 8))
    assert torch.equal(found, model(whole)[:, :, :40, :70].argmax(dim=1))


def test_scales_are_checked() -> None:
    for scales in ((), (1.0, 1.0), (0.0,), (9.0,)):
        with pytest.raises(ValueError):
            SegmentationParameters(scales=scales)
