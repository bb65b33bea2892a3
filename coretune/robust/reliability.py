"""Whether the number of an attack can be believed: probes for gradients that mislead (masked gradients).

Signs that a defence hides its gradients instead of being robust, after Athalye, Carlini, Wagner (ICML 2018,
arXiv 1802.00420, section 3.1) and Carlini et al. (arXiv 1902.06705): a gradient of zero, output that is drawn,
probabilities where logits should be, one step that beats many, a black box that beats the white box, a ball without
bounds that is not enough, a loss that has not converged. Flat logits, as training on mixtures of images leaves them,
are another: cross-entropy then says little, and a loss that does not depend on the logits' scale says more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn

from coretune.robust.attack import Attempt, Subjects, gradient, logits_of
from coretune.robust.headway import Teller
from coretune.robust.losses import RowLoss, cross_entropy, margin, row_loss
from coretune.robust.pgd import Ascent, climb, start_of
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import PgdParameters, SquareParameters, attack_named
from coretune.spec.epsilon import step_size

SHARE = 0.05
"""Share of the probed images from which on a sign counts; a single image never does."""

STEPS = 20
"""Gradient steps of a probe, of a quarter of ε each."""

QUERIES = 300
"""Forward passes of the black box."""

RISE = 0.1
"""Share of the loss's rise that twice the steps may add."""

STAGES = 4
"""Stages of `probe`, each of which passes every image."""

ENOUGH = 8
"""Images below which probes that find nothing say nothing."""

UNTESTED = "not tested"
"""What is said of transfer where no other model was at hand."""

SAME = 1e-5
"""Relative difference of two passes of the same images from which on the output counts as drawn."""


@dataclass(frozen=True)
class Probes:
    """What was counted on the probed images, which the model classifies correctly.

    Attributes:
        images: How many.
        zero_gradient: Whose gradient of the cross-entropy is zero in every pixel.
        drawn: Whose logits differ in a second pass.
        probabilities: Whose outputs are probabilities or their logarithms.
        one_step: Fooled by one step of ε (FGSM).
        many_steps: Fooled by 20 steps of ε/4 on the cross-entropy from the image.
        scale_free: Fooled by the same on the margin of logits.
        black_box: Fooled by Square with 300 queries.
        black_box_alone: Fooled by Square, and by none of the gradient steps.
        unbounded: Fooled at an ε that reaches a grey image.
        loss_begin: Sum of the evaluation's own PGD loss at the image.
        loss_end: After its steps.
        loss_twice: After twice its steps.
    """

    images: float = 0
    zero_gradient: float = 0
    drawn: float = 0
    probabilities: float = 0
    one_step: float = 0
    many_steps: float = 0
    scale_free: float = 0
    black_box: float = 0
    black_box_alone: float = 0
    unbounded: float = 0
    loss_begin: float = 0
    loss_end: float = 0
    loss_twice: float = 0

    def tensor(self, device: torch.device) -> Tensor:
        """Returns all of them as a float32 tensor, to be summed over workers."""
        return torch.tensor([getattr(self, item.name) for item in fields(self)], device=device)

    @classmethod
    def from_tensor(cls, values: Tensor) -> Probes:
        """Returns what `tensor` returned."""
        return cls(**dict(zip((item.name for item in fields(cls)), values.tolist(), strict=True)))

    def numbers(self) -> Mapping[str, float | None]:
        """Returns them by name as JSON values; counts as whole numbers, a loss that is not finite as null."""
        found: dict[str, float | None] = {}
        for item in fields(self):
            value = float(getattr(self, item.name))
            is_loss = item.name.startswith("loss")
            found[item.name] = (value if is_loss else int(value)) if math.isfinite(value) else None
        return found


class WhiteBox(NamedTuple):
    """What gradient steps fool, (n,) bool each, by their names in `Probes`."""

    one_step: Tensor
    many_steps: Tensor
    scale_free: Tensor

    @property
    def any(self) -> Tensor:
        """What one of them fools."""
        return self.one_step | self.many_steps | self.scale_free


def white_box(model: nn.Module, subjects: Subjects, threat: ThreatModel) -> WhiteBox:
    """Attacks images by the gradient steps of the verdict, which a black box has to beat.

    Args:
        model: Ready to be attacked.
        subjects: n ≥ 1 images, which the model classifies correctly.
        threat: The headline's.
    """
    one = climb(model, subjects, subjects.images, Ascent(threat, 1, threat.radius, cross_entropy, "last"))
    many = _climbed(model, subjects, threat, cross_entropy)
    free = _climbed(model, subjects, threat, margin)
    return WhiteBox(one.fooled, many.fooled, free.fooled)


def probe(
    model: nn.Module, subjects: Subjects, threat: ThreatModel, pgd: PgdParameters, teller: Teller | None = None
) -> Probes:
    """Makes all probes on some images.

    Args:
        model: Ready to be attacked.
        subjects: n ≥ 0 images, which the model classifies correctly.
        threat: The headline's.
        pgd: The evaluation's own PGD, or its defaults.
        teller: Is told which probe is made, and that a stage of n images is done after each of the `STAGES`.
    """
    teller = teller or Teller()
    n = len(subjects)
    if not n:
        return Probes()
    images, labels = subjects.images, subjects.labels
    teller.at("gradient steps")
    white = white_box(model, subjects, threat)
    teller.advance(n)
    teller.at("square")
    box = _black_box(model, subjects, threat)
    teller.advance(n)
    teller.at("a ball without bounds")
    widest = _widest(subjects, threat)
    far = _climbed(model, subjects, widest, margin).fooled | _climbed(model, subjects, widest, cross_entropy).fooled
    first, again = _passes(model, images)
    teller.advance(n)
    teller.at("twice the steps")
    begin, end, twice = _losses(model, subjects, threat, pgd)
    teller.advance(n)
    return Probes(
        images=n,
        zero_gradient=_count(_steepness(model, images, labels) == 0),
        drawn=_count(_differs(first, again)),
        probabilities=_count(are_probabilities(first)),
        one_step=_count(white.one_step),
        many_steps=_count(white.many_steps),
        scale_free=_count(white.scale_free),
        black_box=_count(box.fooled),
        black_box_alone=_count(box.fooled & ~white.any),
        unbounded=_count(far | white.scale_free | white.many_steps),
        loss_begin=begin,
        loss_end=end,
        loss_twice=twice,
    )


def reasons(found: Probes, *, scale_free: bool) -> list[str]:
    """Returns in words why an attack's number is not to be believed; empty if nothing speaks against it.

    Args:
        found: The probes, of all workers.
        scale_free: Whether the evaluation itself makes an attack on a loss that does not depend on the logits' scale.
    """
    n = found.images
    if not n:
        return ["no image is classified correctly: there was nothing to probe"]
    least = max(2.0, SHARE * n)
    whole, more = found.loss_twice - found.loss_begin, found.loss_twice - found.loss_end
    rising = 100 * more / whole if whole > 0 else 0.0
    signs = [
        (
            n < ENOUGH,
            f"too few images: {n:.0f} of those that were drawn are classified correctly, {ENOUGH} are needed",
        ),
        (
            found.zero_gradient >= least,
            f"zero gradients: those of the cross-entropy are 0 for {_of(found.zero_gradient, n)}",
        ),
        (
            found.drawn >= 1,
            f"random output: two passes differ for {_of(found.drawn, n)}; autoattack-rand averages gradients",
        ),
        (
            found.probabilities >= least,
            f"softmax instead of logits: outputs are probabilities for {_of(found.probabilities, n)}",
        ),
        (
            found.one_step >= found.many_steps + least,
            f"one step beats many: one of ε fools {found.one_step:.0f}, {STEPS} fool {found.many_steps:.0f}",
        ),
        (
            found.black_box_alone >= least,
            f"black box beats white box: Square alone fools {_of(found.black_box_alone, n)}",
        ),
        (
            n - found.unbounded >= least,
            f"a ball without bounds is not enough: it leaves {_of(n - found.unbounded, n)}",
        ),
        (
            rising > 100 * RISE,
            f"the loss has not converged: twice the steps add {rising:.0f} % of its rise",
        ),
        (
            not scale_free and found.scale_free >= found.many_steps + least,
            f"flat logits: the cross-entropy fools {found.many_steps:.0f}, the margin {found.scale_free:.0f}; attack "
            "with autoattack, or with loss margin",
        ),
    ]
    return [said for holds, said in signs if holds]


def are_probabilities(outputs: Tensor) -> Tensor:
    """Returns which rows (n, C) are probabilities, or logarithms of them, (n,) bool."""
    sums = torch.stack([outputs.sum(dim=1), outputs.exp().sum(dim=1)])
    adds_up = (sums - 1).abs() < 1e-3
    return (adds_up[0] & (outputs >= 0).all(dim=1)) | (adds_up[1] & (outputs <= 0).all(dim=1))


def is_drawn(model: nn.Module, images: Tensor) -> bool:
    """Returns whether two passes of the same images (n, 3, H, W) differ by more than rounding."""
    return bool(_differs(*_passes(model, images)).any()) if len(images) else False


@torch.no_grad()
def _passes(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    return logits_of(model, images), logits_of(model, images)


def _differs(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().amax(dim=1) > SAME * one.abs().amax(dim=1)


def _steepness(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Returns the largest slope of the cross-entropy by image, (n,)."""
    images = images.detach().clone().requires_grad_()
    slope = gradient(cross_entropy(logits_of(model, images), labels).sum(), images)
    return slope.nan_to_num(0.0).abs().flatten(1).amax(dim=1)


def _climbed(model: nn.Module, subjects: Subjects, threat: ThreatModel, loss: RowLoss) -> Attempt:
    return climb(model, subjects, subjects.images, Ascent(threat, STEPS, threat.radius / 4, loss, "any"))


def _black_box(model: nn.Module, subjects: Subjects, threat: ThreatModel) -> Attempt:
    square = attack_named("square").load()
    found: Attempt = square(model, subjects, threat, SquareParameters(queries=QUERIES))
    return found


def _widest(subjects: Subjects, threat: ThreatModel) -> ThreatModel:
    """Returns a ball in which every image has a grey one, which says nothing of its class."""
    half = Fraction(1, 2)
    if threat.norm == "linf":
        return ThreatModel("linf", max(threat.eps, half))
    size = subjects.images[0].numel()
    return ThreatModel("l2", max(threat.eps, half * math.isqrt(size) + half))


def _losses(
    model: nn.Module, subjects: Subjects, threat: ThreatModel, pgd: PgdParameters
) -> tuple[float, float, float]:
    """Returns the evaluation's own loss, summed over images: at the start, after its steps, after twice as many."""
    values: list[Tensor] = []
    step = float(step_size(pgd.step_size, threat.eps, pgd.steps))
    ascent = Ascent(threat, 2 * pgd.steps + 1, step, row_loss(pgd.loss, subjects.classes), "last", values)
    climb(model, subjects, start_of(subjects, threat, 0, pgd.start), ascent)
    return float(values[0].sum()), float(values[pgd.steps].sum()), float(values[2 * pgd.steps].sum())


def _count(which: Tensor) -> int:
    return int(which.sum())


def _of(part: float, whole: float) -> str:
    return f"{part:.0f} of {whole:.0f} images"
