"""The loss of a batch, contrast batch by contrast batch."""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from coretune.nets.model import Model
from coretune.spec.run import TrainSpec
from coretune.spec.seeds import derive_seed
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.context import Context
from coretune.tuning.encode import encode_in_groups
from coretune.tuning.method import LossTerms, Method, Step
from coretune.tuning.task import Batch, Moment


def contrast_loss(
    model: Model, batch: Batch, method: Method, train: TrainSpec, moment: Moment, context: Context
) -> LossTerms:
    """Returns the mean over the batch's contrast batches of the method's loss, each weighted by its size.

    Args:
        model: In training mode.
        batch: n samples.
        method: Sees features and labels of one contrast batch at a time.
        train: `contrast_batch`, and `bn_group` (by default one contrast batch).
        moment: Seeds the method's own draws.
        context: Micro-batch, rounded up to whole batch-norm groups.
    """
    samples = batch.labels.shape[0]
    sizes = chunk_sizes(samples, train.contrast_batch)
    groups = sizes if train.bn_group is None else chunk_sizes(samples, train.bn_group)
    features = encode_in_groups(model.features, batch.views[0], groups, context.micro_batch)
    views = [_divide(view, sizes) for view in batch.views]
    divided = zip(_divide(features, sizes), _divide(batch.labels, sizes), zip(*views, strict=True), strict=True)
    parts: list[LossTerms] = []
    for number, (own_features, labels, own_views) in enumerate(divided):
        seed = derive_seed(moment.seed, "method", moment.epoch, moment.step, number)
        step = Step(
            features=own_features,
            labels=labels,
            views=own_views,
            encode=model.features,
            generator=torch.Generator().manual_seed(seed),
            epoch=moment.epoch,
            progress=moment.progress,
        )
        parts.append(method.loss(step))
    return parts[0] if len(parts) == 1 else _mean(parts, [size / samples for size in sizes])


def _divide(values: Tensor, sizes: list[int]) -> list[Tensor]:
    """Returns consecutive slices; unlike the parts of `split`, a method may change them in place."""
    if len(sizes) == 1:
        return [values]
    return [values[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _mean(parts: list[LossTerms], weights: list[float]) -> LossTerms:
    def weighted(values: list[Tensor]) -> Tensor:
        return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum()

    first = parts[0]
    return LossTerms(
        total=weighted([part.total for part in parts]),
        terms={name: weighted([part.terms[name] for part in parts]) for name in first.terms},
        counts={name: torch.stack([part.counts[name] for part in parts]).sum() for name in first.counts},
    )
