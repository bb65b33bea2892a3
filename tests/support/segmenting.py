"""Small segmentation models, and their methods."""

from __future__ import annotations

from typing import Any

import torch

from coretune.nets.dilation import dilate
from coretune.nets.small_resnet import SmallResNet
from coretune.segment.heads import make_head
from coretune.segment.methods import DenseCoreTuning, DenseCrossEntropy, DenseMethod
from coretune.segment.model import SegmentationModel
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.catalog.methods.core_tuning import CoreTuningParameters
from coretune.spec.components import NoParameters
from coretune.spec.run import RunSpec
from coretune.spec.segmentation import SegmentationSpec


def make_method(spec: RunSpec, model: SegmentationModel, **params: Any) -> DenseMethod:
    """Returns a run's method with the model's head."""
    options = spec.segmentation or SegmentationSpec()
    torch.manual_seed(5)
    method: DenseMethod
    if spec.method.name == "ce":
        method = DenseCrossEntropy(NoParameters(), options=options, head=model.head)
    else:
        method = DenseCoreTuning(CoreTuningParameters(**params), options=options, head=model.head)
    method.prepare(model.encoder)
    return method


def make_model(options: SegmentationSpec | None = None, classes: int = 3) -> SegmentationModel:
    """Returns a small model."""
    torch.manual_seed(4)
    encoder = SmallResNet(SmallResNetParameters(widths=(4, 8, 8, 16)))
    options = options or SegmentationSpec(head="fcn")
    return SegmentationModel(encoder, make_head(options, dilate(encoder, options.output_stride, "net"), classes, "net"))
