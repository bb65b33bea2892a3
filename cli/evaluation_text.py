"""A further evaluation in words: what stands beside its numbers on the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def described(spec: str) -> str:
    """Returns what an evaluation is, from its description as canonical JSON: what differs from the defaults.

    Of an attack it says the size of perturbations that `robust_top1` is for, too. Nothing of a description that another
    coretune wrote and this one does not know.
    """
    said: Mapping[str, Any] = json.loads(spec)
    evaluation = said.get("evaluation")
    if evaluation is None:
        return ""
    params = dict(evaluation.get("params", {}))
    parts = [str(evaluation["name"])]
    if evaluation["name"] == "attack":
        from coretune.spec.catalog.attack_choice import AttackParameters

        try:
            known = AttackParameters.model_validate(params)
        except ValueError:
            return ""
        parts.append(f"{', '.join(choice.name for choice in known.attacks)}, robust at ε = {known.headline_eps}")
        for key in ("attacks", "headline"):
            params.pop(key, None)
    parts += [f"{key} {_shown(value)}" for key, value in params.items()]
    parts += [f"{value} {key}" for key in ("weights", "split") if (value := said.get(key)) is not None]
    parts += [f"{said['limit']:,} images"] if said.get("limit") is not None else []
    parts += [f"seed {said['seed']}"] if said.get("seed") else []
    return "; ".join(parts)


def _shown(value: Any) -> str:
    """Writes a parameter's value on one line; a list without brackets."""
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
