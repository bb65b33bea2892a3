"""The loss of a batch, contrast batch by contrast batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.draws import permutation
from coretune.nets.model import Model
from coretune.spec.run import TrainSpec
from coretune.spec.seeds import derive_seed
from coretune.tuning.context import Context
from coretune.tuning.division import Part, divide, smaller_groups
from coretune.tuning.encode_part import encode_part, encode_shuffled, encoding
from coretune.tuning.method import LossTerms, Method, Step
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.task import Batch, Moment


def contrast_loss(
    model: Model,
    batch: Batch,
    method: Method,
    train: TrainSpec,
    moment: Moment,
    context: Context,
    *,
    look: Callable[[Tensor], object] = lambda features: None,
) -> LossTerms:
    """Returns the mean over the batch's contrast batches of the method's loss, each weighted by its size.

    With several workers each encodes its own images and computes the whole loss, which is the same on all of them; its
    gradient is that of one worker once it went back through `Shard.part_of` within `GradientSum.of_backward`.

    Args:
        model: In training mode.
        batch: n samples, with the images that this worker encodes.
        method: Sees features and labels of one contrast batch at a time.
        train: `contrast_batch`, and `bn_group` (by default one contrast batch).
        moment: Seeds the method's own draws.
        context: Micro-batch, rounded up to whole batch-norm groups; the workers.
        look: Told the features (n, d) of the first view, attached to the graph, before the method sees them.
    """
    division = divide(batch.labels.shape[0], train, context.shard.workers, views=method.views, regroups=method.regroups)
    sizes = [len(part.owner) for part in division.parts]
    labels = _divide(batch.labels, sizes)
    domains = [None] * len(sizes) if batch.domain is None else _divide(batch.domain, sizes)
    generators = [
        torch.Generator().manual_seed(derive_seed(moment.seed, "method", moment.epoch, moment.step, number))
        for number in range(len(sizes))
    ]
    rests = method.frozen(moment.progress)
    own_sizes = sizes if method.whole_images else division.own_sizes(context.shard.rank)
    images, targets = _mixed(method, batch.views[0], own_sizes, labels, generators)
    if method.whole_images and context.shard.workers > 1:
        images = images.index_select(0, division.whole.rows(context.shard.rank, images.device))
    with resting(model) if rests else nullcontext():
        encoded = encode_part(model, images, division.whole, context)
    look(encoded)
    features = _divide(encoded, sizes)
    views = zip(*(_divide(view, own_sizes) for view in batch.views), strict=True)
    parts = [
        method.loss(
            Step(
                features=own_features,
                labels=own_labels,
                views=own_views,
                encode=_again(model, part, context, rests=rests, whole_images=method.whole_images),
                gather=partial(context.shard.gather, part=part),
                regroup=_regrouping(model, part, number, method, train, moment, context),
                generator=generator,
                epoch=moment.epoch,
                progress=moment.progress,
                targets=own_targets,
                domain=own_domain,
            )
        )
        for number, (part, own_features, own_labels, own_views, generator, own_targets, own_domain) in enumerate(
            zip(division.parts, features, labels, views, generators, targets, domains, strict=True)
        )
    ]
    return parts[0] if len(parts) == 1 else mean_terms(parts, [size / batch.labels.shape[0] for size in sizes])


def _mixed(
    method: Method, images: Tensor, sizes: list[int], labels: list[Tensor], generators: list[torch.Generator]
) -> tuple[Tensor, list[Tensor | None]]:
    """Returns the images to encode, and by contrast batch their soft labels."""
    found = [method.mix(*part) for part in zip(_divide(images, sizes), labels, generators, strict=True)]
    mixed = [part for part in found if part is not None]
    if not mixed:
        return images, [None] * len(sizes)
    if len(mixed) < len(found):
        raise RuntimeError(f"{type(method).__name__}.mix mixed {len(mixed)} of {len(found)} contrast batches")
    return torch.cat([part[0] for part in mixed]), [part[1] for part in mixed]


@contextmanager
def resting(model: Model) -> Iterator[None]:
    """Puts the backbone into evaluation mode, without a gradient."""
    with torch.no_grad(), evaluation_mode(model.encoder):
        yield


def _again(
    model: Model, part: Part, context: Context, *, rests: bool, whole_images: bool
) -> Callable[[Tensor], Tensor]:
    """Returns what encodes a contrast batch's images once more: those of this worker, or of them all."""
    encode = encoding(model, part, context)
    if whole_images and context.shard.workers > 1:
        own = encode

        def encode(images: Tensor) -> Tensor:
            return own(images.index_select(0, part.rows(context.shard.rank, images.device)))

    return resting(model)(encode) if rests else encode


def _regrouping(
    model: Model, part: Part, number: int, method: Method, train: TrainSpec, moment: Moment, context: Context
) -> Callable[[Tensor], Tensor] | None:
    """Returns what encodes a contrast batch's images in shuffled groups, or None where the method does not regroup."""
    group = smaller_groups(train)
    if group is None or not method.regroups:
        return None

    def encode(images: Tensor) -> Tensor:
        order = group_order(moment, number, len(part.owner))
        return encode_shuffled(model, images, part, order, group, context)

    return encode


def group_order(moment: Moment, number: int, n: int) -> NDArray[np.int64]:
    """Returns the order (n,) in which a contrast batch's samples make new batch-norm groups.

    Args:
        moment: Seed, epoch and step.
        number: Of the contrast batch.
        n: Its samples.
    """
    return permutation(derive_seed(moment.seed, "regroup", moment.epoch, moment.step), "groups", number, n)


def _divide(values: Tensor, sizes: list[int]) -> list[Tensor]:
    """Returns consecutive slices; unlike the parts of `split`, a method may change them in place."""
    if len(sizes) == 1:
        return [values]
    return [values[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def mean_terms(parts: list[LossTerms], weights: list[float]) -> LossTerms:
    """Returns the weighted sum of the losses and terms of some contrast batches, and the sum of their counts."""

    def weighted(values: list[Tensor]) -> Tensor:
        return torch.stack([weight * value for weight, value in zip(weights, values, strict=True)]).sum()

    first = parts[0]
    return LossTerms(
        total=weighted([part.total for part in parts]),
        terms={name: weighted([part.terms[name] for part in parts]) for name in first.terms},
        counts={name: torch.stack([part.counts[name] for part in parts]).sum() for name in first.counts},
    )
