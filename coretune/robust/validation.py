"""Accuracy under an attack on the validation part, epoch by epoch, however a model is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from coretune.data.dataset import Dataset
from coretune.data.draws import permutation
from coretune.nets.model import Model
from coretune.robust.inner import Objective, climb, start_draws, uniform_start
from coretune.robust.losses import row_loss
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import Loss
from coretune.spec.run import RunSpec
from coretune.spec.validation_attack import ROBUST, STEP, ValidationAttack
from coretune.tuning.arguments import computing_dtype
from coretune.tuning.classification import ClassificationTask
from coretune.tuning.context import Context
from coretune.tuning.metrics import ClassificationMetrics
from coretune.tuning.sampling import plain_images, to_device


class RobustAccuracy:
    """Measures how many validation images withstand an attack.

    Images and starts are drawn by the run's seed: they are the same at every epoch, and of all runs with this seed.

    Args:
        dataset: The data, split.
        seed: Seed of the run.
        attack: The attack.

    Attributes:
        chosen: (n,) the images that are attacked.
    """

    def __init__(self, dataset: Dataset, seed: int, attack: ValidationAttack) -> None:
        self._packed, self._seed, self._attack = dataset.packed, seed, attack
        self.chosen = dataset.split.validation
        if attack.limit is not None and attack.limit < len(self.chosen):
            drawn = permutation(seed, "adversarial validation", 0, len(self.chosen))[: attack.limit]
            self.chosen = self.chosen[np.sort(drawn)]

    @torch.no_grad()
    def __call__(self, model: Model, context: Context, *, step: float | None = None, steps: int | None = None) -> float:
        """Returns the accuracy in per cent. Workers divide the images among them.

        Args:
            model: In evaluation mode, on the context's device.
            context: Device and batch size, and the workers.
            step: Size of a step; None: ε/4.
            steps: How many; None: as the attack has it.
        """
        attack, shard = self._attack, context.shard
        classes = len(self._packed.classes)
        metrics = ClassificationMetrics(classes, context.device, shard)
        own = self.chosen[shard.rank :: shard.workers]
        labels = to_device(torch.from_numpy(self._packed.labels[own]), context.device)
        threat, seen = ThreatModel(attack.norm, attack.size), 0
        size = float(STEP * attack.size) if step is None else step
        for images in plain_images(self._packed, own, context):
            part = slice(seen, seen + len(images))
            draws = start_draws(self._seed, "validation attack", 0, own[part], images)
            start = uniform_start(threat, draws, images)
            objective = loss_of(model, labels[part], attack.loss, classes)
            attacked = climb(objective, images, start, threat, step=size, steps=steps or attack.steps)
            metrics.update(model(attacked), labels[part])
            seen += len(images)
        return metrics.compute()["top1"]


class AttackedTask(ClassificationTask):
    """Classification on clean images, of which the validation part is attacked too.

    Args:
        dataset: The data, split.
        spec: A run with a validation attack.
        views: Augmented views per image, as the method asks.
        whole_images: Whether each of several workers makes the images of all samples, as the method asks.
        regroups: As in `SampledTask`.
    """

    def __init__(
        self, dataset: Dataset, spec: RunSpec, views: int, *, whole_images: bool = False, regroups: bool = False
    ) -> None:
        super().__init__(dataset, spec, views, whole_images=whole_images, regroups=regroups)
        assert spec.attack is not None
        self._robust = RobustAccuracy(dataset, spec.seed, spec.attack)

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns the metrics of the clean validation part, and `robust_top1` (per cent) under the attack."""
        return {**super().evaluate(model, context), ROBUST: self._robust(model, context)}


def loss_of(model: Model, labels: Tensor, loss: Loss = "ce", classes: int = 0) -> Objective:
    """Returns what an attack maximises, by image: a loss of the model's logits and the labels (n,).

    Args:
        model: The model.
        labels: (n,).
        loss: As in `robust.losses`.
        classes: How many there are; DLR needs four.
    """
    by_row = row_loss(loss, classes)

    def objective(images: Tensor) -> Tensor:
        logits = model(images)
        return by_row(logits.to(computing_dtype(logits)), labels)

    return objective
