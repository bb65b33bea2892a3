"""Your own images of several domains: a folder per domain, and in it one per class."""

from __future__ import annotations

from pathlib import Path

from coretune.data.source import UNDECIDED
from coretune.data.sources.listed import ImageFiles, Listed
from coretune.data.sources.tree import Tree, refuse_masks, scan
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters
from coretune.spec.wording import some

LAYOUT = "expected <domain>/<class>/<image>"


class DomainFolders(ImageFiles):
    """Images whose domain is the name of their first folder and whose class is that of their second.

    Domains and classes are in the order of their names; a domain need not have every class. Folders below a class
    belong to it; hidden files, files of other kinds and folders without an image are ignored. No image is in an
    official part.

    Args:
        path: The folder.
        params: How images become squares.

    Attributes:
        remarks: What is worth knowing, one line each: which folders are no domains, and which domains
            lack which classes.

    Raises:
        UnfitError: There is no folder, no image, a single domain, a single class, or images beside the folders.
    """

    def __init__(self, path: Path | None, params: FolderParameters) -> None:
        if path is None or not path.is_dir():
            raise UnfitError(f"{path} is no folder; {LAYOUT}")
        root = scan(path)
        refuse_masks(path, root)
        _check(path, root)
        domains = list(root.folders)
        classes = sorted({label for domain in root.folders.values() for label in domain.folders})
        images = [
            Listed(image, classes.index(label), UNDECIDED, number)
            for number, (name, domain) in enumerate(root.folders.items())
            for label, tree in domain.folders.items()
            for image in tree.below(f"{name}/{label}")
        ]
        empty = [f"{some([f'{name}/' for name in root.empty])}: no image in there, and so no domain"]
        self.remarks = (
            *(empty if root.empty else ()),
            *(
                f"{name}/: no image of {some(lacking)}"
                for name, domain in root.folders.items()
                if (lacking := [label for label in classes if label not in domain.folders])
            ),
        )
        super().__init__(path, images, classes, reading="domain_folders/1", crop=params.crop, domains=domains)


def _check(path: Path, root: Tree) -> None:
    if not root.count():
        raise UnfitError(f"{path}: no image below it; {LAYOUT}")
    for prefix, tree in [("", root), *((f"{name}/", domain) for name, domain in root.folders.items())]:
        if tree.images:
            listed = some([prefix + name for name in tree.images])
            raise UnfitError(f"{path}: {len(tree.images)} images ({listed}) lie in no class folder; {LAYOUT}")
    if len(root.folders) < 2:
        raise UnfitError(f"{path}: a single domain, {', '.join(root.folders)}; at least two are needed; {LAYOUT}")
