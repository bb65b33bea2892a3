"""What pydantic found wrong, in words that a study's author needs: what is right there, and what was given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from coretune.spec.frozen import Frozen, union_members

MAX_SHOWN = 60

_WHOLE, _NUMBER, _TEXT, _MAPPING, _LIST = "a whole number", "a number", "text", "a mapping of keys to values", "a list"
_KINDS = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": _TEXT,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
}
_LIMITS = {
    "greater_than": ("greater than {}", "gt"),
    "greater_than_equal": ("at least {}", "ge"),
    "less_than": ("less than {}", "lt"),
    "less_than_equal": ("at most {}", "le"),
    "multiple_of": ("a multiple of {}", "multiple_of"),
}


class Spot(NamedTuple):
    """Where in a study file an error lies.

    Attributes:
        path: The keys that lead there, without pydantic's own marks.
        owner: The model whose key it is, or None in a plain mapping or list.
        field: The key's declaration, or None if it has none.
    """

    path: tuple[str | int, ...]
    owner: type[BaseModel] | None
    field: FieldInfo | None


def locate(model: type[BaseModel], loc: tuple[str | int, ...]) -> Spot:
    """Returns where an error's `loc` points, found by following the model's annotations.

    A `loc` names the member of a union (`int`, a tag) and marks a mapping's keys (`[key]`): no part of the file.
    """
    here: Any = model
    path: list[str | int] = []
    owner: type[BaseModel] | None = None
    field: FieldInfo | None = None
    for position, part in enumerate(loc):
        members = union_members(here)
        if len(members) > 1:
            here = next((member for member in members if _is_model(member)), members[0])
            continue
        here, was_mapping = members[0], get_origin(here) in (dict, Mapping)
        if part == "[key]" and position == len(loc) - 1 and path:
            break
        owner, field = (here, here.model_fields.get(str(part))) if _is_model(here) else (None, None)
        path.append(part)
        if _is_model(here):
            here = field.annotation if field is not None else Any
        else:
            arguments = get_args(here)
            here = arguments[1 if was_mapping and len(arguments) > 1 else 0] if arguments else Any
    return Spot(tuple(path), owner, field)


def describe(details: Iterable[ErrorDetails], spot: Spot) -> str:
    """Returns one message for the errors at one spot (several, if no member of a union fits)."""
    found = list(details)
    wanted = list(dict.fromkeys(filter(None, map(_wanted, found))))
    if len(found) > 1 and wanted:
        return f"must be {' or '.join(wanted)}, got {shown(found[0]['input'])}"
    return _message(found[0], spot)


def is_consequence(detail: ErrorDetails) -> bool:
    """Returns whether an error only follows from others: a list is too short for the entries that are wrong in it."""
    given = detail["input"]
    return (
        detail["type"] == "too_short"
        and isinstance(given, list | tuple)
        and len(given) >= detail.get("ctx", {}).get("min_length", 0)
    )


def nearest(name: str, known: Iterable[str], *, hidden: Iterable[str] = ()) -> str:
    """Returns `; did you mean x?`, or the known names, for a message about an unknown one.

    Args:
        name: The unknown name.
        known: The names that can be used.
        hidden: Names that may be meant and are not listed.
    """
    names = sorted(known)
    if (close := near(name, (*names, *hidden))) is not None:
        return f"; did you mean {close}?"
    return f"; known: {', '.join(names) or 'none'}"


def near(name: str, known: Iterable[str]) -> str | None:
    """Returns the name that an unknown one most likely means, or None."""
    names = sorted(known)
    begun = [item for item in names if len(name) > 2 and item.startswith(name)]
    close = begun or get_close_matches(name, names, n=1, cutoff=0.6)
    return close[0] if close else None


def shown(value: Any) -> str:
    """Returns a value as YAML writes it, shortened."""
    if isinstance(value, list | tuple | dict):
        text = json.dumps(value, ensure_ascii=False, default=str)
    elif isinstance(value, str):
        text = repr(value)
    else:
        text = {None: "null", True: "true", False: "false"}.get(value, str(value)) if _is_plain(value) else str(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def some(names: Sequence[str], most: int = 8) -> str:
    """Returns the first of many names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def all_of(names: Sequence[str]) -> str:
    """Returns names as a sentence lists them, the last behind an "and"; there is one at least."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _wanted(detail: ErrorDetails) -> str:
    kind = detail["type"]
    if kind in _LIMITS:
        text, limit = _LIMITS[kind]
        return text.format(detail.get("ctx", {}).get(limit))
    return _KINDS.get(kind, "")


def _message(detail: ErrorDetails, spot: Spot) -> str:
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden" and (place := _elsewhere(spot)):
        return f"unknown key here; it stands at {place}"
    if kind == "extra_forbidden":
        return "unknown key" + nearest(str(spot.path[-1]), spot.owner.model_fields if spot.owner is not None else ())
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind == "literal_error":
        options = _options(spot.field) or re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected")))
        close = isinstance(given, str) and get_close_matches(given, options, cutoff=0.5)
        said = f"one of {', '.join(options)}" if len(options) > 1 else f"{options[0]} or a mapping"
        return f"must be {said}, got {shown(given)}" + (nearest(given, options) if close else "")
    if kind == "string_pattern_mismatch":
        right = spot.field.description if spot.field is not None and spot.field.description else detail["msg"]
        return f"{shown(given)} has not the right form: {right}"
    if kind == "too_short" and isinstance(given, dict | list | tuple):
        least = detail.get("ctx", {}).get("min_length", 1)
        return "needs at least one entry" if least == 1 else f"needs at least {least} entries, got {shown(given)}"
    if kind == "string_type" and isinstance(given, int | float):
        return f"must be text, got {shown(given)}; put it in quotes"
    if wanted := _wanted(detail):
        return f"must be {wanted}, got {shown(given)}"
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, got {shown(given)}"


def _elsewhere(spot: Spot) -> str:
    """Returns where an unknown key of a model does stand; empty where nobody said."""
    known = spot.owner.elsewhere if spot.owner is not None and issubclass(spot.owner, Frozen) else {}
    return known.get(str(spot.path[-1]), "")


def _options(field: FieldInfo | None) -> list[str]:
    members = union_members(field.annotation) if field is not None else ()
    return [str(option) for member in members if get_origin(member) is Literal for option in get_args(member)]
