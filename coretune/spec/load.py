"""From a study file to a `Study` and its cells, or to all of the file's problems at once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coretune.errors import Problem, RequestError, StudyError
from coretune.spec.catalog import load_catalog
from coretune.spec.cells import Cell
from coretune.spec.components import Catalog
from coretune.spec.domains import HELD_OUT, spelled_out
from coretune.spec.draft import draft_study
from coretune.spec.overrides import overridden
from coretune.spec.paths import absolute_path
from coretune.spec.presets import apply_preset
from coretune.spec.problems import Problems
from coretune.spec.resolve import resolve_names
from coretune.spec.run import EvalSpec
from coretune.spec.study import Study
from coretune.spec.validation_attack import ValidationAttack
from coretune.spec.wording import nearest
from coretune.spec.yamlfile import Document, read_yaml


@dataclass(frozen=True)
class LoadedStudy:
    """A study file that is right.

    Attributes:
        study: Its keys, validated.
        cells: Its cells, in the order of the file.
        catalog: What its names mean.
        plugins: Absolute paths of its plug-in files.
        evaluations: The further evaluations of its final runs, by label.
        attack: What robust accuracy is measured under, for all methods; None where the objective has none.
        places: Where its keys stand, for what is found wrong with them later.
    """

    study: Study
    cells: tuple[Cell, ...]
    catalog: Catalog
    plugins: tuple[str, ...] = ()
    evaluations: Mapping[str, EvalSpec] = field(default_factory=dict)
    attack: ValidationAttack | None = None
    places: Problems = field(default_factory=lambda: Problems(Document({}, "")), compare=False, repr=False)

    @property
    def cell(self) -> Cell:
        """Its one cell, where the study stands for one model.

        Raises:
            RequestError: It has several, since it holds out several domains.
        """
        if len(self.cells) != 1:
            held_out = [cell.dataset.held_out_domain or cell.key for cell in self.cells]
            raise RequestError(f"{HELD_OUT}: one model has one held-out domain; name one of {', '.join(held_out)}")
        return self.cells[0]


def load_study(path: Path | str, sets: Sequence[str] = ()) -> LoadedStudy:
    """Reads, checks and resolves a study file.

    Args:
        path: A file, or the name of a study that ships with coretune (`quickstart`).
        sets: Overrides, `train.epochs=5`; the value is YAML.

    Raises:
        StudyError: With all problems of the file.
    """
    file = find_study(path)
    return resolve_study(read_yaml(file), sets, folder=file.parent)


def find_study(path: Path | str) -> Path:
    """Returns a study's file: the path itself, or a shipped study by its name.

    Raises:
        StudyError: Neither; the message names the nearest shipped study.
    """
    shipped = shipped_studies()
    if str(path) in shipped and (os.path.isdir(path) or not os.path.exists(path)):
        return shipped[str(path)]
    if os.path.exists(path):
        return Path(path)
    message = f"does not exist, and no shipped study has this name{nearest(str(path), shipped)}"
    raise StudyError([Problem("", message, None, str(path))])


def shipped_studies() -> dict[str, Path]:
    """Returns the study files that are installed with coretune, by name; `evidence/explore` in a folder."""
    spec = importlib.util.find_spec("coretune_studies")
    folders = spec.submodule_search_locations if spec is not None else None
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file
        for folder in folders or ()
        for file in sorted(Path(folder).rglob("*.yaml"))
    }


def resolve_study(document: Document, sets: Sequence[str] = (), *, folder: Path | None = None) -> LoadedStudy:
    """Checks and resolves a parsed study file.

    Every stage runs on what the one before it found right, so that all problems come at once.

    Args:
        document: The file.
        sets: Overrides, `train.epochs=5`.
        folder: What relative paths are relative to; None: the working directory.

    Raises:
        StudyError: With all problems.
        RequestError: An installed package declares what cannot be.
    """
    problems = Problems(document)
    base = folder or Path()
    study = draft_study(apply_preset(overridden(document, sets, problems)), problems)
    plugins = tuple(absolute_path(base, plugin) for plugin in study.plugins)
    catalog, complete = _catalog(plugins, problems)
    study = with_domains(study, catalog)
    named = resolve_names(study, catalog, problems, base, complete=complete)
    problems.stop_if_any()
    return LoadedStudy(study, tuple(named.cells), catalog, plugins, named.evaluations, named.attack, problems)


def with_domains(study: Study, catalog: Catalog) -> Study:
    """Returns a study in which `held_out_domain: all` is the names of the domains, where a declaration has them."""
    found: dict[str, dict[str, Any]] = {}
    for label, raw in study.datasets.items():
        name = raw.get("dataset") or label
        known = isinstance(name, str) and name in catalog.names("dataset")
        found[label] = spelled_out(raw, catalog.dataset(name)) if known else raw
    return study.model_copy(update={"datasets": found})


def _catalog(plugins: tuple[str, ...], problems: Problems) -> tuple[Catalog, bool]:
    """Returns the catalog with all plug-ins that can be loaded, and whether these are all."""
    catalog = load_catalog()
    loaded: tuple[str, ...] = ()
    for index, plugin in enumerate(plugins):
        try:
            catalog = load_catalog((*loaded, plugin))
            loaded = (*loaded, plugin)
        except RequestError as error:
            problems.add(("plugins", index), str(error))
    return catalog, loaded == plugins
