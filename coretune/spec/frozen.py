"""The base of all descriptions: frozen models, canonical JSON, and hashes of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Frozen(BaseModel):
    """A frozen pydantic model that refuses unknown keys, non-finite numbers, and true or false as a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    number_fields: ClassVar[frozenset[str]] = frozenset()
    elsewhere: ClassVar[Mapping[str, str]] = {}
    """Keys that are looked for here and stand elsewhere, and where."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.number_fields = frozenset(
            name for name, info in cls.model_fields.items() if _takes_numbers_only(info.annotation)
        )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name in cls.number_fields:
            raise ValueError(f"must be a number, got {str(value).lower()}")
        return value

    def replace(self, **changes: Any) -> Self:
        """Returns a validated copy with some fields changed.

        Raises:
            pydantic.ValidationError: A change is unknown or out of range.
        """
        return type(self).model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Returns an unvalidated copy with some fields changed, without properties that were cached of the old ones."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


def canonical_json(value: Any) -> str:
    """Returns the one JSON text of a value: sorted keys, no spaces, `-0.0` as `0.0`.

    Raises:
        ValueError: A number is not finite.
    """
    return json.dumps(_normalise(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Returns the first `length` hexadecimal digits of the SHA-256 of a value's canonical JSON.

    Raises:
        ValueError: A number is not finite.
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def union_members(annotation: Any) -> tuple[Any, ...]:
    """Returns the members of a union other than None; of anything else, the thing itself. Looks into `Annotated`."""
    if get_origin(annotation) is Annotated:
        return union_members(get_args(annotation)[0])
    if get_origin(annotation) not in (Union, UnionType):
        return (annotation,)
    return tuple(part for member in get_args(annotation) for part in union_members(member) if part is not type(None))


def _takes_numbers_only(annotation: Any) -> bool:
    return set(union_members(annotation)) <= {int, float}


def _normalise(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _normalise(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normalise(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in a description: numbers must be finite")
        return 0.0 if value == 0 else value
    return value
