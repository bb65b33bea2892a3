"""Image sets of several domains: a folder per domain and class, or parquet with a column of domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coretune.data.source import UNDECIDED, Domains, Source
from coretune.data.sources.layouts import DEPTH, absent, folders_in, found_in, nowhere
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.parquet import Parquet
from coretune.data.sources.parquet_files import find
from coretune.data.sources.shard import Shard
from coretune.data.sources.tree import Tree, holds_parquet, scan
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import ParquetParameters
from coretune.spec.catalog.image_sets import image_set
from coretune.spec.components import DatasetComponent
from coretune.spec.wording import some

Classes = Mapping[str, Tree]
"""The folders of one domain's classes."""


def open_domains(
    name: str,
    path: Path | None,
    *,
    other_names: Mapping[str, Sequence[str]] | None = None,
    class_names: Mapping[str, str] | None = None,
    classes_of: Callable[[Tree], list[tuple[str, Classes]]] | None = None,
) -> Source:
    """Opens a set whose declaration counts its images by domain. No image is in an official part.

    Args:
        name: Its name in the catalog.
        path: Where it is.
        other_names: Further names of a domain's folder, by domain.
        class_names: Names of classes whose folders are called otherwise.
        classes_of: Where the class folders of a domain are: their paths below it, and they; None: in the domain itself.

    Raises:
        UnfitError: It is not there, or a domain or a class is not.
    """
    about = image_set(name)
    if path is None:
        raise nowhere(about)
    spelled = {domain: (domain, *(other_names or {}).get(domain, ())) for domain in about.counts}
    root = _root(path, spelled)
    if root is None and holds_parquet(path):
        return _from_parquet(about, path, spelled)
    if root is None:
        raise absent(about, f"{path}: {name} is not there: {found_in(path)}")
    found = [
        _Class(index, (class_names or {}).get(label, label), f"{folder.name}/{within}{label}", tree)
        for index, folder in enumerate(_domain_folders(about, root, spelled))
        for within, below in (classes_of or _directly)(scan(folder))
        for label, tree in below.items()
    ]
    classes = sorted({each.name for each in found})
    _check_number(about, root, classes)
    images = [
        Listed(image, classes.index(each.name), UNDECIDED, each.domain)
        for each in found
        for image in each.tree.below(each.prefix)
    ]
    return ImageFiles(root, images, classes, reading=f"{name}/1", domains=list(about.counts))


class _Class(NamedTuple):
    """The folder of one class in one domain, and what the names of its images begin with."""

    domain: int
    name: str
    prefix: str
    tree: Tree


def _directly(domain: Tree) -> list[tuple[str, Classes]]:
    return [("", domain.folders)]


def _domain_folders(about: DatasetComponent, root: Path, spelled: Mapping[str, Sequence[str]]) -> list[Path]:
    folders = {domain: _folder(root, names) for domain, names in spelled.items()}
    lacking = [domain for domain, folder in folders.items() if folder is None]
    if lacking:
        raise absent(about, f"{root}: no folder of the domain {some(lacking)}: {found_in(root)}")
    return [folder for folder in folders.values() if folder is not None]


def _check_number(about: DatasetComponent, path: Path, classes: Sequence[str]) -> None:
    if len(classes) != about.classes:
        raise absent(about, f"{path}: {len(classes)} classes ({some(classes)}); {about.name} has {about.classes}")


def _root(path: Path, spelled: Mapping[str, Sequence[str]]) -> Path | None:
    """Returns the folder with a folder of some domain in it, the path itself or somewhat below it."""
    level = [path]
    for _ in range(DEPTH + 1):
        for folder in level:
            if sum(_folder(folder, names) is not None for names in spelled.values()) > 1:
                return folder
        level = [below for folder in level for below in folders_in(folder)]
    return None


def _folder(root: Path, names: Sequence[str]) -> Path | None:
    """Returns the folder of one of the names, however it is spelled: `Real World`, `real_world`."""
    exact = next((root / name for name in names if (root / name).is_dir()), None)
    plain = {_plain(name) for name in names}
    return exact or next((folder for folder in folders_in(root) if _plain(folder.name) in plain), None)


def _from_parquet(about: DatasetComponent, path: Path, spelled: Mapping[str, Sequence[str]]) -> Source:
    try:
        source = Parquet(path, ParquetParameters())
        columns = [Shard(file, None, "domain") for file in find(path).files]
        said = [_spelled_out(shard) for shard in columns]
    except UnfitError as error:
        raise absent(about, str(error)) from error
    _check_number(about, path, source.classes)
    number = {_plain(name): index for index, names in enumerate(spelled.values()) for name in names}
    domain_of = [word for words in said for word in words]
    strange = sorted({word for word in domain_of if _plain(word) not in number})
    if strange:
        raise absent(about, f"{path}: domains {some(strange)}; expected {', '.join(about.counts)}")
    source.parts = np.full(len(source.names), UNDECIDED, dtype=np.int8)
    source.decoding = f"{about.name}/1:{source.decoding}"
    source.domains = Domains(
        tuple(about.counts), np.array([number[_plain(word)] for word in domain_of], dtype=np.int64)
    )
    return source


def _spelled_out(shard: Shard) -> list[str]:
    values = shard.labels().tolist()
    names = shard.classes
    return [names[value] if names is not None and isinstance(value, int) else str(value) for value in values]


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
