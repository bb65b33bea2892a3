"""Which images a `coretune data` command is about: a data set's name, or a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coretune.errors import RequestError, UnfitError

if TYPE_CHECKING:
    from coretune.data.masks import MaskSource
    from coretune.data.source import Source
    from coretune.spec.components import Catalog, DatasetComponent, Ref

HUB = "hub:"
VOC = "voc"
"""Images and masks of your own: how many classes there are, their values tell."""

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME|PATH",
        help="A data set's name (`coretune data list`), a folder or table of images, or hub:NAME (Hugging Face hub).",
    ),
]
PathOption = Annotated[
    Path | None,
    typer.Option("--path", metavar="DIR", help="Where the named data set lies; default: below $CORETUNE_DATA."),
]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="If it is not there, fetch it with torchvision's downloader.")
]


@dataclass(frozen=True)
class Chosen:
    """A data set and its images.

    Attributes:
        about: Its declaration.
        ref: What was named, with its parameters.
        source: Its images, perhaps with masks.
        path: Where they were found, or None where they have no place of their own.
    """

    about: DatasetComponent
    ref: Ref
    source: Source | MaskSource
    path: Path | None


def choose(word: str, path: Path | None, *, download: bool, unlabelled: bool = False) -> Chosen:
    """Opens what a command line names.

    Args:
        word: A name, a path, or `hub:NAME`.
        path: Where a named data set lies.
        download: Whether it may be fetched if it cannot be opened.
        unlabelled: Whether a folder of images in no class folders is right, too.

    Raises:
        RequestError: There is no such name or path, or nothing to download it with.
        UnfitError: The files are absent or not as expected.
    """
    from coretune.data.source import located, open_masks, open_source
    from coretune.spec.catalog import load_catalog

    catalog = load_catalog()
    ref, said = _named(catalog, word, path, unlabelled=unlabelled)
    about = catalog.dataset(ref.name)
    opened = open_masks if about.labels == "pixel" else open_source
    try:
        source = opened(catalog, ref, said)
    except UnfitError:
        if not download:
            raise
        said = str(_fetched(about, said))
        source = opened(catalog, ref, said)
    return Chosen(about, ref, source, located(about, said))


def _named(catalog: Catalog, word: str, path: Path | None, *, unlabelled: bool) -> tuple[Ref, str | None]:
    """Returns the data set that a word means, and its path if that is said."""
    said = None if path is None else str(path)
    if word.startswith(HUB):
        return catalog.ref("dataset", "hub", {"name": word.removeprefix(HUB)}), said
    if word in catalog.names("dataset"):
        return catalog.ref("dataset", word, _voc_parameters(path) if word == VOC and path is not None else {}), said
    if path is not None or not Path(word).expanduser().exists():
        missing = "" if path is not None else "; there is no such path either"
        try:
            catalog.dataset(word)
        except RequestError as error:
            raise RequestError(f"{error}{missing}") from error
    place = Path(word).expanduser()
    kind = _kind_of(place, unlabelled=unlabelled)
    return catalog.ref("dataset", kind, _voc_parameters(place) if kind == VOC else {}), word


def _kind_of(path: Path, *, unlabelled: bool) -> str:
    from coretune.data.sources.images import lies_in_no_classes
    from coretune.data.sources.manifest import is_manifest
    from coretune.data.sources.tree import holds_parquet
    from coretune.data.sources.voc import is_voc

    if is_manifest(path):
        return "manifest"
    if not unlabelled and is_voc(path):
        return VOC
    if holds_parquet(path):
        return "parquet"
    return "images" if unlabelled and lies_in_no_classes(path) else "folder"


def _voc_parameters(path: Path) -> dict[str, int]:
    """Returns the number of classes that the masks tell, where no file names them."""
    from coretune.data.sources.voc import classes_by_values
    from coretune_cli.output import note

    told = classes_by_values(path)
    if told is not None and told.remark:
        note(f"{path}: {told.classes} classes by the values of the masks, {told.remark}")
    return {} if told is None else {"classes": told.classes}


def _fetched(about: DatasetComponent, said: str | None) -> Path:
    from coretune.data.download import download
    from coretune.data.roots import DATA_VARIABLE, data_root
    from coretune_cli.bar import byte_bar
    from coretune_cli.output import note

    root = data_root()
    if said is None and root is None:
        raise RequestError(f"--download needs a place: set {DATA_VARIABLE}, or say --path DIR")
    folder = Path(said).expanduser() if said is not None else Path(root or ".") / about.name
    if about.download:
        note(f"downloading {about.name} to {folder}")
    with byte_bar(about.name) as at:
        download(about, folder, at)
    return folder
