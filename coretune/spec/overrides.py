"""A study file's value with `--set key=value` options applied, and lists of labels written out as mappings."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coretune.errors import Problem, StudyError
from coretune.spec.augment_presets import PRESET
from coretune.spec.problems import Problems, shortened
from coretune.spec.study import OF_THE_FILE, Study
from coretune.spec.wording import shown
from coretune.spec.yamlfile import Document, parse_yaml

LABELLED = ("datasets", "backbones", "methods", "evaluations")
OPTIONS = ("data", "train", "adversary", "search", "finals", "objective", "contrasts", "resources")
SECTIONS = (*LABELLED, *OPTIONS, "plugins", "smoke")


def overridden(document: Document, sets: Iterable[str], problems: Problems) -> dict[str, Any]:
    """Returns the file's value with overrides applied; `methods: [a, b]` is `{a: {}, b: {}}`, an empty section absent.

    Where the preset is `smoke`, the file's section `smoke` comes before the overrides, and is gone.

    Args:
        document: The file.
        sets: `path=value` each, the value in YAML; a later one wins.
        problems: Collects overrides that cannot be applied, and list entries that are no label.

    Raises:
        StudyError: The file is empty, or no mapping.
    """
    value = document.value
    if value is None:
        raise StudyError(
            [Problem("", "is empty; a study needs name, datasets, backbones and methods", 1, document.file)]
        )
    if not isinstance(value, dict):
        message = f"is no mapping of keys to values, as a study is, but {shown(value)}"
        raise StudyError([Problem("", message, 1, document.file)])
    raw = _written_out(copy.deepcopy(value), problems)
    overrides = list(sets)
    if _preset(raw, overrides) == "smoke":
        _put_smoke(raw, problems)
        raw = _written_out(raw, problems)
    for item in overrides:
        _apply(raw, item, problems)
    return _written_out(raw, problems)


def _preset(raw: Mapping[str, Any], sets: Sequence[str]) -> object:
    """Returns the preset that counts: the last one of the overrides, else the file's own."""
    said = [text for key, _, text in (item.partition("=") for item in sets) if key.strip() == "preset"]
    return said[-1].strip(" '\"") if said else raw.get("preset")


def _put_smoke(raw: dict[str, Any], problems: Problems) -> None:
    """Puts what the file says of its smoke preset in the place of its own keys, so that overrides still win."""
    said = raw.pop("smoke", None)
    if not isinstance(said, dict):
        raw |= {} if said is None else {"smoke": said}  # for validation to refuse
        return
    for key, value in said.items():
        if key in OF_THE_FILE or key not in Study.model_fields:
            raw["smoke"] = said  # likewise
            return
        whole = key in LABELLED or not isinstance(value, dict) or not isinstance(raw.get(key), dict)
        raw[key] = value if whole else {**raw[key], **value}
        for path in [(key,)] if whole else [(key, inner) for inner in value]:
            problems.overridden(path, f"{problems.document.file}, smoke")


class Said(str):
    """An override that an option of a command stands for: messages name that option in its place.

    Args:
        item: `key=value`.
        origin: The option.
    """

    origin: str

    def __new__(cls, item: str, origin: str) -> Said:
        """Returns the override."""
        made = super().__new__(cls, item)
        made.origin = origin
        return made


def _apply(raw: dict[str, Any], item: str, problems: Problems) -> None:
    origin = item.origin if isinstance(item, Said) else shortened(f"--set {item}")
    key, equals, text = item.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        problems.include(Problem("", "needs key=value, e.g. train.epochs=5", None, origin))
        return
    try:
        value = parse_yaml(text, origin).value
    except StudyError as error:
        for problem in error.problems:
            problems.include(Problem(key, problem.message, None, origin))
        return
    *parents, last = path
    target = raw
    for depth, part in enumerate(parents, start=1):
        if target.get(part) is None:
            target[part] = {}
        if part == "augment" and isinstance(target[part], str):
            target[part] = {PRESET: target[part]}  # what a preset's name is short for
        target = target[part]
        if not isinstance(target, dict):
            message = f"{'.'.join(path[:depth])} is {shown(target)}, which has no key {path[depth]!r}"
            problems.include(Problem(key, message, None, origin))
            return
    target[last] = value
    problems.overridden(path, origin)


def _written_out(raw: dict[str, Any], problems: Problems) -> dict[str, Any]:
    found = {key: value for key, value in raw.items() if value is not None or key not in SECTIONS}
    for key in LABELLED:
        value = found.get(key)
        if isinstance(value, list):
            value = _labels(key, value, problems)
        if isinstance(value, dict):
            found[key] = {label: {} if options is None else options for label, options in value.items()}
    return found


def _labels(key: str, items: list[Any], problems: Problems) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index, item in enumerate(items):
        if not isinstance(item, str):
            problems.add((key, index), f"a list holds labels only, got {shown(item)}; with options, write a mapping")
        elif item in found:
            problems.add((key, index), f"{item} stands twice")
        else:
            found[item] = {}
            problems.stands_at((key, item), (key, index))
    return found
