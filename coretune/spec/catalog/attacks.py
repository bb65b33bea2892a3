"""Attacks on a trained model: what they are called, what they can be told. No torch here.

A list of attacks is worth the worst of them on each image (docs/robustness.md).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from coretune.spec.epsilon import Norm, canonical_step
from coretune.spec.frozen import Frozen
from coretune.spec.wording import nearest

Loss = Literal["ce", "dlr", "margin"]
Success = Literal["last", "any"]

StepSize = Annotated[str, BeforeValidator(canonical_step), Field(description="Step size: a rule of ε, or a size.")]


class FgsmParameters(Frozen):
    """One step as long as the ball is wide."""

    loss: Loss = Field("ce", description="What is maximised: cross-entropy, the margin of logits, or DLR.")


class PgdParameters(Frozen):
    """Projected gradient steps of one size."""

    steps: int = Field(20, ge=1, le=100_000, description="Gradient steps per restart.")
    step_size: StepSize = Field(
        "eps/4", description="Size of a step: a rule of ε (`eps/4`, `2.5*eps/steps`) or a size."
    )
    restarts: int = Field(1, ge=1, le=1000, description="Starts, each from another point.")
    start: Literal["random", "none"] = Field(
        "random", description="Where the first restart begins: a random point of the ball, or the image."
    )
    loss: Loss = Field("ce", description="What is maximised: cross-entropy, the margin of logits, or DLR.")
    success: Success = Field("any", description="Which iterate has to fool the model: the last one, or any.")


class MomentumParameters(Frozen):
    """Steps along the sign of accumulated gradients."""

    steps: int = Field(10, ge=1, le=100_000, description="Gradient steps.")
    step_size: StepSize = Field("eps/steps", description="Size of a step: a rule of ε, or a size.")
    decay: float = Field(1.0, ge=0, le=10, description="What is left of the accumulated gradient in each step.")


class ApgdParameters(Frozen):
    """Auto-PGD, whose step size adapts."""

    steps: int = Field(100, ge=1, le=100_000, description="Gradient steps per restart.")
    restarts: int = Field(1, ge=1, le=1000, description="Starts, each from another random point.")
    eot: int = Field(1, ge=1, le=1000, description="Gradients averaged per step, for models that draw.")
    rho: float = Field(0.75, gt=0, le=1, description="Share of ascending steps below which the step is halved.")


class TargetedParameters(ApgdParameters):
    """Auto-PGD towards the likeliest wrong classes in turn."""

    targets: int = Field(9, ge=1, le=10_000, description="Wrong classes per restart; min(targets, C − 1) of C classes.")


class FabParameters(Frozen):
    """The fast adaptive boundary attack, towards the likeliest wrong classes in turn."""

    steps: int = Field(100, ge=1, le=100_000, description="Steps per class and restart.")
    restarts: int = Field(1, ge=1, le=1000, description="Starts: the first from the image, others from random points.")
    targets: int = Field(9, ge=1, le=10_000, description="Wrong classes per restart; min(targets, C − 1) of C classes.")


class SquareParameters(Frozen):
    """Random search by squares: it sees logits, no gradients."""

    queries: int = Field(5000, ge=1, le=10_000_000, description="Forward passes per image and restart.")
    restarts: int = Field(1, ge=1, le=1000, description="Starts.")
    p_init: float = Field(0.8, gt=0, le=1, description="Share of the pixels that the first squares change.")


class CwParameters(Frozen):
    """The smallest perturbation by Adam, in the box by a change of variables."""

    steps: int = Field(100, ge=1, le=100_000, description="Steps of Adam.")
    c: float = Field(1.0, gt=0, le=1e6, description="Weight of the margin beside the squared distance.")
    kappa: float = Field(0.0, ge=0, le=1e6, description="Margin of logits that is asked for.")
    lr: float = Field(0.01, gt=0, le=10, description="Learning rate of Adam.")


class DeepFoolParameters(Frozen):
    """The smallest perturbation by repeated linearisation."""

    steps: int = Field(50, ge=1, le=10_000, description="Linearisations.")
    overshoot: float = Field(0.02, ge=0, le=10, description="How far beyond the boundary a step goes.")


class TradesParameters(Frozen):
    """Steps away from the clean prediction, without labels."""

    steps: int = Field(20, ge=1, le=100_000, description="Gradient steps.")
    step_size: StepSize = Field("eps/4", description="Size of a step: a rule of ε, or a size.")


class EotParameters(Frozen):
    """PGD on averaged gradients, for models that draw."""

    steps: int = Field(20, ge=1, le=100_000, description="Gradient steps per restart.")
    step_size: StepSize = Field("eps/4", description="Size of a step: a rule of ε, or a size.")
    restarts: int = Field(1, ge=1, le=1000, description="Starts, each from another random point.")
    eot: int = Field(10, ge=1, le=1000, description="Gradients summed per step.")


class AutoAttackParameters(Frozen):
    """The standard ensemble."""

    steps: int = Field(100, ge=1, le=100_000, description="Steps of APGD and FAB per class and restart.")
    queries: int = Field(5000, ge=1, le=10_000_000, description="Forward passes of Square per image.")
    targets: int = Field(9, ge=1, le=10_000, description="Wrong classes; min(targets, C − 1) of C classes.")


class RandAutoAttackParameters(Frozen):
    """The ensemble for models that draw."""

    steps: int = Field(100, ge=1, le=100_000, description="Steps of APGD.")
    eot: int = Field(20, ge=1, le=1000, description="Gradients averaged per step.")


@dataclass(frozen=True, kw_only=True)
class AttackComponent:
    """One attack.

    Attributes:
        name: The field's name.
        version: Raised when its mathematics changes.
        target: `module:object`, imported when it runs; empty for a set of others.
        summary: One line for listings.
        source: Paper.
        parameters: Its parameters, with default, range and meaning of each.
        norms: In which it works.
        sees: What it knows of the model: gradients (white box), or logits alone (black box).
        minimal: Whether it looks for the smallest perturbation, whatever ε is.
        starts: Whether it can begin where a smaller ε ended.
        members: Of a set: its attacks, each with the names of the set's parameters that it takes.
    """

    name: str
    version: int = 1
    target: str = ""
    summary: str
    source: str
    parameters: type[Frozen]
    norms: tuple[Norm, ...] = ("linf", "l2")
    sees: Literal["gradients", "logits"] = "gradients"
    minimal: bool = False
    starts: bool = False
    members: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))

    def load(self) -> Any:
        """Imports and returns the attack's function."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


_AUTO = "Croce, Hein, ICML 2020, arXiv 2003.01690"

ATTACKS: Mapping[str, AttackComponent] = MappingProxyType(
    {
        component.name: component
        for component in (
            AttackComponent(
                name="fgsm",
                target="coretune.robust.pgd:fgsm",
                summary="one step along the gradient's sign (in L2, along the gradient)",
                source="Goodfellow, Shlens, Szegedy, ICLR 2015, arXiv 1412.6572",
                parameters=FgsmParameters,
            ),
            AttackComponent(
                name="pgd",
                target="coretune.robust.pgd:pgd",
                summary="projected gradient steps",
                source="Madry et al., ICLR 2018, arXiv 1706.06083",
                parameters=PgdParameters,
                starts=True,
            ),
            AttackComponent(
                name="mi-fgsm",
                target="coretune.robust.foreign:mi_fgsm",
                summary="steps with momentum",
                source="Dong et al., CVPR 2018, arXiv 1710.06081",
                parameters=MomentumParameters,
                norms=("linf",),
            ),
            AttackComponent(
                name="apgd-ce",
                target="coretune.robust.apgd:apgd_ce",
                summary="auto-PGD on the cross-entropy",
                source=_AUTO,
                parameters=ApgdParameters,
            ),
            AttackComponent(
                name="apgd-dlr",
                target="coretune.robust.apgd:apgd_dlr",
                summary="auto-PGD on DLR, which does not depend on the scale of logits",
                source=_AUTO,
                parameters=ApgdParameters,
            ),
            AttackComponent(
                name="apgd-t",
                target="coretune.robust.apgd:apgd_targeted",
                summary="auto-PGD on targeted DLR, towards the likeliest wrong classes in turn",
                source=_AUTO,
                parameters=TargetedParameters,
            ),
            AttackComponent(
                name="fab-t",
                target="coretune.robust.foreign:fab_targeted",
                summary="the nearest boundary to the likeliest wrong classes in turn",
                source="Croce, Hein, ICML 2020, arXiv 1907.02044",
                parameters=FabParameters,
                minimal=True,
            ),
            AttackComponent(
                name="square",
                target="coretune.robust.foreign:square",
                summary="random search by squares, black box",
                source="Andriushchenko et al., ECCV 2020, arXiv 1912.00049",
                parameters=SquareParameters,
                sees="logits",
            ),
            AttackComponent(
                name="cw",
                target="coretune.robust.cw:cw",
                summary="the smallest perturbation by Adam",
                source="Carlini, Wagner, S&P 2017, arXiv 1608.04644",
                parameters=CwParameters,
                norms=("l2",),
                minimal=True,
            ),
            AttackComponent(
                name="deepfool",
                target="coretune.robust.foreign:deepfool",
                summary="the smallest perturbation by repeated linearisation",
                source="Moosavi-Dezfooli, Fawzi, Frossard, CVPR 2016, arXiv 1511.04599",
                parameters=DeepFoolParameters,
                norms=("l2",),
                minimal=True,
            ),
            AttackComponent(
                name="tpgd",
                target="coretune.robust.foreign:tpgd",
                summary="steps away from the clean prediction (TRADES)",
                source="Zhang et al., ICML 2019, arXiv 1901.08573",
                parameters=TradesParameters,
                norms=("linf",),
            ),
            AttackComponent(
                name="eot-pgd",
                target="coretune.robust.foreign:eot_pgd",
                summary="PGD on averaged gradients",
                source="Zimmermann, arXiv 1907.00895",
                parameters=EotParameters,
                norms=("linf",),
            ),
            AttackComponent(
                name="autoattack",
                summary="apgd-ce, apgd-t, fab-t and square, one after the other (standard)",
                source=_AUTO,
                parameters=AutoAttackParameters,
                members=MappingProxyType(
                    {
                        "apgd-ce": ("steps",),
                        "apgd-t": ("steps", "targets"),
                        "fab-t": ("steps", "targets"),
                        "square": ("queries",),
                    }
                ),
            ),
            AttackComponent(
                name="autoattack-rand",
                summary="apgd-ce and apgd-dlr on averaged gradients, for models that draw (rand)",
                source=_AUTO,
                parameters=RandAutoAttackParameters,
                members=MappingProxyType({"apgd-ce": ("steps", "eot"), "apgd-dlr": ("steps", "eot")}),
            ),
        )
    }
)
"""Every attack by its name."""


def attack_named(name: str) -> AttackComponent:
    """Returns an attack.

    Raises:
        ValueError: There is none of this name; the message has the nearest one.
    """
    if name not in ATTACKS:
        raise ValueError(f"unknown attack {name!r}{nearest(name, ATTACKS)}")
    return ATTACKS[name]
