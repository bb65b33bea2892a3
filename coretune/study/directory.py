"""A results directory belongs to one study; what its last driver left there is looked at before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from coretune.errors import RequestError, StorageError, StudyError
from coretune.results.files import explain
from coretune.results.store import ResultsStore
from coretune.spec.load import LoadedStudy
from coretune.spec.paths import begins_with_variable
from coretune.spec.wording import some
from coretune.spec.yamlfile import read_yaml, resolve_scalar
from coretune.study.found import datasets_of
from coretune.study.journal import is_journal

STUDY = "study.yaml"
_ODD_BREAKS = frozenset("\r\x85\u2028\u2029")


MARKS = (STUDY, "manifest.json", "state.json", "driver.lock", "log.txt", "runs", "cells")
"""What a results directory has at least one of, unless it is empty."""


def refuse_foreign(root: Path) -> None:
    """Refuses a place that is no results directory and not empty, before anything is written there.

    Raises:
        RequestError: It is a file, or a folder of something else.
    """
    if root.is_dir():
        if any(root.iterdir()) and not any((root / mark).exists() for mark in MARKS):
            raise RequestError(f"{root} is not empty and holds no results of coretune; choose another directory")
    elif root.exists():
        raise RequestError(f"{root} is a file, not a directory; choose another place")


def claim_directory(store: ResultsStore, loaded: LoadedStudy) -> None:
    """Writes the resolved study into its results directory.

    Files of an earlier driver that are damaged are set aside, and said in `store.warnings`.

    Raises:
        RequestError: The directory holds the results of a study of another name.
        StorageError: It cannot be read or written.
    """
    owner, damage = _owner(store)
    if owner is not None and owner != loaded.study.name:
        raise RequestError(
            f"{store.mirror.name} holds the results of the study {owner!r}, not of {loaded.study.name!r}; "
            "choose another directory with --out"
        )
    if damage:
        _set_aside(store, STUDY, damage)
    kept = {cell.key for cell in store.cells()}
    if kept and kept.isdisjoint(cell.key for cell in loaded.cells):
        store.warnings.append(
            f"{store.mirror.name} holds cells of another study named {loaded.study.name!r} (e.g. {min(kept)}); they "
            "stay, and the tables are those of this study: another name or --out keeps studies apart"
        )
    for name, is_sound in _DRIVER_FILES.items():
        if not is_sound(_content(store, name)):
            _set_aside(store, name, "it is damaged")
    store.put(STUDY, resolved_yaml(loaded).encode())


def beyond_before(store: ResultsStore, keys: Sequence[str]) -> str:
    """Returns which cells are new to a directory whose sessions had others, in words; empty where none is.

    Who began with `--only` may not know that going on without it trains all the others.

    Args:
        store: The results, whose `state.json` is still that of the last session.
        keys: The cells of this session.
    """
    state = store.json("state.json")
    listed = state.get("cells") if isinstance(state, dict) else None
    last = {str(cell.get("key")) for cell in listed if isinstance(cell, dict)} if isinstance(listed, list) else set()
    new = [key for key in keys if key not in last | {cell.key for cell in store.cells()}]
    if not last or not new:
        return ""
    were = "1 cell was" if len(new) == 1 else f"{len(new):,} cells were"
    return f"{were} not in the last session and will be run, too: {some(new, 3)}; `--only` chooses cells"


def resolved_yaml(loaded: LoadedStudy) -> str:
    """Returns a study with presets and overrides applied and paths made absolute, as a study file.

    A path that begins with a variable stays as it is: a later session may have set it otherwise. The preset itself is
    left out: what it said stands in the keys, and applied again it would win over values that are left out because they
    equal their defaults.
    """
    study: dict[str, Any] = loaded.study.model_dump(mode="json", exclude_defaults=True)
    preset = study.pop("preset", None)
    study.pop("smoke", None)
    study["plugins"] = list(loaded.plugins)
    if not study["plugins"]:
        del study["plugins"]
    for dataset in datasets_of(loaded.cells).values():
        given = study["datasets"][dataset.section]
        if dataset.path is not None and not begins_with_variable(given["path"]):
            given["path"] = dataset.path
    for cell in loaded.cells:
        own = study["backbones"][cell.backbone.label] if cell.backbone.checkpoint is not None else {}
        if own and not begins_with_variable(own["checkpoint"]):
            own["checkpoint"] = cell.backbone.checkpoint
    text: str = yaml.dump(study, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    applied = f", the preset {preset} applied" if preset else ""
    return f"# The study as resolved{applied}; `coretune study run` reads it like any study file.\n{text}"


class _Dumper(yaml.SafeDumper):
    """Quotes text that would be read as something else: PyYAML goes by YAML 1.1, where `1e-4` is text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Writes equal values out: study files are read by people."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(resolve_scalar(text[:300]), str) else "'"
    if _ODD_BREAKS & set(text):  # PyYAML folds them into spaces, except between double quotes
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _owner(store: ResultsStore) -> tuple[str | None, str]:
    """Returns whose results these are (where `study.yaml` is damaged the manifest tells), and the damage."""
    path = store.root / STUDY
    if not path.exists():
        return None, ""
    try:
        study = read_yaml(path).value
        damage = "it names no study"
    except StudyError as error:
        study, damage = None, error.problems[0].message
    if isinstance(study, dict) and isinstance(study.get("name"), str):
        return study["name"], ""
    try:
        manifest = json.loads(_content(store, "manifest.json") or b"null")
    except ValueError:
        manifest = None
    name = manifest.get("study") if isinstance(manifest, dict) else None
    return name if isinstance(name, str) else None, damage


def _content(store: ResultsStore, name: str) -> bytes | None:
    """Returns a file's content: None if it is absent, no text if there is a folder in its place."""
    path = store.root / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return b"\0"
    except OSError as error:
        raise StorageError(explain(error, path)) from error


def _set_aside(store: ResultsStore, name: str, damage: str) -> None:
    path = store.root / name
    store.warnings.append(
        f"{path} is not readable ({damage}); set aside as {store.set_aside(path).name}, and made again"
    )


def _is_mapping(content: bytes | None) -> bool:
    if content is None:
        return True
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def _is_journal(content: bytes | None) -> bool:
    return content is None or is_journal(content)


_DRIVER_FILES: dict[str, Callable[[bytes | None], bool]] = {
    "manifest.json": _is_mapping,
    "state.json": _is_mapping,
    "optuna.journal": _is_journal,
}
