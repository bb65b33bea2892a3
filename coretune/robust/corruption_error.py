"""How a model does on images with common corruptions, as an evaluation.

With E_cs the error (per cent) of corruption c at severity s,

    corruption error = mean over c of the mean over s of E_cs.

It is not divided by a reference network's, as ImageNet-C's mCE is by AlexNet's; leaderboards divide it by that of
CE-tuning on the same data and backbone (`coretune.report.evaluated`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coretune.data.pack import Packed
from coretune.nets.model import Model
from coretune.robust.corruptions import corrupt, table_for
from coretune.robust.headway import Tell, Teller
from coretune.spec.catalog.evaluations import CorruptionParameters
from coretune.tuning.context import Context
from coretune.tuning.judgement import Judgement
from coretune.tuning.sampling import plain_images, to_device
from coretune.tuning.shared_rows import Indices

FROST = "drawn by coretune: the photographs of ImageNet-C are not at hand"


@torch.no_grad()
def evaluate_corruptions(
    model: Model,
    packed: Packed,
    indices: Indices,
    context: Context,
    *,
    params: CorruptionParameters | None = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> Judgement:
    """Measures the error on some images, clean and with each corruption at each severity.

    Workers divide the images among them. The corruptions of an image follow from (seed, corruption, its index).

    Args:
        model: In evaluation mode, on the context's device.
        packed: The images.
        indices: (n,) which of them.
        context: Device and batch size, and the workers.
        params: Which corruptions and severities.
        seed: Of the corruptions.
        tell: Is told how far this worker is.

    Returns:
        `corruption_error` and `clean_error` in per cent. Details: `error` by corruption, a list by severity;
        `mean_error` by corruption; the severities, the `table` that they are of and the `side` of the images. Nothing
        if there is no image.
    """
    params = params or CorruptionParameters()
    if not len(indices):
        return Judgement({}, {"nothing": "there is no image to judge"})
    side = packed.images.shape[1] if packed.sides is None else packed.sides.crop
    own = indices[context.shard.rank :: context.shard.workers]
    misses = torch.zeros(1 + len(params.corruptions) * len(params.severities), dtype=torch.int64, device=context.device)
    seen, teller = 0, Teller(tell)
    teller.begin("corruptions", len(own) * len(params.corruptions))
    for images in plain_images(packed, own, context):
        samples = own[seen : seen + len(images)]
        labels = to_device(torch.from_numpy(packed.labels[samples]), context.device)
        misses += _misses(model, images, labels, samples, params, seed, teller)
        seen += len(images)
    errors = 100 * context.shard.sum(misses).cpu().double() / len(indices)
    table = errors[1:].view(len(params.corruptions), len(params.severities))
    means = dict(zip(params.corruptions, table.mean(dim=1).tolist(), strict=True))
    details = {
        "error": dict(zip(params.corruptions, table.tolist(), strict=True)),
        "mean_error": means,
        "severities": list(params.severities),
        "table": f"{table_for(side).name}, of images of {table_for(side).side} pixels",
        "side": side,
        **({"frost": FROST} if "frost" in means else {}),
    }
    return Judgement({"corruption_error": float(table.mean()), "clean_error": float(errors[0])}, details)


def _misses(
    model: Model,
    images: Tensor,
    labels: Tensor,
    samples: Indices,
    params: CorruptionParameters,
    seed: int,
    teller: Teller,
) -> Tensor:
    """Returns how many images of a batch are misclassified: clean, then by corruption and severity."""
    found = [(model(images).argmax(dim=1) != labels).sum()]
    for name in params.corruptions:
        teller.at(name.replace("_", " "))
        for severity in params.severities:
            changed = corrupt(images, np.asarray(samples), name, severity, seed=seed)
            found.append((model(_like(changed, images)).argmax(dim=1) != labels).sum())
        teller.advance(len(images))
    return torch.stack(found)


def _like(images: Tensor, others: Tensor) -> Tensor:
    """Returns images in the memory format of others."""
    channels_last = others.is_contiguous(memory_format=torch.channels_last)
    return images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
