"""What every declaration must keep, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from coretune.spec.augment import AugmentSpec
from coretune.spec.components import KINDS, UNVERSIONED, Component, DatasetComponent
from coretune.spec.frozen import Frozen
from coretune.spec.run import TrainSpec
from coretune.spec.study import DataOptions, check_label
from coretune.spec.wording import describe, locate, nearest

# A method's or a data set's parameters stand in the study file beside keys that mean something else.
RESERVED: Mapping[str, frozenset[str]] = {
    "method": frozenset({"method", "train"}),
    "dataset": frozenset({"dataset", "path", *DataOptions.model_fields}),
}


def faults(component: Component) -> list[str]:
    """Returns what is wrong with a declaration, one line each: names, ranges, recipe, version."""
    if component.kind not in KINDS:
        return [f"the kind is one of {', '.join(KINDS)}"]
    if not (isinstance(component.parameters, type) and issubclass(component.parameters, Frozen)):
        return ["parameters is a subclass of coretune.spec.frozen.Frozen"]
    return list(_faults(component))


def _faults(component: Component) -> Iterator[str]:
    try:
        check_label(component.name)
    except ValueError as error:
        yield str(error)
    if component.version == UNVERSIONED:
        yield "needs a version, to be raised when its mathematics changes"
    if component.refused:
        if "\n" in component.refused or component.target:
            yield "what is refused has a reason of one line, and no target"
    elif not component.target.rpartition(":")[0] or not component.target.rpartition(":")[2]:
        yield f"the target {component.target!r} is not module:object"
    fields = component.parameters.model_fields
    for name in sorted(set(fields) & RESERVED.get(component.kind, frozenset())):
        yield f"the parameter {name} has a name that the study file uses itself"
    if component.kind == "dataset" and not isinstance(component, DatasetComponent):
        yield "must be declared as a DatasetComponent"
    for title, model, spaces in (
        ("space", component.parameters, component.space),
        ("train_space", TrainSpec, component.train_space),
    ):
        for name, space in spaces.items():
            if name not in model.model_fields:
                yield f"its {title} names {name!r}, which is no parameter{nearest(name, model.model_fields)}"
                continue
            for value in space.probes():
                yield from _values(model, {name: value}, f"its {title}: ", only=name)
    if component.dense_parameters is not None and not issubclass(component.dense_parameters, component.parameters):
        yield "dense_parameters is a subclass of parameters"
    yield from _values(TrainSpec, component.train, "its train: ")
    if isinstance(component, DatasetComponent):
        yield from _values(AugmentSpec, component.augment, "its augment: ")


def _values(model: type[BaseModel], values: Mapping[str, Any], prefix: str, only: str = "") -> Iterator[str]:
    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        for detail in error.errors():
            spot = locate(model, detail["loc"])
            if not only or spot.path[:1] == (only,):
                yield f"{prefix}{'.'.join(map(str, spot.path))} {describe([detail], spot)}".strip()
