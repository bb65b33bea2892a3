"""Adversarial training: a task whose images are perturbed, step by step, so that the model does worst on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.dataset import Dataset
from coretune.nets.model import Model
from coretune.robust.draws import normal_of
from coretune.robust.inner import NEAR, Objective, climb, start_draws, uniform_start
from coretune.robust.threat import ThreatModel
from coretune.robust.validation import RobustAccuracy, loss_of
from coretune.spec.run import RunSpec
from coretune.spec.validation_attack import ROBUST
from coretune.tuning.arguments import computing_dtype
from coretune.tuning.classification import ClassificationTask
from coretune.tuning.context import Context
from coretune.tuning.contrast import contrast_loss, resting
from coretune.tuning.division import Division, divide
from coretune.tuning.encode_part import encode_part
from coretune.tuning.loop import EpochReport
from coretune.tuning.method import Examples, LossTerms, Method
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.task import Batch, Moment

COLLAPSED = 0.5
"""Share of the accuracy under one step that several have to leave."""
FGSM = "fgsm_top1"
PGD = "pgd_top1"
OVERFITTING = "catastrophic_overfitting"


class AdversarialTask:
    """Classification on adversarial images. Its views are attacked one by one, before a method mixes them.

    The attack sees the model in evaluation mode: batch norm by its running statistics, which the attack leaves as they
    are, and no dropout. What is trained on then goes through the model in training mode, in the method's batch-norm
    groups: adversarial images among themselves, unless the method sees `both`.

        adversarial   L = L_method(x')
        both          L = L_method(x_1, x'_1, x_2, x'_2, …), contrast batch by contrast batch
        clean         L = ½ (L_method(x) + CE(x'))           Goodfellow et al. (ICLR 2015, arXiv 1412.6572), section 5
        trades        L = L_method(x) + β KL(p(x) ‖ p(x'))   Zhang et al. (ICML 2019, arXiv 1901.08573), equation 5

    x' maximises the classifier's cross-entropy, for `trades` the divergence, with ε as the warm-up has it.

    Args:
        dataset: The data, split.
        spec: A run with an adversary.
        views: Augmented views per image, as the method asks.
        whole_images: Whether each of several workers makes the images of all samples, as the method asks.
        regroups: As in `SampledTask`.
    """

    def __init__(
        self, dataset: Dataset, spec: RunSpec, views: int, *, whole_images: bool = False, regroups: bool = False
    ) -> None:
        assert spec.adversary is not None
        self._clean = ClassificationTask(dataset, spec, views, whole_images=whole_images, regroups=regroups)
        self._adversary = spec.adversary
        self._spec = spec
        assert spec.attack is not None
        self._robust = RobustAccuracy(dataset, spec.seed, spec.attack)
        self._own = RobustAccuracy(dataset, spec.seed, spec.adversary.validation_attack)
        self.objective: tuple[str, Literal["max", "min"]] | None = self._clean.objective
        self.ties = self._clean.ties

    def steps(self) -> int:
        """Returns the number of batches of an epoch."""
        return self._clean.steps()

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        """Yields an epoch's batches, as they are without an adversary."""
        return self._clean.batches(epoch, start, context)

    def examples(self, context: Context) -> Examples:
        """Returns the images that are trained on, without augmentation, and as they are."""
        return self._clean.examples(context)

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        """Returns the loss of a batch and its adversarial images.

        Term `adversarial` is the cross-entropy that stands beside the method's loss, `divergence` that of `trades`.
        """
        division = self._division(batch.labels.shape[0], method, context)
        own = slice(None) if method.whole_images else division.whole.rows(context.shard.rank, batch.labels.device)
        labels, index = batch.labels[own], batch.index[own]
        train, seen = self._spec.train, self._adversary.seen
        views = batch.views if seen in ("adversarial", "both") else batch.views[:1]
        with evaluation_mode(model, method):
            attacked = tuple(
                self._attack(model, view, labels, index, f"attack{number}", moment, context)
                for number, view in enumerate(views)
            )
        if seen == "adversarial":
            return contrast_loss(model, replace(batch, views=attacked), method, train, moment, context)
        if seen == "both":
            both = self._both(batch, attacked, division, method, context)
            return contrast_loss(model, both, method, train, moment, context)
        features: list[Tensor] = []
        clean = contrast_loss(model, batch, method, train, moment, context, look=features.append)
        with resting(model) if method.frozen(moment.progress) else nullcontext():
            attacked_features = self._encode(model, attacked[0], division, method, context)
        assert method.classifier is not None
        return self._beside(clean, batch.labels, *map(method.classifier, (*features, attacked_features)))

    @torch.no_grad()
    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        """Returns the metrics of the clean validation part, and `robust_top1` (per cent) under the run's attack.

        That is PGD at the adversary's full ε, unless the run has another validation attack. PGD has one random start,
        the same at every epoch, and counts its last step. With `fgsm_rs` there is `fgsm_top1` too, under the one step
        of the training, and `catastrophic_overfitting`: 1 where the adversary's PGD leaves less than half of it, else 0
        (Wong, Rice and Kolter, section 5.4, saw PGD fall to 0 while the one step got harmless); `pgd_top1` is what it
        leaves, where that is not `robust_top1`.
        """
        found = dict(self._clean.evaluate(model, context))
        found[ROBUST] = self._robust(model, context)
        if self._adversary.attack == "fgsm_rs":
            found[FGSM] = self._own(model, context, step=float(self._adversary.step), steps=1)
            if self._spec.validation_attack is not None:
                found[PGD] = self._own(model, context)
            found[OVERFITTING] = float(_under_pgd(found) < COLLAPSED * found[FGSM])
        return found

    def _division(self, samples: int, method: Method, context: Context) -> Division:
        return divide(samples, self._spec.train, context.shard.workers, views=method.views, regroups=method.regroups)

    def _attack(
        self,
        model: Model,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        purpose: str,
        moment: Moment,
        context: Context,
    ) -> Tensor:
        """Returns adversarial images (m, 3, H, W) of images; the model is in evaluation mode."""
        samples, size = index.cpu().numpy(), context.micro_batch or max(len(images), 1)
        parts = [
            self._attack_some(model, images[part], labels[part], samples[part], purpose, moment)
            for part in (slice(start, start + size) for start in range(0, max(len(images), 1), size))
        ]
        return torch.cat(parts).contiguous(memory_format=context.memory_format)

    def _attack_some(
        self, model: Model, images: Tensor, labels: Tensor, samples: NDArray[np.int64], purpose: str, moment: Moment
    ) -> Tensor:
        adversary, grown = self._adversary, self._grown(moment)
        threat = ThreatModel(adversary.norm, grown * adversary.size)
        draws = start_draws(self._spec.seed, purpose, moment.epoch, samples, images)
        if adversary.attack == "trades":
            start = images + NEAR * normal_of(draws[:, :-1]).to(images.dtype).view_as(images)
            objective = _divergence_from(model, images)
        else:
            start, objective = uniform_start(threat, draws, images), loss_of(model, labels)
        step = float(grown * adversary.step)
        return climb(objective, images, start, threat, step=step, steps=adversary.number_of_steps)

    def _grown(self, moment: Moment) -> Fraction:
        """Returns which share of ε a step has."""
        rising = Fraction(self._adversary.warmup_epochs) * self.steps()
        done = moment.epoch * self.steps() + moment.step + 1
        return min(Fraction(1), done / rising) if rising else Fraction(1)

    def _both(
        self, batch: Batch, attacked: tuple[Tensor, ...], division: Division, method: Method, context: Context
    ) -> Batch:
        """Returns a batch of twice as many samples, each image before what became of it."""
        labels, index = batch.labels.repeat_interleave(2), batch.index.repeat_interleave(2)
        views = [torch.stack(pair, dim=1).flatten(0, 1) for pair in zip(batch.views, attacked, strict=True)]
        if not method.whole_images and context.shard.workers > 1:
            # Other workers encode them in the larger batch.
            everyone = [
                torch.stack(
                    [context.shard.gather(view[which::2].contiguous(), division.whole) for which in (0, 1)], dim=1
                ).flatten(0, 1)
                for view in views
            ]
            larger = self._division(labels.shape[0], method, context).whole
            rows = larger.rows(context.shard.rank, labels.device)
            views = [view.index_select(0, rows) for view in everyone]
        made = tuple(view.contiguous(memory_format=context.memory_format) for view in views)
        domain = None if batch.domain is None else batch.domain.repeat_interleave(2)
        return replace(batch, views=made, labels=labels, index=index, domain=domain)

    def _encode(self, model: Model, attacked: Tensor, division: Division, method: Method, context: Context) -> Tensor:
        if method.whole_images and context.shard.workers > 1:
            attacked = attacked.index_select(0, division.whole.rows(context.shard.rank, attacked.device))
        return encode_part(model, attacked, division.whole, context)

    def _beside(self, clean: LossTerms, labels: Tensor, logits: Tensor, attacked: Tensor) -> LossTerms:
        """Adds what is asked of the adversarial images' logits (n, C) to a method's loss on clean ones."""
        attacked = attacked.to(computing_dtype(attacked))
        if self._adversary.attack == "trades":
            further = divergence(logits.to(attacked.dtype), attacked).mean()
            total, name = clean.total + self._adversary.beta * further, "divergence"
        else:
            further = F.cross_entropy(attacked, labels)
            total, name = (clean.total + further) / 2, "adversarial"
        return LossTerms(total, {**clean.terms, name: further.detach()}, clean.counts)


def divergence(logits: Tensor, others: Tensor) -> Tensor:
    """Returns KL(p ‖ q) by row, (n,), of the softmaxes p and q of two logits (n, C); gradients flow to both."""
    log_p, log_q = F.log_softmax(logits, dim=1), F.log_softmax(others, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def overfitting(report: EpochReport) -> str:
    """Returns what to say of an epoch in which the training's own attack has become harmless, or nothing."""
    if not report.metrics.get(OVERFITTING):
        return ""
    return (
        f"catastrophic overfitting at epoch {report.epoch}: {report.metrics[FGSM]:.1f} % of the validation images "
        f"withstand the one step of the training, {_under_pgd(report.metrics):.1f} % several; "
        "take the best epoch, or adversary.attack: pgd, a smaller eps or a smaller step_size"
    )


def _under_pgd(metrics: Mapping[str, float]) -> float:
    return metrics.get(PGD, metrics[ROBUST])


def _divergence_from(model: Model, images: Tensor) -> Objective:
    with torch.no_grad():
        clean: Tensor = model(images)
    clean = clean.to(computing_dtype(clean))

    def objective(others: Tensor) -> Tensor:
        return divergence(clean, model(others).to(clean.dtype))

    return objective
