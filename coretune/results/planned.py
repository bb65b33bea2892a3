"""What a study planned to compare, and when, as it lies on disk: `planned.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from coretune.spec.domains import labels_of
from coretune.spec.frozen import Frozen
from coretune.spec.study import Study


class Plan(Frozen):
    """What was planned from one date on."""

    date: str = Field(description="ISO 8601, UTC.")
    version: str = Field(description="Of coretune.")
    revision: str | None = Field(None, description="Git revision of coretune's checkout.")
    test_scores: int = Field(ge=0, description="Runs in the directory that had been evaluated on a test part by then.")
    plan: dict[str, Any] = Field(description="The keys of the study file that a planned comparison rests on.")


class Planned(Frozen):
    """All plans of a study, the first one first. An entry is never changed, only followed by another."""

    schema_version: int = 1
    entries: tuple[Plan, ...] = Field(min_length=1)


def plan_of(study: Study) -> dict[str, Any]:
    """Returns the keys of a study that its planned comparisons rest on, by path, as JSON holds them.

    These are the contrasts, the settings on which they are judged, the number and the origin of the final seeds, which
    weights are tested by what metric, and the budget of the search.
    """
    said = study.model_dump(mode="json", include={"contrasts", "search", "finals", "seed", "objective"})
    contrasts, search, finals = said["contrasts"] or {}, said["search"], said["finals"]
    if contrasts.get("domains") == "each":  # the default, which plans of before the key do not name
        del contrasts["domains"]
    return {
        **_under("contrasts", contrasts),
        "datasets": [label for section, raw in study.datasets.items() for label in labels_of(section, raw)],
        "backbones": list(study.backbones),
        **_under("finals", finals),
        "seed": said["seed"],
        **(_under("search", search) if isinstance(search, dict) else {"search": search}),
        "objective.metric": study.objective.metrics[0],
        "objective.direction": study.direction,
        **_under("objective.attack", said["objective"]["attack"] or {}),
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns how two plans differ, one text per key: `finals.seeds from 6 to 16`.

    Of pairs and other lists the entries that are gone or new are named; any other longer value only by its key.
    """
    found = []
    for key in dict.fromkeys([*before, *after]):
        one, two = before.get(key), after.get(key)
        if one != two:
            short = not any(isinstance(value, list | dict) for value in (one, two))
            if isinstance(one, list) and isinstance(two, list):
                found.append(_entries(key, one, two))
            else:
                found.append(f"{key} from {_shown(one)} to {_shown(two)}" if short else key)
    return found


def _entries(key: str, before: list[Any], after: list[Any]) -> str:
    parts = [("without", [item for item in before if item not in after])]
    parts.append(("with", [item for item in after if item not in before]))
    said = [f"{word} {', '.join(map(_entry, items))}" for word, items in parts if items]
    return f"{key} {' and '.join(said)}" if said else f"{key} in another order"


def _entry(item: Any) -> str:
    return f"[{', '.join(map(str, item))}]" if isinstance(item, list) else str(item)


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{key}": value for key, value in values.items()}


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
