"""The worst of several attacks on each image, over a grid of ε, in one pass.

ε ascends. An image that is fooled leaves: a larger ball contains the smaller one, so that it counts as fooled at every
larger ε too. The others go on, and attacks that can begin where the smaller ε ended do. The carried worst case is
therefore monotone in ε, in attacks and in restarts, which a single attack need not be.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn

from coretune.robust.attack import Attack, Attempt, Connected, Subjects
from coretune.robust.headway import Teller
from coretune.robust.threat import TOLERANCE, ThreatModel, distance
from coretune.spec.catalog.attack_choice import AttackChoice, AttackParameters
from coretune.spec.catalog.attacks import AttackComponent
from coretune.spec.epsilon import Norm, eps_text, parse_eps

UNTRIED = torch.nan
"""The distance of an image that an attack for smallest perturbations has not seen."""


@dataclass(frozen=True)
class Plan:
    """What is tried.

    Attributes:
        norm: Of perturbations.
        grid: ε, ascending, each above 0.
        attacks: In the order in which they are tried at each ε.
    """

    norm: Norm
    grid: tuple[Fraction, ...]
    attacks: tuple[AttackChoice, ...]

    @classmethod
    def of(cls, params: AttackParameters) -> Plan:
        """Returns the plan of an evaluation's parameters."""
        return cls(params.norm, tuple(parse_eps(eps, params.norm) for eps in params.grid), params.chosen())

    @property
    def never(self) -> int:
        """The level of an image that nothing has fooled."""
        return len(self.grid) + 1


@dataclass(frozen=True)
class Outcome:
    """What became of images.

    Attributes:
        level: (n,) int64: 0 where the image is misclassified as it is, k where the k-th ε of the grid (from 1) is the
            smallest that fools the model, one more than there are where none does.
        by: (n,) int64: number of the attack that did; −1 where none did.
        images: (n, 3, H, W): what fooled the model; the image itself at level 0; where nothing did, the end of the last
            attack that has a start, or the image.
        faults: What no attack may do and one did, in words.
    """

    level: Tensor
    by: Tensor
    images: Tensor
    faults: list[str] = field(default_factory=list)


def worst_case(
    model: nn.Module, subjects: Subjects, correct: Tensor, plan: Plan, chunk: int, teller: Teller | None = None
) -> Outcome:
    """Attacks images until they are fooled.

    Args:
        model: Ready to be attacked.
        subjects: n images, on the model's device; those that the model misclassifies are not attacked.
        correct: (n,) bool, whether the model classifies each correctly.
        plan: What is tried.
        chunk: Images that are attacked at once.
        teller: Is told how many tries, of an image by an attack at an ε, are done: an image that leaves has none left.
    """
    teller = teller or Teller()
    tries = len(plan.grid) * len(plan.attacks)
    model = Connected(model)
    level = torch.where(correct, plan.never, 0)
    outcome = Outcome(level, torch.full_like(level, -1), subjects.images.clone())
    teller.advance(int((~correct).sum()) * tries)
    nearest = [_Nearest(subjects) if choice.component.minimal else None for choice in plan.attacks]
    for number, eps in enumerate(plan.grid, 1):
        threat = ThreatModel(plan.norm, eps)
        for place, choice in enumerate(plan.attacks):
            attack, params = choice.component.load(), choice.parameters
            for rows in torch.split((outcome.level == plan.never).nonzero().squeeze(1), chunk):
                if not len(rows):
                    continue
                teller.at(f"{choice.name} at ε = {eps_text(eps)}")
                left = subjects.pick(rows)
                known = nearest[place]
                if known is not None:
                    attempt = known(attack, model, rows, threat, params)
                elif choice.component.starts and number > 1:
                    attempt = attack(model, replace(left, warm=outcome.images[rows]), threat, params)
                else:
                    attempt = attack(model, left, threat, params)
                _take(outcome, rows, left, attempt, _Try(threat, number, place, choice.component))
                gone = int((outcome.level[rows] != plan.never).sum())
                spared = tries - (number - 1) * len(plan.attacks) - place - 1
                teller.advance(len(rows) + gone * spared)
    return outcome


class _Try(NamedTuple):
    threat: ThreatModel
    number: int
    place: int
    component: AttackComponent


def _take(outcome: Outcome, rows: Tensor, left: Subjects, attempt: Attempt, tried: _Try) -> None:
    """Enters what an attack made; what lies outside of the ball fools nobody."""
    threat, component = tried.threat, tried.component
    inside = threat.inside(attempt.images, left.images)
    if not component.minimal and not bool(inside.all()):
        length = float(threat.distance(attempt.images, left.images).max())
        outcome.faults.append(
            f"{component.name} left the threat model ({threat}): |δ| = {length:.9g}, allowed is {threat.radius:.9g} + "
            f"{TOLERANCE:g}, in [0, 1]"
        )
    hit = attempt.fooled & inside
    outcome.level[rows[hit]], outcome.by[rows[hit]] = tried.number, tried.place
    kept = inside if component.starts else hit  # what others end at is no better start than the image
    outcome.images[rows[kept]] = attempt.images[kept]


class _Nearest:
    """The nearest images of other classes that an attack found: looked for once, whatever the number of ε."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._images = subjects.images.clone()
        self._lengths = torch.full(subjects.labels.shape, UNTRIED, dtype=torch.float64, device=subjects.images.device)

    def __call__(self, attack: Attack, model: nn.Module, rows: Tensor, threat: ThreatModel, params: object) -> Attempt:
        new = rows[self._lengths[rows].isnan()]
        if len(new):
            left = self._subjects.pick(new)
            found = attack(model, left, threat, params)
            lengths = distance(found.images, left.images, threat.norm)
            self._images[new] = found.images
            self._lengths[new] = torch.where(found.fooled, lengths, torch.inf)
        return Attempt(self._images[rows], self._lengths[rows].isfinite())
