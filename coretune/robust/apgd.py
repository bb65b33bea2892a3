"""Auto-PGD by torchattacks, from whose passes images leave once they are fooled; foreign.py says what is theirs."""

from __future__ import annotations

import torch
import torchattacks
from torch import Tensor, nn

from coretune.robust.attack import Attempt, Subjects, logits_of
from coretune.robust.draws import DrawsApart, SampleDraws
from coretune.robust.losses import DLR_CLASSES, RowLoss, dlr_towards, margin_towards, row_loss
from coretune.robust.restarts import NORM_NAMES, Restarts, laid_out, whole
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import ApgdParameters, TargetedParameters


class Apgd(torchattacks.APGD):  # type: ignore[misc]
    """Auto-PGD on any loss, from whose passes images leave once they are fooled.

    The single run sees all images to its end; those that are fooled keep the logits that they had then, which takes no
    pass of the network. Where gradients are averaged over draws, every image is passed every time.

    Args:
        model: Ready to be attacked.
        subjects: The images.
        threat: The ball.
        params: Steps and step rule.
        loss: What is climbed.
    """

    def __init__(
        self, model: nn.Module, subjects: Subjects, threat: ThreatModel, params: ApgdParameters, loss: RowLoss
    ) -> None:
        super().__init__(
            model,
            norm=NORM_NAMES[threat.norm],
            eps=threat.radius,
            steps=params.steps,
            loss="dlr",
            eot_iter=params.eot,
            rho=params.rho,
        )
        self._row_loss = loss
        self._labels = subjects.labels
        self._left = torch.arange(len(subjects), device=subjects.images.device)
        self._logits = torch.zeros(len(subjects), subjects.classes, device=subjects.images.device)
        self.found = subjects.images.clone()
        self.fooled = torch.zeros_like(subjects.labels, dtype=torch.bool)

    def dlr_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the loss that is climbed, under the name by which the single run asks for one."""
        return self._row_loss(logits, labels)

    def get_logits(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns logits of all images, of those that are fooled the ones that they had then.

        Raises:
            _AllFooled: Nothing is left to do.
        """
        if self.eot_iter > 1:
            return logits_of(self.model, inputs)
        logits = logits_of(self.model, inputs[self._left] if len(self._left) < len(inputs) else inputs)
        everyone = self._logits.to(logits.dtype).index_put((self._left,), logits)
        hit = logits.detach().argmax(dim=1) != self._labels[self._left]
        if bool(hit.any()):
            rows = self._left[hit]
            self.found[rows], self.fooled[rows] = inputs.detach()[rows], True
            self._logits = everyone.detach()
            self._left = self._left[~hit]
            if not len(self._left):
                raise _AllFooled
        return everyone


class _AllFooled(Exception):
    """Ends a single run of which nothing is left; it never leaves this module."""


def apgd_ce(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: ApgdParameters) -> Attempt:
    """Attacks by auto-PGD on the cross-entropy."""
    return _restarted_apgd(model, subjects, threat, params, row_loss("ce", subjects.classes), "apgd-ce")


def apgd_dlr(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: ApgdParameters) -> Attempt:
    """Attacks by auto-PGD on DLR, or on the margin below four classes."""
    return _restarted_apgd(model, subjects, threat, params, row_loss("dlr", subjects.classes), "apgd-dlr")


def apgd_targeted(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: TargetedParameters) -> Attempt:
    """Attacks by auto-PGD towards the likeliest wrong classes in turn, on DLR, or on the margin below four classes."""
    towards = dlr_towards if subjects.classes >= DLR_CLASSES else margin_towards
    ranked = likeliest_wrong(model, subjects)
    state = Restarts(laid_out(subjects))
    for rank in range(min(params.targets, subjects.classes - 1)):
        for restart in range(params.restarts):
            rows, left = state.left()
            if len(left):
                loss = towards(ranked[rows, rank])
                state.put(rows, _single_apgd(model, left, threat, params, loss, f"apgd-t {rank} {restart}"))
    return state.attempt()


def likeliest_wrong(model: nn.Module, subjects: Subjects) -> Tensor:
    """Returns the wrong classes of each image by falling logit, (n, C − 1)."""
    with torch.no_grad():
        logits = logits_of(model, subjects.images)
    logits = logits.scatter(1, subjects.labels[:, None], torch.inf)
    return logits.argsort(dim=1, descending=True)[:, 1:]


def _restarted_apgd(
    model: nn.Module, subjects: Subjects, threat: ThreatModel, params: ApgdParameters, loss: RowLoss, name: str
) -> Attempt:
    state = Restarts(laid_out(subjects))
    for restart in range(params.restarts):
        rows, left = state.left()
        if len(left):
            state.put(rows, _single_apgd(model, left, threat, params, loss, f"{name} {restart}"))
    return state.attempt()


def _single_apgd(
    model: nn.Module, subjects: Subjects, threat: ThreatModel, params: ApgdParameters, loss: RowLoss, purpose: str
) -> Attempt:
    with SampleDraws(subjects.seed, purpose, subjects.index) as draws:
        attack = Apgd(DrawsApart(model, draws), subjects, threat, params, loss)
        try:
            _, robust, _, found = attack.attack_single_run(subjects.images, subjects.labels)
        except _AllFooled:
            return Attempt(attack.found, attack.fooled)
    if attack.eot_iter > 1:
        return whole(subjects, found.detach(), ~robust.bool())
    return Attempt(attack.found, attack.fooled)
