"""Commands that run a shipped study on the data and methods that are said: what their options share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from coretune.errors import RequestError

MethodsOption = Annotated[
    str | None, typer.Option("--methods", metavar="A,B", help="Methods, the baseline first; default: the study's.")
]
SeedsOption = Annotated[int | None, typer.Option("--seeds", min=1, help="Final seeds; default: the study's.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Only say what would run, as `coretune study plan`.")]


SHARED = {"methods": "--methods", "baseline": "--methods", "finals.seeds": "--seeds"}
"""Which option says a key."""


def at(path: Path | None) -> dict[str, str]:
    """Returns the key `path` of a data set, where one was said."""
    return {} if path is None else {"path": str(path.expanduser().absolute())}


def methods_and_seeds(methods: str | None, seeds: int | None) -> dict[str, Any]:
    """Returns the keys of a study that `--methods` and `--seeds` change.

    Raises:
        RequestError: No method is named.
    """
    found: dict[str, Any] = {}
    if methods is not None:
        labels = [label.strip() for label in methods.split(",") if label.strip()]
        if not labels:
            raise RequestError("--methods: needs names, separated by commas: ce,core_tuning")
        found |= {"methods": labels, "baseline": labels[0]}
    if seeds is not None:
        found["finals.seeds"] = seeds
    return found


def as_sets(keys: Mapping[str, Any], options: Mapping[str, str]) -> list[str]:
    """Returns keys of a study and their values as `--set` has them.

    Args:
        keys: The values by key.
        options: Which options of the command said them, by key, for messages; those of `methods_and_seeds` are known.
    """
    from coretune.spec.overrides import Said

    origins = SHARED | dict(options)
    return [Said(f"{key}={json.dumps(value, ensure_ascii=False)}", origins[key]) for key, value in keys.items()]
