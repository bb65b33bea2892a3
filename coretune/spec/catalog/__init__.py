"""The declarations that coretune ships, and how others join them."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from coretune.errors import RequestError
from coretune.spec.catalog import backbones, datasets, evaluations, methods, pretraining
from coretune.spec.catalog.conformance import faults
from coretune.spec.components import KINDS, UNVERSIONED, Catalog, Component, load_file, merge
from coretune.spec.shipped import local_copy

SHIPPED: list[Component] = [
    *methods.COMPONENTS,
    *datasets.COMPONENTS,
    *backbones.COMPONENTS,
    *pretraining.COMPONENTS,
    *evaluations.COMPONENTS,
]


def load_catalog(plugins: tuple[str, ...] = ()) -> Catalog:
    """Returns the catalog: shipped, from installed packages (entry points), and from plug-in files.

    Args:
        plugins: Paths of Python files, each with a list `COMPONENTS`.

    Raises:
        RequestError: A plug-in cannot be loaded, declares what cannot be, or claims a name that is taken.
    """
    files = dict.fromkeys(str(Path(local_copy(path)).resolve()) for path in plugins)
    return merge(SHIPPED, _from_entry_points(), *(plugin_components(path) for path in files))


def plugin_components(path: str) -> list[Component]:
    """Returns what a plug-in file declares.

    Where a declaration states no version, its version is the hash of the file's source; a target `:object` is an
    object of the file.

    Raises:
        RequestError: The file is missing, raises, or declares what cannot be.
    """
    try:
        module = load_file(path)
        version = plugin_version(path)
    except FileNotFoundError as error:
        raise RequestError(f"plug-in {path} does not exist") from error
    except Exception as error:  # a researcher's file may raise anything while it is imported
        raise RequestError(f"plug-in {path}: {type(error).__name__}: {error}") from error
    return _checked(
        [
            dataclasses.replace(
                component,
                version=version if component.version == UNVERSIONED else component.version,
                target=path + component.target if component.target.startswith(":") else component.target,
            )
            for component in _declared(getattr(module, "COMPONENTS", None), f"plug-in {path}")
        ],
        f"plug-in {path}",
    )


def plugin_version(path: str) -> str:
    """Returns the version of every component of a plug-in file: the hash of its source."""
    return "file-" + hashlib.sha256(Path(local_copy(path)).read_bytes()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _from_entry_points() -> tuple[Component, ...]:
    found: list[Component] = []
    for kind in KINDS:
        for entry in importlib.metadata.entry_points(group=f"coretune.{kind}s"):
            owner = f"installed package {entry.dist.name if entry.dist else '?'}, entry point {entry.name}"
            try:
                loaded = entry.load()
            except Exception as error:  # other people's packages may raise anything while they are imported
                raise RequestError(f"{owner}: {type(error).__name__}: {error}") from error
            found += _checked(_declared(loaded if isinstance(loaded, list) else [loaded], owner), owner)
    return tuple(found)


def _declared(components: object, owner: str) -> list[Component]:
    if not isinstance(components, list) or not all(isinstance(item, Component) for item in components):
        raise RequestError(f"{owner}: needs a list COMPONENTS of coretune.spec.components.Component")
    return components


def _checked(components: Iterable[Component], owner: str) -> list[Component]:
    found = list(components)
    wrong = [f"{item.kind} {item.name}: {fault}" for item in found for fault in faults(item)]
    if wrong:
        raise RequestError(f"{owner}: {'; '.join(wrong)}")
    return found
