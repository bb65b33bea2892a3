"""Keys of a data set that leave a domain out, and what they make of it: a data set for each held-out domain.

Two words, never one: the *held-out domain* is the evaluation, the *selection rule* is how configuration and weights are
chosen without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from coretune.spec.components import DatasetComponent
from coretune.spec.frozen import Frozen
from coretune.spec.wording import shown

HELD_OUT = "held_out_domain"
ALL = "all"
VALIDATION = 0.2
"""Share of each source domain that is for validation, where nothing else is said."""

SelectionRule = Literal["training_domain", "leave_one_source_domain_out", "oracle"]
LEAVE_ONE_OUT: SelectionRule = "leave_one_source_domain_out"
SELECTION_RULES: Mapping[SelectionRule, str] = {
    "training_domain": "training-domain validation",
    "leave_one_source_domain_out": "leave-one-source-domain-out cross-validation",
    "oracle": "oracle",
}
"""The selection rules where a domain is held out, in the words of tables."""

HeldOutPart = Literal["whole", "domainbed_80"]


def check_held_out(value: Any) -> Any:
    """Returns the domains to hold out: `all`, a name, or several names.

    Raises:
        ValueError: It is none of these, or names a domain twice.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"must be {ALL}, the name of a domain or a list of names, got {shown(value)}")
    for index, name in enumerate(names):
        for other in names[:index]:
            if other == name:
                raise ValueError(f"{name} stands there twice")
    return value


def alike(names: Sequence[str]) -> str:
    """Returns which two domains would have one label, in words; empty if each has its own."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(slug(name).lower(), name)
        if other != name:
            return (
                f"{other} and {name} would have one label, {slug(other)}; leave out the one that is no domain, or "
                "rename the folder of one of them"
            )
    return ""


HeldOut = Annotated[
    str | tuple[str, ...],
    BeforeValidator(check_held_out),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]


class DomainOptions(Frozen):
    """Leave one domain out: keys of a data set whose images have domains."""

    held_out_domain: HeldOut | None = Field(
        None,
        description="The domain that is held out, several, or `all`: a cell for each. It is the test part; the others "
        "are trained on, and a part of each is for validation (`validation`, 0.2 unless it is said). null: none.",
    )
    held_out_part: HeldOutPart = Field(
        "whole",
        description="What of a held-out domain is tested: the whole, or the 80 % that DomainBed reports on "
        "(domainbed_80).",
    )
    transductive: bool = Field(
        False,
        description="Whether backbones may have been pre-trained on images of the held-out domain, which is refused "
        "otherwise. Every figure is marked so.",
    )


DOMAIN_KEYS = tuple(DomainOptions.model_fields)
OF_A_DATASET: Mapping[str, str] = {key: f"datasets.LABEL.{key}" for key in DOMAIN_KEYS}
"""Where these keys stand, for who says them of a study or of all its data."""


def slug(domain: str) -> str:
    """Returns a domain's name as it stands in labels: `Real World` is `Real_World`."""
    return re.sub(r"[^A-Za-z0-9_+]+", "_", domain).strip("_") or "_"


def label_of(section: str, domain: str) -> str:
    """Returns the label of a data set with one domain held out: `pacs-photo`."""
    return f"{section}-{slug(domain)}"


def held_out_domains(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the domains that a data set's keys hold out by name; none where there is none, or where all are meant."""
    value = raw.get(HELD_OUT)
    names = [value] if isinstance(value, str) and value != ALL else value
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list | tuple) else ()


def labels_of(section: str, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the labels of the data sets that an entry of a study stands for: one for each held-out domain."""
    return tuple(label_of(section, domain) for domain in held_out_domains(raw)) or (section,)


def spelled_out(raw: Mapping[str, Any], component: DatasetComponent) -> dict[str, Any]:
    """Returns a data set's keys with the names of its domains in place of `all`, where its declaration has them."""
    known = list(component.counts) if component.domains else []
    return {**raw, HELD_OUT: known} if raw.get(HELD_OUT) == ALL and known else dict(raw)
