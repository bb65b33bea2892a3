"""Which attacks an evaluation makes, with which options, in one canonical form. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, WithJsonSchema, model_validator

from coretune.spec.catalog.attacks import ATTACKS, AttackComponent, Loss, Success, attack_named
from coretune.spec.epsilon import Norm, canonical_grid, canonical_step
from coretune.spec.frozen import Frozen
from coretune.spec.wording import nearest

DEFAULT_EPS: Mapping[Norm, tuple[str, ...]] = MappingProxyType(
    {"linf": ("1/1020", "1/510", "1/255", "2/255", "4/255"), "l2": ("0.05", "0.1", "0.25", "0.5")}
)
"""Grids where models that were not trained against attacks differ: 8/255 leaves nothing of any of them."""

DEFAULT_HEADLINE: Mapping[Norm, str] = MappingProxyType({"linf": "1/255", "l2": "0.25"})


class AttackChoice(Frozen):
    """One attack of a list: its name, or a mapping of its name and its parameters, `{name: pgd, steps: 40}`."""

    name: str = Field(description="Name of the attack.")
    version: int = Field(1, description="Version of its mathematics.")
    params: dict[str, Any] = Field({}, description="Its parameters that differ from their defaults.")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            return value
        own = {key: item for key, item in value.items() if key not in ("name", "version", "params")}
        component = attack_named(value["name"])
        if value.get("version", component.version) != component.version:
            raise ValueError(
                f"{component.name}: version {value['version']} is asked for, version {component.version} is here"
            )
        params = {**(value.get("params") or {}), **own}
        if unknown := [name for name in params if name not in component.parameters.model_fields]:
            hint = nearest(unknown[0], component.parameters.model_fields)
            raise ValueError(f"{component.name} has no parameter {unknown[0]!r}{hint}")
        checked = _checked(component, params).model_dump(mode="json", exclude_defaults=True)
        return {"name": component.name, "version": component.version, "params": checked}

    @property
    def component(self) -> AttackComponent:
        """Its declaration."""
        return attack_named(self.name)

    @property
    def parameters(self) -> Frozen:
        """Its complete, typed parameters."""
        return _checked(self.component, self.params)


def _checked(component: AttackComponent, params: Mapping[str, Any]) -> Frozen:
    try:
        return component.parameters.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (component.name, *first["loc"])))
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def _positive(values: tuple[AttackChoice, ...]) -> tuple[AttackChoice, ...]:
    if not values:
        raise ValueError("an evaluation needs at least one attack")
    return values


_LISTED: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"anyOf": [{"enum": sorted(ATTACKS)}, {"type": "object"}]},
}
"""How a study file writes a list of attacks, which is more than what its canonical form is."""


class AttackParameters(Frozen):
    """What the evaluation `attack` does. Options below `headline` are those of every attack that has them."""

    attacks: Annotated[tuple[AttackChoice, ...], AfterValidator(_positive), WithJsonSchema(_LISTED)] = Field(
        (AttackChoice(name="autoattack"),),
        json_schema_extra={"default": ["autoattack"]},
        description="Attacks, each a name or a mapping `{name: pgd, steps: 40}`; the worst on each image counts.",
    )
    norm: Norm = Field("linf", description="Norm of perturbations.")
    eps: tuple[str | int | float, ...] | None = Field(
        None, description="Sizes of perturbations, `8/255` or `0.03`; null: a grid where untreated models differ."
    )
    headline: str | int | float | None = Field(
        None,
        description="The size of `robust_top1`; null: the largest of `eps`, or 1/255 (L2: 0.25) of the default grid.",
    )
    steps: int | None = Field(None, ge=1, le=100_000, description="Gradient steps; null: each attack's default.")
    step_size: str | int | float | None = Field(None, description="Step size or rule; null: each attack's default.")
    restarts: int | None = Field(None, ge=1, le=1000, description="Restarts; null: each attack's default.")
    start: Literal["random", "none"] | None = Field(None, description="Start of PGD; null: random.")
    loss: Loss | None = Field(None, description="Loss of FGSM and PGD; null: ce.")
    success: Success | None = Field(None, description="Iterate that counts; null: any.")
    median_images: int = Field(
        100, ge=0, le=1_000_000, description="Images whose smallest perturbation (FAB) is looked for; 0: none."
    )
    median_steps: int = Field(20, ge=1, le=10_000, description="Steps of FAB per wrong class for that.")
    probe_images: int = Field(
        64, ge=8, le=100_000, description="Images that the verdict's probes are made on, at most."
    )

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        found = dict(value)
        norm: Norm = "l2" if found.get("norm") == "l2" else "linf"
        if isinstance(found.get("attacks"), str):
            found["attacks"] = [name.strip() for name in found["attacks"].split(",")]
        if isinstance(found.get("eps"), str | int | float):
            found["eps"] = str(found["eps"]).split(",")
        if found.get("eps") is not None:
            found["eps"] = canonical_grid(found["eps"], norm) or None
            if found["eps"] is None:
                raise ValueError("eps needs a size above 0; 0 is the clean accuracy, which is measured anyway")
        if found.get("headline") is not None:
            (found["headline"],) = canonical_grid([found["headline"]], norm) or ("0",)
        if found.get("step_size") is not None:
            found["step_size"] = canonical_step(found["step_size"])
        return found

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.headline is not None and self.headline not in self.grid:
            raise ValueError(f"headline {self.headline} is none of eps ({', '.join(self.grid)})")
        self.chosen()
        return self

    @property
    def grid(self) -> tuple[str, ...]:
        """Sizes of perturbations, ascending, without 0."""
        return DEFAULT_EPS[self.norm] if self.eps is None else tuple(map(str, self.eps))

    @property
    def headline_eps(self) -> str:
        """The size that `robust_top1` is for."""
        if self.headline is not None:
            return str(self.headline)
        return DEFAULT_HEADLINE[self.norm] if self.eps is None else self.grid[-1]

    def chosen(self) -> tuple[AttackChoice, ...]:
        """Returns the attacks in their order, sets by their members, each with all that is said of it.

        Raises:
            ValueError: An attack does not work in the norm, or no attack has an option that is said for all of them.
        """
        common = {
            name: value
            for name in ("steps", "step_size", "restarts", "start", "loss", "success")
            if (value := getattr(self, name)) is not None
        }
        for choice in self.attacks:
            if self.norm not in choice.component.norms:
                raise ValueError(f"{choice.name} works in {' and '.join(choice.component.norms)}, not in {self.norm}")
        for name in common:
            if not any(name in choice.component.parameters.model_fields for choice in self.attacks):
                listed = ", ".join(choice.name for choice in self.attacks)
                raise ValueError(f"{name} is said, but no attack of {listed} has it")
        return tuple(member for choice in self.attacks for member in _members(choice, common))


def _members(choice: AttackChoice, common: Mapping[str, Any]) -> list[AttackChoice]:
    component = choice.component
    fields = component.parameters.model_fields
    params = {**{name: value for name, value in common.items() if name in fields}, **choice.params}
    if not component.members:
        return [AttackChoice.model_validate({"name": choice.name, "params": params})]
    values = _checked(component, params)
    return [
        AttackChoice.model_validate({"name": name, "params": {field: getattr(values, field) for field in taken}})
        for name, taken in component.members.items()
    ]
