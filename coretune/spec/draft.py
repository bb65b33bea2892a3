"""A study of the parts of a file that are right, so that they can be checked further beside the wrong ones."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import Field, ValidationError

from coretune.spec.contrasts import ContrastOptions, Pair
from coretune.spec.problems import Problems
from coretune.spec.study import BackboneOptions, Label, Study
from coretune.spec.yamlfile import Path_


class DraftContrasts(ContrastOptions):
    """Contrasts that may lack their pairs."""

    pairs: tuple[Pair, ...] = Field(())


class DraftStudy(Study):
    """A study that may lack anything."""

    name: Label = "draft"
    datasets: dict[Label, dict[str, Any]] = Field({})
    backbones: dict[Label, BackboneOptions] = Field({})
    methods: dict[Label, dict[str, Any]] = Field({})
    contrasts: DraftContrasts | None = Field(None)


def draft_study(raw: dict[str, Any], problems: Problems) -> Study:
    """Returns the study; if `problems` were found, a draft of what is right."""
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        wrong = problems.add_errors((), error, Study)
    rest = raw
    while True:
        rest = _without(rest, wrong)
        baseline, methods = rest.get("baseline"), raw.get("methods")
        if isinstance(baseline, str) and (not isinstance(methods, dict) or baseline in methods):
            del rest["baseline"]  # what it names may have been left out, or be unknown: no fault of its own
        if not isinstance(methods, dict) or methods.keys() != rest.get("methods", {}).keys():
            rest.pop("contrasts", None)  # likewise
        if any(path[:1] == ("objective",) for path in wrong):
            rest.pop("objective", None)  # its keys need each other
        try:
            return DraftStudy.model_validate(rest)
        except ValidationError as error:
            wrong = problems.add_errors((), error, DraftStudy)


def _without(raw: dict[str, Any], paths: Iterable[Path_]) -> dict[str, Any]:
    """Returns a copy without the innermost mapping's entry on each path."""
    rest = copy.deepcopy(raw)
    for path in paths:
        found: tuple[dict[str, Any], str] | None = None
        here: Any = rest
        for part in path:
            if not isinstance(here, dict) or part not in here:
                break
            found = here, str(part)
            here = here[part]
        if found is not None:
            found[0].pop(found[1], None)
    return rest
