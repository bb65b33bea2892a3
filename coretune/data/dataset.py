"""A data set as a run sees it: packed images and the split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from coretune.data.contents import contents_among
from coretune.data.domain_splits import no_domains, split_source
from coretune.data.fingerprint import file_hashes, fingerprint_of
from coretune.data.pack import Packed, pack
from coretune.data.packing import OnPacking
from coretune.data.source import Domains, domains_of, open_source
from coretune.data.splits import Split
from coretune.data.unreadable import counted, refusal
from coretune.errors import RequestError, UnfitError
from coretune.results.contents import Contents
from coretune.spec.components import Catalog
from coretune.spec.run import DataSpec

if TYPE_CHECKING:
    from coretune.data.mask_pack import PackedMasks

Pack = TypeVar("Pack", bound="Packed | PackedMasks", default=Packed)


@dataclass(frozen=True)
class Dataset(Generic[Pack]):
    """Packed images, perhaps with a mask each, and who is in which part. Images that cannot be read are in none.

    Attributes:
        packed: The images.
        split: Who is in which part.
        domains: Which domain each image is of, where the source knows.
        contents: What the images of the training part are known by; None for images that lie in no files.
    """

    packed: Pack
    split: Split
    domains: Domains | None = None
    contents: Contents | None = None

    @property
    def left_out(self) -> str:
        """How many images are left out since they cannot be read or used, in words; empty if all can."""
        number, masks = len(self.packed.unreadable), not isinstance(self.packed, Packed)
        return f"{counted(number, len(self.packed.names), masks=masks)}: left out" if number else ""

    def domains_among(self, indices: NDArray[np.int64]) -> Domains | None:
        """Returns the domains that some images are of, numbered anew: −1 for an image of another domain.

        None where the images have none, or one of these images has not.
        """
        if self.domains is None:
            return None
        found = np.unique(self.domains.of[indices])
        names = tuple(self.domains.names[number] for number in found)
        if "" in names:
            return None
        numbers = np.full(len(self.domains.names), -1, dtype=np.int64)
        numbers[found] = np.arange(len(found))
        return Domains(names, numbers[self.domains.of])

    def needed_domains(self, indices: NDArray[np.int64], why: str) -> Domains:
        """Returns the domains that some images are of, for what cannot do without.

        Args:
            indices: (m,) the images, m ≥ 1.
            why: What needs them, for the message.

        Raises:
            RequestError: There are none.
        """
        found = self.domains_among(indices)
        if found is None:
            raise RequestError(f"{why} needs the domain of every training image: {no_domains(self.domains)}")
        return found


def open_dataset(
    catalog: Catalog, data: DataSpec, path: str | None, cache: Path, on_packing: OnPacking = lambda packing: None
) -> Dataset:
    """Opens, checks, packs (on first use) and divides a data set.

    Args:
        catalog: Where the data set is declared.
        data: Which images and how they are divided.
        path: Where the files are, for a data set that has no place of its own.
        cache: Root of the caches.
        on_packing: Told how far the packing is, as in `pack`.

    Raises:
        UnfitError: The data are absent, or have changed since the run was planned; or images cannot be read, and are
            not to be skipped.
        RequestError: More images are asked for than there are, or a domain that is not there is held out.
        StorageError: The pack cannot be written.
    """
    source = open_source(catalog, data.dataset, path)
    hashes = file_hashes(source, cache)
    found = fingerprint_of(hashes)
    if found != data.fingerprint:
        raise changed(data, path, found)
    packed = pack(source, found, data.image_size, cache, on_packing)
    if packed.unreadable and data.corrupt == "refuse":
        raise refusal([item.reason for item in packed.unreadable], len(packed.names))
    packed = replace(packed, sides=data.test_sides)
    labels = packed.labels.copy()
    for item in packed.unreadable:
        labels[item.image] = item.label
    left_out = [item.image for item in packed.unreadable]
    split = split_source(source, data, labels=labels, parts=packed.parts, left_out=left_out)
    return Dataset(packed, split, domains_of(source), contents_among(packed.names, split.train, hashes))


def changed(data: DataSpec, path: str | None, found: str) -> UnfitError:
    """Returns the error of data that are not those that a run was planned with.

    Args:
        data: What it was planned with.
        path: Where the files are, if that was said.
        found: The fingerprint of what is there.
    """
    return UnfitError(
        f"data set {data.dataset.name}{f' at {path}' if path else ''}: these are not the images that the run was "
        f"planned with (fingerprint {found[:12]}, planned {data.fingerprint[:12]}): files were changed, added or "
        "removed; restore them, or plan the study again"
    )
