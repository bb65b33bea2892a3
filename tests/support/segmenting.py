"""Small segmentation models, and their methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from coretune.nets.dilation import dilate
from coretune.nets.small_resnet import SmallResNet
from coretune.segment.heads import make_head
from coretune.segment.methods import DenseCoreTuning, DenseCrossEntropy, DenseMethod
from coretune.segment.model import SegmentationModel
from coretune.segment.task import SegmentationTask
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.catalog.methods.core_tuning import CoreTuningParameters
from coretune.spec.components import NoParameters
from coretune.spec.run import RunSpec
from coretune.spec.segmentation import SegmentationSpec
from coretune.tuning.context import Context
from coretune.tuning.division import divide
from coretune.tuning.gradient_sum import GradientSum
from coretune.tuning.optimizer import trained_parameters
from coretune.tuning.shard import Shard
from coretune.tuning.task import Batch, Moment


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


def workers_step(shard: Shard, method: str, n: int, keys: dict[str, Any], micro_batch: int | None = None) -> Any:
    """The loss, summed gradients and buffers of one step on n images in float64, of which each worker has its own."""
    spec = segmentation_spec(method, **keys)
    model = make_model(spec.segmentation).double()
    made = make_method(spec, model).double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # drawn by each worker for its own images
    model.train()
    made.train()
    draws = torch.Generator().manual_seed(n)
    images = torch.rand(n, 3, 32, 32, dtype=torch.float64, generator=draws)
    masks = torch.randint(0, 3, (n, 4, 4), generator=draws).repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    masks[:, :3] = 255
    own = torch.from_numpy(divide(n, spec.train, shard.workers, views=1).whole.own(shard.rank))
    task = SegmentationTask.__new__(SegmentationTask)  # its data are not needed for a loss
    task._spec, task._options, task._weights = spec, spec.segmentation or SegmentationSpec(), None
    context = Context(device=torch.device("cpu"), shard=shard, micro_batch=micro_batch)
    moment = Moment(seed=3, epoch=1, step=2, progress=0.5)
    loss = task.loss(model, Batch((images[own],), masks, torch.arange(n)), made, moment, context)
    with GradientSum(trained_parameters(model.encoder, made), shard).of_backward():
        shard.part_of(loss.total).backward()  # type: ignore[no-untyped-call]
    modules = nn.ModuleDict({"encoder": model.encoder, "method": made})
    return {
        "loss": {"total": loss.total.detach(), **loss.terms},
        "counts": dict(loss.counts),
        "gradients": {name: p.grad for name, p in modules.named_parameters() if p.grad is not None},
        "buffers": {name: value.clone() for name, value in modules.named_buffers()},
    }


def segmentation_spec(method: str, **keys: Any) -> RunSpec:
    """A run's description; its data are nowhere."""
    segmentation = {"head": keys.pop("head", "fcn"), "pixels": 40, "distance": 1, "purity": 0.5}
    data = {"dataset": {"name": "voc", "version": 1}, "fingerprint": "0" * 64, "image_size": 32}
    return RunSpec.model_validate(
        {
            "task": "segmentation",
            "data": {**data, "validation": 0.1, "test": 0.1},
            "backbone": {"arch": {"name": "small_resnet", "version": 1}},
            "method": {"name": method, "version": 1},
            "train": {"batch": 12, "contrast_batch": 12, **keys},
            "seed": 7,
            "segmentation": segmentation,
        }
    )
