"""Everything that is measured of a model's features, on pools of training and of held-out images."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.data.pack import Packed
from coretune.nets.model import Model
from coretune.tuning.arguments import bad_argument
from coretune.tuning.context import Context
from coretune.tuning.diagnostics.class_means import class_means
from coretune.tuning.diagnostics.collapse import NeuralCollapse, centre_disagreement, neural_collapse
from coretune.tuning.diagnostics.geometry import Scatter, effective_rank, scatter
from coretune.tuning.diagnostics.hypersphere import class_alignment, uniformity
from coretune.tuning.diagnostics.pool import Indices, PoolFeatures, balanced_pools, pool_features
from coretune.tuning.diagnostics.split import ContrastSplit, contrast_split


@dataclass(frozen=True)
class Diagnosis:
    """The geometry of one feature space on one pool. NaN where a number is not defined.

    Attributes:
        samples: n.
        classes: K, of those that occur.
        scatter: Of the features as they are.
        effective_rank: Of the centred features.
        collapse: Of the features as they are.
        alignment: `class_alignment` of the features scaled to unit length.
        uniformity: Of the features scaled to unit length.
        class_uniformity: The same over pairs of different classes.
        contrast: Split of the loss of the features scaled to unit length.
    """

    samples: int
    classes: int
    scatter: Scatter
    effective_rank: float
    collapse: NeuralCollapse
    alignment: float
    uniformity: float
    class_uniformity: float
    contrast: ContrastSplit

    def metrics(self) -> dict[str, float]:
        """Returns the numbers by name, without those that are not defined."""
        split = self.contrast
        found = {
            "samples": float(self.samples),
            "classes": float(self.classes),
            "scatter_within": self.scatter.within,
            "scatter_between": self.scatter.between,
            "scatter_ratio": self.scatter.ratio,
            "margin": self.scatter.margin,
            "margin_ratio": self.scatter.margin_ratio,
            "effective_rank": self.effective_rank,
            **asdict(self.collapse),
            "alignment": self.alignment,
            "uniformity": self.uniformity,
            "class_uniformity": self.class_uniformity,
        }
        if split.anchors:
            found |= {"tightness": split.tightness, "contrast": split.contrast, "contrastive_loss": split.loss}
        return {name: value for name, value in found.items() if math.isfinite(value)}


def diagnose_features(
    features: Tensor,
    labels: Tensor,
    *,
    weight: Tensor | None = None,
    logits: Tensor | None = None,
    temperature: float = 0.07,
) -> Diagnosis:
    """Returns the geometry of some features.

    Args:
        features: (n, d), of any length. A zero vector stays zero on the unit sphere.
        labels: (n,) integers.
        weight: (C, d) of a linear classifier, for NC3.
        logits: (n, C) of the classifier, for NC4.
        temperature: τ of the contrastive loss.

    Raises:
        ValueError: An argument has a wrong shape, dtype, device or value.
    """
    collapse = neural_collapse(features, labels, weight=weight, logits=logits)
    unit = F.normalize(features.detach().double(), dim=1, eps=torch.finfo(torch.float64).tiny)
    return Diagnosis(
        samples=features.shape[0],
        classes=int(torch.unique(labels).shape[0]),
        scatter=scatter(features, labels),
        effective_rank=effective_rank(features),
        collapse=collapse,
        alignment=class_alignment(unit, labels),
        uniformity=uniformity(unit),
        class_uniformity=uniformity(unit, labels),
        contrast=contrast_split(unit, labels, temperature=temperature),
    )


def diagnose_pool(pool: PoolFeatures, model: Model, *, temperature: float = 0.07) -> dict[str, Diagnosis]:
    """Returns the geometry of a pool's features: `backbone`, and `projector` where there is one (without NC3 and NC4).

    Args:
        pool: Of `pool_features`.
        model: The model; its classifier's weight is taken for NC3 if it is linear.
        temperature: τ of the contrastive loss.
    """
    weight = model.classifier.weight if isinstance(model.classifier, nn.Linear) else None
    found = {
        "backbone": diagnose_features(
            pool.backbone, pool.labels, weight=weight, logits=pool.logits, temperature=temperature
        )
    }
    if pool.projector is not None:
        found["projector"] = diagnose_features(pool.projector, pool.labels, temperature=temperature)
    return found


def diagnose(
    model: Model,
    head: nn.Module | None,
    packed: Packed,
    train: Indices,
    held_out: Indices,
    context: Context,
    *,
    per_class: int = 50,
    temperature: float = 0.07,
    seed: int = 0,
) -> dict[str, float]:
    """Measures features of backbone and projector on class-balanced pools of one size of training and held-out images.

    In evaluation mode, without augmentation; nothing of the model or of torch's random numbers is changed.

    Args:
        model: On the context's device.
        head: The method, or its projection head; None for the backbone alone.
        packed: The images.
        train: Indices that the model was trained on, e.g. `split.labelled`.
        held_out: Indices that it was not, e.g. `split.validation`.
        context: Device and batch size.
        per_class: Most images per class, as in `balanced_pools`.
        temperature: τ of the contrastive loss.
        seed: Of the pools.

    Returns:
        Numbers by `<pool>.<space>.<name>`: `train` or `held_out`, `backbone` or `projector`, name as in
        `Diagnosis.metrics`; also `held_out.backbone.nc4_train_means`, NC4 with the class means of the training pool.
        What is not defined is left out.

    Raises:
        ValueError: No class has two images in both parts, a parameter is out of range, or features are not finite.
    """
    drawn = balanced_pools(packed.labels, [train, held_out], per_class=per_class, seed=seed)
    if not len(drawn[0]):
        raise bad_argument("train, held_out", "no class with two images in both", "at least one")
    pools = [pool_features(model, head, packed, indices, context) for indices in drawn]
    found = {
        f"{part}.{space}.{name}": value
        for part, pool in zip(("train", "held_out"), pools, strict=True)
        for space, diagnosis in diagnose_pool(pool, model, temperature=temperature).items()
        for name, value in diagnosis.metrics().items()
    }
    known, new = pools
    if new.logits is not None:
        means = class_means(known.backbone, known.labels)
        found["held_out.backbone.nc4_train_means"] = centre_disagreement(new.backbone, new.logits, means)
    return found
