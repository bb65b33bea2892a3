"""Declarations of what a study can name, and the catalog that holds them. No torch here.

A declaration says all that planning needs (parameters, version, ranges); the object behind it is loaded from
`target` only where it runs. Other packages declare components by entry points (`coretune.methods`, ...), a
researcher's single file by `plugins: [./my_method.py]` in the study.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal

from pydantic import Field

from coretune.errors import RequestError
from coretune.spec.frozen import Frozen, digest
from coretune.spec.space import Space
from coretune.spec.wording import nearest, shown

Kind = Literal["method", "dataset", "backbone", "pretraining", "evaluation"]
KINDS: tuple[Kind, ...] = ("method", "dataset", "backbone", "pretraining", "evaluation")
UNVERSIONED = 0
PER_PIXEL = "it has a class per pixel, not one per image: backbones are pre-trained, and images classified, on others"
"""Why a data set for semantic segmentation is refused where squares of images are wanted."""


class NoParameters(Frozen):
    """The parameters of a component that has none."""


def needs_domains(parameters: Frozen) -> bool:
    """Returns whether a method with these parameters needs the domain of every image that it is trained on.

    Parameters that say so have an attribute or a property `needs_domains`; others need not have it.
    """
    return bool(getattr(parameters, "needs_domains", False))


@dataclass(frozen=True, kw_only=True)
class Component:
    """One thing that a study can name.

    Attributes:
        kind: What it is.
        name: How a study names it.
        version: Raised when its mathematics changes. A plug-in file leaves it out: the catalog puts the hash of the
            file's source in its place, so that no change of the file can be forgotten.
        target: `module:object`, imported when it runs. In a plug-in file `:object`, an object of that file.
        summary: One line for listings.
        source: Where it comes from: paper, equation.
        parameters: Its parameters, with default, range and meaning of each.
        space: Default search ranges, by parameter name.
        train: Values of the training recipe that this component changes, e.g. `{"weight_decay": 0.0}`.
        train_space: Search ranges of recipe values that take the place of the study's, where the study searches these
            values: a learning rate for SGD is none for AdamW.
        refused: Why nothing can use it, and what to use instead, in one line; empty for all that can be used. A name
            that people look for gets a better answer so than that it is unknown.
        dense: What a method is for data sets with a class per pixel, `module:object`; empty: it is nothing there.
        dense_parameters: Its parameters there, where fewer values have a meaning: a subclass of `parameters`.
        samples: Whether it samples pixels there, by the keys of `segmentation` that say which.
    """

    kind: Kind
    name: str
    version: int | str = UNVERSIONED
    target: str
    summary: str
    source: str = ""
    parameters: type[Frozen] = NoParameters
    space: Mapping[str, Space] = field(default_factory=lambda: MappingProxyType({}))
    train: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    train_space: Mapping[str, Space] = field(default_factory=lambda: MappingProxyType({}))
    refused: str = ""
    dense: str = ""
    dense_parameters: type[Frozen] | None = None
    samples: bool = False

    def load_dense(self) -> Any:
        """Imports and returns what a method is for data sets with a class per pixel.

        Raises:
            RequestError: It is nothing there, or the module or the object is not there.
        """
        if not self.dense:
            raise RequestError(f"{self.kind} {self.name}: has no form for data sets with a class per pixel")
        return self._load(self.dense)

    def load(self) -> Any:
        """Imports and returns the object behind the declaration.

        Raises:
            RequestError: The module or the object is not there.
        """
        return self._load(self.target)

    def _load(self, target: str) -> Any:
        module_name, _, attribute = target.rpartition(":")
        try:
            module = load_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
            return getattr(module, attribute)
        except Exception as error:  # a foreign module may raise anything while it is imported
            detail = f"{type(error).__name__}: {error}"
            raise RequestError(f"{self.kind} {self.name}: cannot load {target}: {detail}") from error


@dataclass(frozen=True, kw_only=True)
class DatasetComponent(Component):
    """A data set: the declaration says its size, splits and licence before a byte of it is read.

    Attributes:
        labels: What is of a class: the image, or each of its pixels (semantic segmentation).
        classes: Number of classes, or None where the files tell.
        image_size: Side in pixels of the square that images are packed at by default; those with a class per pixel are
            packed at their own size.
        augment: Default training augmentation; keys of `AugmentSpec`.
        splits: Where the official split and the validation part come from, in words.
        licence: Under which terms the images may be used.
        citation: How to cite it.
        needs_path: Whether the study must say where the files are.
        metrics: What results on it are usually reported in.
        counts: Expected number of images by part (`train`, `val`, `test`), or by domain where `domains` says so.
        official: Whether its authors say which images are for testing; else a mirror's only part is no part.
        domains: Whether `counts` are by domain: the official parts are domains then.
        obtain: Where to get the files, in words.
        layouts: The layouts that are understood, each in words.
        folders: Other names of its folder below `$CORETUNE_DATA`: those that torchvision's downloaders leave there.
        download: The class of `torchvision.datasets` that can download it, if there is one.
    """

    labels: Literal["image", "pixel"] = "image"
    classes: int | None = None
    image_size: int = 224
    augment: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    splits: str = ""
    licence: str = ""
    citation: str = ""
    needs_path: bool = False
    metrics: tuple[Literal["top1", "mean_per_class", "miou"], ...] = ("top1",)
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    official: bool = True
    domains: bool = False
    obtain: str = ""
    layouts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    download: str = ""

    @property
    def size(self) -> int | None:
        """Number of images, or None where the files tell."""
        return sum(self.counts.values()) or None


@dataclass(frozen=True, kw_only=True)
class EvaluationComponent(Component):
    """An evaluation that needs more than the images that it judges a model on.

    Attributes:
        labels: Whether it judges models that predict a class for each image, or for each pixel.
        labelled: Whether it is given the labelled training images, too: the keyword `labelled`, their indices.
        validation: Whether it is given the images of the validation part, too: the keyword `validation`, their indices.
        precision: Arithmetic of the forward pass: as the model was `trained`, or `fp32` whatever that was. An attack
            needs `fp32`: rounding to half precision makes gradients of 0 and hides small perturbations.
        rows: Whether it is told if somebody asks for its rows by image: the keyword `rows`.
        resumes: Whether it can go on after a kill: the keyword `partial`, a folder for what it has done so far, which
            is removed once it is finished.
        tells: Whether it tells how far it is: the keyword `tell`, a function or None.
        surrogate: Whether it is given another trained model: the keyword `surrogate`. No study can ask for it, whose
            runs know nothing of each other; `coretune robust eval` does.
    """

    labels: Literal["image", "pixel"] = "image"
    labelled: bool = False
    validation: bool = False
    precision: Literal["trained", "fp32"] = "trained"
    rows: bool = False
    resumes: bool = False
    tells: bool = False
    surrogate: bool = False


class Ref(Frozen):
    """A component by name and version, with the parameters that differ from their defaults."""

    name: str = Field(description="Name in the catalog.")
    version: int | str = Field(description="Version of the component's mathematics.")
    params: dict[str, Any] = Field(default={}, description="Parameters that differ from their defaults.")


def load_file(path: str) -> ModuleType:
    """Imports a single Python file, outside of any package; the same content is imported once in a process.

    Raises:
        ImportError: It is no Python file.
        OSError: It cannot be read.
    """
    name = f"coretune_plugin_{digest([path, Path(path).read_text(encoding='utf-8', errors='replace')])}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic and dataclasses look annotations up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def unknown_name(kind: str, name: str, known: list[str], hidden: Iterable[str] = ()) -> str:
    """Returns the message for a name that is not known, with the nearest one that is; `hidden` ones are not listed."""
    return f"unknown {kind} {shown(name)}{nearest(name, known, hidden=hidden)}"


@dataclass(frozen=True)
class Catalog:
    """All declared components, by kind and name."""

    components: Mapping[Kind, Mapping[str, Component]]

    def get(self, kind: Kind, name: str) -> Component:
        """Returns a component.

        Raises:
            RequestError: No such name, the message has the nearest one; or it is refused, the message says why.
        """
        known = self.components.get(kind, {})
        if name not in known:
            raise RequestError(unknown_name(kind, name, self.names(kind), known))
        if known[name].refused:
            raise RequestError(f"{kind} {name}: {known[name].refused}")
        return known[name]

    def dataset(self, name: str) -> DatasetComponent:
        """Returns a data set's declaration.

        Raises:
            RequestError: No such name.
        """
        component = self.get("dataset", name)
        if not isinstance(component, DatasetComponent):
            raise RequestError(f"dataset {name}: must be declared as a DatasetComponent")
        return component

    def names(self, kind: Kind) -> list[str]:
        """Returns the sorted names of a kind that can be used: those that `get` returns."""
        return sorted(name for name, component in self.components.get(kind, {}).items() if not component.refused)

    def ref(self, kind: Kind, name: str, params: Mapping[str, Any] | None = None) -> Ref:
        """Returns the canonical reference to a component: validated, defaults left out.

        Raises:
            RequestError: No such name.
            pydantic.ValidationError: A parameter is unknown or out of range.
        """
        component = self.get(kind, name)
        validated = component.parameters.model_validate(dict(params or {}))
        return Ref(
            name=name, version=component.version, params=validated.model_dump(mode="json", exclude_defaults=True)
        )

    def parameters(self, kind: Kind, ref: Ref) -> Frozen:
        """Returns the complete, typed parameters behind a reference.

        Raises:
            RequestError: No such name, or it has another version here: its mathematics is not what the reference means.
            pydantic.ValidationError: A parameter is unknown or out of range.
        """
        component = self.get(kind, ref.name)
        if component.version != ref.version:
            raise RequestError(
                f"{kind} {ref.name}: version {ref.version} is asked for, version {component.version} is here"
            )
        return component.parameters.model_validate(ref.params)


def merge(*groups: Sequence[Component]) -> Catalog:
    """Returns one catalog of several groups of declarations.

    Raises:
        RequestError: Two of them claim one name.
    """
    found: dict[Kind, dict[str, Component]] = {kind: {} for kind in KINDS}
    for component in (component for group in groups for component in group):
        claimed = found[component.kind].setdefault(component.name, component)
        if claimed is not component:
            raise RequestError(
                f"{component.kind} {component.name!r} is claimed twice: by {claimed.target} and by {component.target}"
            )
    return Catalog(MappingProxyType({kind: MappingProxyType(named) for kind, named in found.items()}))
