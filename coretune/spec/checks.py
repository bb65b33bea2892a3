"""The checks that every part of a study is resolved with; what is wrong is noted, and the rest goes on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from coretune.errors import RequestError
from coretune.spec.components import Catalog, Component, Kind, Ref
from coretune.spec.frozen import Frozen
from coretune.spec.problems import Problems
from coretune.spec.space import Space, Value, is_space, misspelt_space, parse_space
from coretune.spec.wording import nearest, shown
from coretune.spec.yamlfile import Path_

Model = TypeVar("Model", bound=Frozen)

MAX_COMBINATIONS = 256


class Checks:
    """Looks names up and validates values, and notes what is wrong.

    Args:
        catalog: What names mean.
        problems: Collects what is wrong.
        complete: Whether the catalog is whole; where a plug-in could not be loaded, an unknown name may be its, and the
            problem says so.
    """

    def __init__(self, catalog: Catalog, problems: Problems, *, complete: bool = True) -> None:
        self.catalog = catalog
        self.problems = problems
        self.complete = complete

    def component(
        self, kind: Kind, at: Path_, raw: Mapping[str, Any], *, key: str = "", fallback: str = ""
    ) -> Component | None:
        """Returns the component that `raw[key]`, or else the label, names; None with its problem noted."""
        key = key or kind
        given = self.text(at, raw, key)
        if given is None and raw.get(key) is not None:
            return None
        name = given or fallback or str(at[-1])
        try:
            return self.catalog.get(kind, name)
        except RequestError as error:
            doubt = "" if self.complete else " (unless the plug-in that could not be loaded declares it)"
            self.problems.add((*at, key) if given else at, str(error) + doubt)
            return None

    def text(self, at: Path_, raw: Mapping[str, Any], key: str) -> str | None:
        """Returns a key's text, or None if it is absent, null, or (noted) no text."""
        value = raw.get(key)
        if value is not None and not isinstance(value, str):
            self.problems.add((*at, key), f"must be text, got {shown(value)}")
            return None
        return value

    def refuse_unknown(self, at: Path_, raw: Mapping[str, Any], known: Iterable[str]) -> None:
        """Notes every key that has no meaning here, with the nearest one that has."""
        names = list(known)
        for key in raw:
            if key not in names:
                self.problems.add((*at, key), "unknown key" + nearest(key, names))

    def split(
        self, at: Path_, raw: Mapping[str, Any], model: type[Frozen], keys: Iterable[str]
    ) -> tuple[dict[str, Any], dict[str, Space]]:
        """Divides a mapping into fixed values and search spaces, and leaves out (noted) what is wrong by itself."""
        known = list(keys)
        self.refuse_unknown(at, raw, known)
        meant = {key: kind for key in known if (kind := misspelt_space(raw.get(key))) is not None}
        for key, kind in meant.items():
            self.problems.add((*at, key), f"is no search space, got {shown(raw[key])}; did you mean {kind}?")
        fixed = {key: raw[key] for key in raw if key in known and key not in meant and not is_space(raw[key])}
        wrong = self.wrong_keys(at, model, fixed)
        spaces: dict[str, Space] = {}
        for key, value in raw.items():
            if key not in known or not is_space(value):
                continue
            try:
                space = parse_space(value)
            except ValueError as error:
                self.problems.add((*at, key), str(error))
                continue
            probes = (*space.probes(), *(() if space.default is None else (space.default,)))
            suffix = f" (in the search space {space.describe()})"
            if not any(self.wrong_keys(at, model, {key: probe}, suffix) for probe in probes):
                spaces[key] = space
        return {key: value for key, value in fixed.items() if key not in wrong}, spaces

    def wrong_keys(self, at: Path_, model: type[Frozen], raw: Mapping[str, Any], suffix: str = "") -> set[str]:
        """Notes and returns the keys whose values are wrong by themselves (keys that are not said are no matter)."""
        try:
            model.model_validate(dict(raw))
        except ValidationError as error:
            return {str(path[len(at)]) for path in self.problems.add_errors(at, error, model, only=raw, suffix=suffix)}
        return set()

    def combinations(
        self,
        at: Path_,
        model: type[BaseModel],
        fixed: Mapping[str, Any],
        spaces: Mapping[str, Space],
        defaults: Mapping[str, Value],
    ) -> None:
        """Notes the first combination of values that the search might propose and the model refuses."""
        probes = [[(key, value) for value in space.probes()] for key, space in spaces.items()]
        if math.prod(map(len, probes)) <= MAX_COMBINATIONS:
            proposals: Iterable[Iterable[tuple[str, Value]]] = itertools.product(*probes)
        else:
            proposals = [[pair] for pairs in probes for pair in pairs]
        for values in ({}, *map(dict, proposals)):
            try:
                model.model_validate({**fixed, **defaults, **values})
            except ValidationError as error:
                chosen = ", ".join(f"{key} = {shown(value)}" for key, value in values.items())
                self.problems.add_errors(
                    at, error, model, suffix=f" (the search may propose {chosen})" if chosen else ""
                )
                return

    def ref(self, at: Path_, component: Component, params: Mapping[str, Any]) -> Ref | None:
        """Returns the reference to a component, or None with its problems noted."""
        if self.checked(at, component.parameters, params) is None:
            return None
        return self.catalog.ref(component.kind, component.name, params)

    def checked(self, at: Path_, model: type[Model], raw: Mapping[str, Any]) -> Model | None:
        """Validates; notes the problems and returns None if there are any."""
        try:
            return model.model_validate(dict(raw))
        except ValidationError as error:
            self.problems.add_errors(at, error, model)
            return None
