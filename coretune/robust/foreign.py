"""Attacks by torchattacks 3.3.0, made fit for a worst case over many images.

What stays theirs is the mathematics of a single run. What is not used of them, and why:

- `__call__` and `perturb` switch the model's mode, set torch's global seeds and loop over restarts and classes with all
  images; here the loops leave out what is fooled, and draws are by image (`SampleDraws`).
- `AutoAttack`, `APGDT` and `FAB` take 10 classes and 10 steps unless told otherwise.
- `APGDT` gives all images of a batch the first one's step size in L2; a targeted loss in `APGD` is the same attack
  without that.
- `MIFGSM` divides by the mean gradient, which makes images of NaN where that is zero: such a try is dropped.
- `FAB` and `Square` view images as rows, which only contiguous ones are: channels-last ones are laid out anew.
- `CW` stops all images of a batch by their summed cost: see cw.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torchattacks
from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.robust.attack import Attempt, Subjects, predictions
from coretune.robust.draws import DrawsApart, SampleDraws
from coretune.robust.restarts import NORM_NAMES, Restarts, laid_out, whole
from coretune.robust.threat import ThreatModel, distance
from coretune.spec.catalog.attacks import (
    DeepFoolParameters,
    EotParameters,
    FabParameters,
    MomentumParameters,
    SquareParameters,
    TradesParameters,
)
from coretune.spec.epsilon import step_size

SQUARE_SIDE, SQUARE_SHARE = 5, 0.8
"""What torchattacks' Square in L2 can divide: smaller images, or larger first squares, run over the edge."""


class Square(torchattacks.Square):  # type: ignore[misc]
    """Square, whose numbers are drawn by image, and which tells the draws when an image is done with."""

    def __init__(self, model: nn.Module, threat: ThreatModel, params: SquareParameters, draws: SampleDraws) -> None:
        super().__init__(
            model,
            norm=NORM_NAMES[threat.norm],
            eps=threat.radius,
            n_queries=params.queries,
            p_init=params.p_init,
            loss="margin",
        )
        self._draws = draws

    def margin_and_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns margin and loss; an image of margin 0 or less is not asked about again."""
        margin, loss = super().margin_and_loss(images, labels)
        self._draws.keep(margin > 0)
        return margin, loss

    def random_choice(self, shape: Sequence[int]) -> Tensor:
        """Returns signs."""
        with self._draws:
            return cast("Tensor", super().random_choice(shape))

    def random_int(self, low: int = 0, high: int = 1, shape: Sequence[int] = (1,)) -> Tensor:
        """Returns whole numbers in [low, high)."""
        with self._draws:
            return cast("Tensor", super().random_int(low, high, shape))

    def eta(self, s: int) -> Tensor:
        """Returns a square's pattern in L2, which is turned by chance."""
        with self._draws:
            return cast("Tensor", super().eta(s))


def fab_targeted(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: FabParameters) -> Attempt:
    """Looks for the nearest image of another class; leaves off once it is in the ball.

    An image that is fooled at a larger distance counts as fooled: whether that is within ε is for the caller to say.
    """
    subjects = laid_out(subjects)
    nearest = subjects.images.clone()
    lengths = torch.full((len(subjects),), torch.inf, dtype=torch.float64, device=nearest.device)
    for rank in range(min(params.targets, subjects.classes - 1)):
        for restart in range(params.restarts):
            rows = (lengths > threat.radius).nonzero().squeeze(1)
            if not len(rows):
                break
            left = subjects.pick(rows)
            found = _single_fab(model, left, threat, params, rank, restart)
            better = distance(found, left.images, threat.norm)
            better = torch.where(better > 0, better, torch.inf)
            shorter = better < lengths[rows]
            nearest[rows[shorter]], lengths[rows[shorter]] = found[shorter], better[shorter]
    return Attempt(nearest, lengths.isfinite())


def square(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: SquareParameters) -> Attempt:
    """Attacks by random squares, with logits alone.

    Raises:
        RequestError: In L2, the squares do not fit into the images.
    """
    side = min(subjects.images.shape[2:])
    if threat.norm == "l2" and (side < SQUARE_SIDE or params.p_init > SQUARE_SHARE):
        raise RequestError(
            f"square in L2 needs images of at least {SQUARE_SIDE} pixels and p_init of at most {SQUARE_SHARE}, "
            f"got {side} pixels and p_init {params.p_init:g}"
        )
    state = Restarts(laid_out(subjects))
    for restart in range(params.restarts):
        rows, left = state.left()
        if len(left):
            # Draws are entered only where something is drawn: there are thousands of passes.
            attack = Square(model, threat, params, SampleDraws(left.seed, f"square {restart}", left.index))
            attack.init_hyperparam(left.images)
            with torch.no_grad():
                _, found = attack.attack_single_run(left.images, left.labels)
            state.put(rows, _judged(model, left, found))
    return state.attempt()


def mi_fgsm(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: MomentumParameters) -> Attempt:
    """Attacks by steps with momentum; the last iterate counts."""
    subjects = laid_out(subjects)
    attack = torchattacks.MIFGSM(
        model, eps=threat.radius, alpha=_step(params, threat), steps=params.steps, decay=params.decay
    )
    return _judged(model, subjects, attack.forward(subjects.images, subjects.labels))


def tpgd(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: TradesParameters) -> Attempt:
    """Attacks by steps away from the clean prediction; the last iterate counts."""
    subjects = laid_out(subjects)
    with SampleDraws(subjects.seed, "tpgd", subjects.index) as draws:
        apart = DrawsApart(model, draws)
        attack = torchattacks.TPGD(apart, eps=threat.radius, alpha=_step(params, threat), steps=params.steps)
        found = attack.forward(subjects.images, subjects.labels)
    return _judged(model, subjects, found)


def eot_pgd(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: EotParameters) -> Attempt:
    """Attacks by PGD on gradients summed over several passes; the last iterate counts."""
    size = _step(params, threat)
    state = Restarts(laid_out(subjects))
    for restart in range(params.restarts):
        rows, left = state.left()
        if len(left):
            with SampleDraws(left.seed, f"eot-pgd {restart}", left.index) as draws:
                apart = DrawsApart(model, draws)
                attack = torchattacks.EOTPGD(
                    apart, eps=threat.radius, alpha=size, steps=params.steps, eot_iter=params.eot
                )
                found = attack.forward(left.images, left.labels)
            state.put(rows, _judged(model, left, found))
    return state.attempt()


def deepfool(model: nn.Module, subjects: Subjects, threat: ThreatModel, params: DeepFoolParameters) -> Attempt:
    """Looks for the nearest image of another class, image by image; the caller says whether it is within ε."""
    subjects = laid_out(subjects)
    attack = torchattacks.DeepFool(model, steps=params.steps, overshoot=params.overshoot)
    return _judged(model, subjects, attack.forward(subjects.images, subjects.labels))


def _single_fab(
    model: nn.Module, subjects: Subjects, threat: ThreatModel, params: FabParameters, rank: int, restart: int
) -> Tensor:
    with SampleDraws(subjects.seed, f"fab-t {rank} {restart}", subjects.index) as draws:
        attack = torchattacks.FAB(
            DrawsApart(model, draws),
            norm=NORM_NAMES[threat.norm],
            eps=threat.radius,
            steps=params.steps,
            multi_targeted=True,
            n_classes=subjects.classes,
        )
        attack.target_class = rank + 2  # counted from the likeliest class, which is the label
        found: Tensor = attack.attack_single_run_targeted(subjects.images, subjects.labels, use_rand_start=restart > 0)
    return torch.where(found.isfinite().flatten(1).all(dim=1).view(-1, 1, 1, 1), found.detach(), subjects.images)


def _judged(model: nn.Module, subjects: Subjects, found: Tensor) -> Attempt:
    found = found.detach()
    return whole(subjects, found, predictions(model, found) != subjects.labels)


def _step(params: MomentumParameters | TradesParameters | EotParameters, threat: ThreatModel) -> float:
    return float(step_size(params.step_size, threat.eps, params.steps))
