"""The attack on the validation part that `robust_top1` is measured under, epoch by epoch. No torch here."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from coretune.spec.epsilon import Norm, eps_text, parse_eps
from coretune.spec.frozen import Frozen

ROBUST = "robust_top1"
"""Accuracy on adversarial images."""

STEP = Fraction(1, 4)
"""Size of a step, in units of ε."""


class ValidationAttack(Frozen):
    """PGD of steps of ε/4 from one random start, of which the last step counts: weak, and cheap enough for each epoch.

    Final runs are attacked likewise on the test part, by the evaluation `attack`, where any step counts.
    """

    norm: Norm = Field("linf", description="Norm of the ball: linf or l2.")
    eps: Annotated[str, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})] = Field(
        description="Size of the ball, `8/255` or `0.5`, for pixels in [0, 1]: one that leaves some images, not all. "
        "It has no default.",
    )
    steps: int = Field(10, ge=1, le=1000, description="Steps, of ε/4 each, from one random start.")
    loss: Literal["ce", "dlr", "margin"] = Field(
        "ce",
        description="What is maximised: cross-entropy, DLR, or the margin of logits, which flat logits do not fool.",
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="Attack at most so many images of the validation part, and of the test part, drawn by seeds; "
        "null: all.",
    )

    @field_validator("eps", mode="before")
    @classmethod
    def _canonical(cls, value: str | int | float, info: ValidationInfo) -> str:
        size = parse_eps(value, info.data.get("norm", "linf"))
        if size == 0:
            raise ValueError("an attack with eps 0 is none; top1 is the accuracy without")
        return eps_text(size)

    @property
    def size(self) -> Fraction:
        """ε."""
        return parse_eps(self.eps, self.norm)

    def evaluation(self) -> dict[str, Any]:
        """Returns the parameters of the evaluation `attack` that makes it, with the verdict and without the median."""
        return {
            "attacks": ["pgd"],
            "norm": self.norm,
            "eps": [self.eps],
            "steps": self.steps,
            "loss": self.loss,
            "median_images": 0,
        }
