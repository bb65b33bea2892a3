"""The adversary of a training: who perturbs the images that it trains on. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from coretune.spec.epsilon import Norm, canonical_step, eps_text, parse_eps, step_size
from coretune.spec.frozen import Frozen
from coretune.spec.validation_attack import ValidationAttack

Recipe = Literal["pgd", "trades", "fgsm_rs"]
Features = Literal["adversarial", "clean", "both"]

_TEXT_OR_NUMBER = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})


@dataclass(frozen=True)
class _Defaults:
    steps: int
    step_size: str
    features: Features


DEFAULTS: Mapping[Recipe, _Defaults] = MappingProxyType(
    {
        "pgd": _Defaults(7, "eps/4", "adversarial"),
        "trades": _Defaults(10, "eps/4", "clean"),
        "fgsm_rs": _Defaults(1, "1.25*eps", "adversarial"),
    }
)
"""Null values. Those of the papers on CIFAR-10 with ε = 8/255; see `AdversarySpec`."""


class AdversarySpec(Frozen):
    """Adversarial training: each step's images are perturbed within a ball so that the model does worst on them.

    `pgd`: Madry et al. (ICLR 2018, arXiv 1706.06083), 7 steps of ε/4. `trades`: Zhang et al. (ICML 2019, arXiv
    1901.08573), 10 steps of ε/4 (theirs: 0.007 at 0.031). `fgsm_rs`: Wong, Rice and Kolter (ICLR 2020, arXiv
    2001.03994), one step of 1.25 ε from a random start.
    """

    attack: Recipe = Field(
        description="pgd: gradient steps, and the method's loss on what comes of them; trades: the method's loss on "
        "clean images, and the divergence of what is predicted for both; fgsm_rs: one long step from a random start. "
        "It has no default.",
    )
    norm: Norm = Field("linf", description="Norm of the ball: linf or l2.")
    eps: Annotated[str, _TEXT_OR_NUMBER] = Field(
        "8/255", description="Size of the ball, `8/255` or `0.5`, for pixels in [0, 1].", validate_default=True
    )
    steps: int | None = Field(
        None, ge=1, le=1000, description="Gradient steps for each batch; null: 7 (pgd), 10 (trades), 1 (fgsm_rs)."
    )
    step_size: Annotated[str | None, BeforeValidator(lambda v: v if v is None else canonical_step(v))] = Field(
        None,
        description="Size of a step: a rule of ε (`eps/4`, `2.5*eps/steps`), or a size; null: eps/4, or 1.25*eps for "
        "fgsm_rs.",
    )
    features: Features | None = Field(
        None,
        description="What the method sees, and makes its pairs of: features of the adversarial images; of the clean "
        "ones, where half of the loss is the cross-entropy of the adversarial ones; of both in one batch. null: "
        "adversarial, or clean for trades, which knows no other.",
    )
    beta: float = Field(6.0, gt=0, le=1000, description="Weight of the divergence (trades); 1/λ of the paper.")
    warmup_epochs: float = Field(0.0, ge=0, description="Epochs in which ε grows from 0, step by step.")
    validation_steps: int = Field(
        10, ge=1, le=1000, description="Steps of the PGD on the validation part, of ε/4 each, from one random start."
    )
    validation_limit: int | None = Field(
        None, ge=1, description="Attack at most so many validation images, drawn by the run's seed; null: all."
    )
    version: int = Field(1, description="Version of the adversary's mathematics.")

    @field_validator("eps", mode="before")
    @classmethod
    def _canonical(cls, value: str | int | float, info: ValidationInfo) -> str:
        size = parse_eps(value, info.data.get("norm", "linf"))
        if size == 0:
            raise ValueError("an adversary with eps 0 does nothing; leave it out")
        return eps_text(size)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.attack == "trades" and self.features not in (None, "clean"):
            raise ValueError(
                f"features: trades trains the method on clean images and compares what is predicted for both; "
                f"got {self.features}, need clean, or leave it out"
            )
        if self.attack == "fgsm_rs" and self.steps not in (None, 1):
            raise ValueError(f"steps: fgsm_rs has one step, got {self.steps}; pgd has several")
        return self

    @property
    def seen(self) -> Features:
        """What the method sees."""
        return self.features or DEFAULTS[self.attack].features

    @property
    def number_of_steps(self) -> int:
        """Gradient steps for each batch."""
        return self.steps or DEFAULTS[self.attack].steps

    @property
    def size(self) -> Fraction:
        """ε."""
        return parse_eps(self.eps, self.norm)

    @property
    def step(self) -> Fraction:
        """Size of a gradient step at the full ε."""
        return step_size(self.step_size or DEFAULTS[self.attack].step_size, self.size, self.number_of_steps)

    @property
    def validation_attack(self) -> ValidationAttack:
        """The attack on the validation part."""
        return ValidationAttack(norm=self.norm, eps=self.eps, steps=self.validation_steps, limit=self.validation_limit)

    def summary(self) -> str:
        """Returns the adversary in one line."""
        norm = "L∞" if self.norm == "linf" else "L2"
        steps = f"{self.number_of_steps} × {eps_text(self.step)}"
        return f"{self.attack} {norm} {self.eps}, {steps}, features {self.seen}"


ADVERSARY_KEYS = tuple(name for name in AdversarySpec.model_fields if name != "version")
