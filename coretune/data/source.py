"""What every source of images offers, and how a reference in a study becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coretune.data.roots import DATA_VARIABLE, data_root
from coretune.errors import MissingError, RequestError, UnfitError
from coretune.spec.components import PER_PIXEL, Catalog, DatasetComponent, Ref

if TYPE_CHECKING:
    from coretune.data.masks import MaskSource

UNDECIDED = -1
TRAIN = 0
VALIDATION = 1
TEST = 2


class Source(Protocol):
    """Labelled images, readable one by one. Built as `Source(path: Path | None, params: Frozen)`.

    Building one may list files but decodes nothing: with a valid pack at hand, `image` is never called.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of their labels."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) labels in [0, C)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the N images: unique, and the same wherever the data lie."""

    @property
    def parts(self) -> NDArray[np.int8]:
        """(N,) official part of each image: TRAIN, VALIDATION, TEST, or UNDECIDED."""

    @property
    def crop(self) -> bool:
        """Whether packing cuts the centre square (true) or squeezes the whole image into one (false)."""

    @property
    def decoding(self) -> str:
        """Name and version of what `image`, `labels` and `parts` make of the files; a part of the pack's key."""

    def files(self) -> list[tuple[str, Path]]:
        """Returns the files behind the images, with their relative names: what the fingerprint is taken of."""

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns one image, (H, W, 3) RGB.

        Raises:
            UnfitError: It cannot be read; the message is its name and why.
        """


@dataclass(frozen=True)
class Domains:
    """Which domain each image is of, e.g. photo or sketch.

    Attributes:
        names: Names of the domains.
        of: (N,) int64, which one of them each image is of.
    """

    names: tuple[str, ...]
    of: NDArray[np.int64]


def domains_of(source: Source) -> Domains | None:
    """Returns the domains of a source's images, or None where it knows none.

    A source that does has an attribute `domains`, a `Domains`; others need not have it.
    """
    domains = getattr(source, "domains", None)
    return domains if isinstance(domains, Domains) else None


def lacking_domains(source: Source) -> str:
    """Returns why a source has no domains, or some of its images have none, in the terms of its files.

    A source that knows has an attribute `lacking_domains`, a string, empty where none lacks; others need not have it.
    """
    lacking = getattr(source, "lacking_domains", "")
    return lacking if isinstance(lacking, str) else ""


def remarks_of(source: Source | MaskSource) -> tuple[str, ...]:
    """Returns what a source has to say of its files, one line each.

    A source that does has an attribute `remarks`, a tuple of strings; others need not have it.
    """
    remarks = getattr(source, "remarks", ())
    return remarks if isinstance(remarks, tuple) else ()


def open_source(catalog: Catalog, ref: Ref, path: str | None) -> Source:
    """Opens the source behind a reference.

    Args:
        catalog: Where the data set is declared.
        ref: The data set and its parameters.
        path: Where the files are; None looks below `$CORETUNE_DATA`, as `located` does.

    Raises:
        RequestError: The catalog has no such data set, its code cannot be loaded, or it has a class per pixel.
        MissingError: The data are not there; the message says where it looked.
        UnfitError: What is there is not as expected; the message says what was found.
    """
    component = catalog.dataset(ref.name)
    if component.labels == "pixel":
        raise RequestError(f"data set {component.name}: {PER_PIXEL}")
    source: Source = _opened(catalog, ref, path)
    return source


def open_masks(catalog: Catalog, ref: Ref, path: str | None) -> MaskSource:
    """Opens the images with masks behind a reference to a data set that has a class per pixel.

    Args:
        catalog: As in `open_source`.
        ref: As in `open_source`.
        path: As in `open_source`.

    Raises:
        RequestError: As in `open_source`.
        MissingError: As in `open_source`.
        UnfitError: As in `open_source`.
    """
    source: MaskSource = _opened(catalog, ref, path)
    return source


def open_any(catalog: Catalog, ref: Ref, path: str | None) -> Source | MaskSource:
    """Opens what is behind a reference, images with a class each or with a mask each.

    Args:
        catalog: As in `open_source`.
        ref: As in `open_source`.
        path: As in `open_source`.

    Raises:
        RequestError: As in `open_source`.
        MissingError: As in `open_source`.
        UnfitError: As in `open_source`.
    """
    of_pixels = catalog.dataset(ref.name).labels == "pixel"
    return open_masks(catalog, ref, path) if of_pixels else open_source(catalog, ref, path)


def _opened(catalog: Catalog, ref: Ref, path: str | None) -> Any:
    component = catalog.dataset(ref.name)
    folder = located(component, path)
    if folder is None and component.needs_path:
        raise no_place(component.name)
    load, parameters = component.load(), catalog.parameters("dataset", ref)
    try:
        return load(folder, parameters)
    except UnfitError as error:
        if folder is not None and holds_nothing(folder):
            raise MissingError(str(error)) from error
        raise


def no_place(name: str) -> MissingError:
    """Returns the error of a data set that has no path, and no folder of its own below `$CORETUNE_DATA`."""
    root = data_root()
    said = f"{DATA_VARIABLE} is {'not set' if root is None else root}"
    right = "give its path: `path`, or --path on a command line"
    return MissingError(f"no path of {name} is given, and ${DATA_VARIABLE}/{name} does not exist ({said}); {right}")


def holds_nothing(path: Path) -> bool:
    """Returns whether nothing is at a path, or a folder without a visible file, at whatever depth.

    So it is where no disk is mounted, or where a download failed.

    Raises:
        UnfitError: It cannot be looked into.
    """
    try:
        if not path.exists():
            return True
        return path.is_dir() and not any(
            file for file in path.rglob("*") if not file.is_dir() and not _hidden(file.relative_to(path))
        )
    except OSError as error:
        raise UnfitError(f"{path}: cannot be read: {error.strerror or error}") from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def located(component: DatasetComponent, path: str | None = None) -> Path | None:
    """Returns where the files of a data set are: the path given, else the first of its folders below `$CORETUNE_DATA`.

    Returns:
        None where no path is given and none of its folders is there.
    """
    if path is not None:
        return Path(path).expanduser()
    root = data_root()
    names = () if root is None else (component.name, *component.folders)
    return next((root / name for name in names if root is not None and (root / name).exists()), None)
