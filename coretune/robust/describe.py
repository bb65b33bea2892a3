"""What was attacked with what, in words, and what a reader has to know of it."""

from __future__ import annotations

from coretune.robust.losses import DLR_CLASSES
from coretune.robust.threat import ThreatModel
from coretune.robust.worst_case import Plan
from coretune.spec.catalog.attack_choice import AttackChoice, AttackParameters
from coretune.spec.epsilon import eps_text

SAID = {
    "steps": "{} steps",
    "step_size": "step size {}",
    "restarts": "{} restarts",
    "queries": "{} queries",
    "targets": "{} targets",
    "eot": "{} gradients a step",
    "start": "start {}",
    "loss": "loss {}",
    "success": "{} iterate counts",
}
"""How a parameter is said; others as `name value`."""

ONE = {"1 steps": "1 step", "1 restarts": "1 restart", "1 queries": "1 query", "1 targets": "1 target"}


def threat_line(plan: Plan, headline: ThreatModel, classes: int, images: int, seed: int) -> str:
    """Returns the headline's threat model in one line."""
    return "; ".join([str(headline), *threat_lines(plan, classes), f"{images} images", f"seed {seed}"])


def threat_lines(plan: Plan, classes: int) -> list[str]:
    """Returns one line per attack: its parameters as they are used, and what it sees of the model."""
    return [_line(choice, classes) for choice in plan.attacks]


def _line(choice: AttackChoice, classes: int) -> str:
    said = []
    for name, value in choice.parameters.model_dump(mode="json").items():
        if name == "eot" and value == 1:
            continue
        if name == "targets":
            value = min(value, classes - 1)  # there are no more wrong classes
        text = SAID.get(name, f"{name} {{}}").format(str(value).replace("eps", "ε"))
        said.append(ONE.get(text, text))
    box = "white box" if choice.component.sees == "gradients" else "black box"
    return f"{choice.name} ({', '.join([*said, box])})"


def notes(plan: Plan, params: AttackParameters, classes: int, *, ties: int, drawn: bool) -> list[str]:
    """Returns what a reader has to know: rules for few classes, upper bounds, warm starts, rounding.

    Args:
        plan: What was tried.
        params: What was asked for.
        classes: C.
        ties: Stored images whose class rounding decides.
        drawn: Whether the model's output is random.
    """
    found = []
    names = {choice.name for choice in plan.attacks}
    losses = {choice.params.get("loss") for choice in plan.attacks}
    targets = [choice.parameters.model_dump().get("targets", 0) for choice in plan.attacks]
    if max(targets, default=0) > classes - 1:
        found.append(f"{classes} classes: {classes - 1} targets instead of {max(targets)}")
    if classes < DLR_CLASSES and (names & {"apgd-dlr", "apgd-t"} or "dlr" in losses):
        found.append(f"{classes} classes: DLR needs {DLR_CLASSES}; the margin of logits stands in for it")
    if not {"apgd-ce", "apgd-t", "fab-t", "square"} <= names:
        asked = ", ".join(choice.name for choice in params.attacks)
        found.append(
            f"worst case over {asked}: what autoattack leaves is less or the same; the headline is autoattack's"
        )
    if len(plan.grid) > 1:
        smaller = ", ".join(eps_text(eps) for eps in plan.grid[:-1])
        found.append(
            f"the curve is dependent: what fools at ε = {smaller} is not attacked again, and PGD goes on from there"
        )
    if ties:
        found.append(f"{ties} stored images lie so near to a boundary that rounding decides their class")
    if drawn:
        found.append("the output is random: images were not predicted again, and ε = 0 was not compared")
    return found
