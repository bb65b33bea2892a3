"""A data set with a class per pixel as a run sees it: packed images with masks, and the split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coretune.data.contents import contents_among
from coretune.data.dataset import Dataset, changed
from coretune.data.fingerprint import file_hashes, fingerprint_of
from coretune.data.learnable import TRAINING, unlearnable
from coretune.data.look import looked_at
from coretune.data.mask_counts import pixel_counts
from coretune.data.mask_pack import PackedMasks, pack_masks
from coretune.data.masks import MaskSource, absent_of, read_pair, root_of
from coretune.data.packing import OnPacking
from coretune.data.source import open_masks
from coretune.data.splits import Split, split
from coretune.data.unreadable import refusal
from coretune.errors import UnfitError
from coretune.spec.components import Catalog
from coretune.spec.run import DataSpec

MaskDataset = Dataset[PackedMasks]

_log = logging.getLogger("coretune.data")
_log.addHandler(logging.NullHandler())


def open_mask_dataset(
    catalog: Catalog, data: DataSpec, path: str | None, cache: Path, on_packing: OnPacking = lambda packing: None
) -> MaskDataset:
    """Opens, checks, packs (on first use) and divides a data set with a class per pixel.

    Args:
        catalog: As in `open_dataset`.
        data: As in `open_dataset`; images are drawn and limited as if all were of one class.
        path: As in `open_dataset`.
        cache: As in `open_dataset`.
        on_packing: As in `open_dataset`.

    Raises:
        UnfitError: The data are absent, or have changed since the run was planned; images or masks cannot be read or do
            not fit one another, and are not to be skipped; a part has no labelled pixel, or the training part a single
            class.
        RequestError: More images are asked for than there are.
        StorageError: The pack cannot be written.
    """
    source = open_masks(catalog, data.dataset, path)
    hashes = file_hashes(source, cache)
    found = fingerprint_of(hashes)
    if found != data.fingerprint:
        raise changed(data, path, found)
    packed = pack_masks(source, found, cache, on_packing)
    parts = divide_masks(source, packed, data)
    return Dataset(packed, parts, contents=contents_among(packed.names, parts.train, hashes))


def divide_masks(source: MaskSource, packed: PackedMasks, data: DataSpec) -> Split:
    """Divides packed images with masks, and refuses those that nothing can be learned from.

    Args:
        source: Images and masks.
        packed: Their pack.
        data: As in `split_masks`, and what is done about images that cannot be read.

    Raises:
        RequestError: As in `split`.
        UnfitError: Images cannot be read and are not to be skipped, or `unlearnable`.
    """
    if packed.unreadable and data.corrupt == "refuse":
        raise _refusal(source, [item.reason for item in packed.unreadable])
    found = split_masks(source, data, left_out=[item.image for item in packed.unreadable])
    parts = {TRAINING: found.labelled, "validation": found.validation, "test": found.test}
    if wrong := list(unlearnable(pixel_counts(packed), parts, packed.classes)):
        raise UnfitError("; ".join(wrong))
    return found


def refuse_absent(source: MaskSource) -> None:
    """Refuses images with masks of which files are not there, together with all else that is wrong with any of them.

    Raises:
        UnfitError: There are some.
    """
    absent = absent_of(source)
    if not absent:
        return
    number = len(source.names)
    _log.info("%s of %s images lack a file: reading all, to tell what else is wrong", f"{len(absent):,}", f"{number:,}")

    def look(index: int) -> None:
        read_pair(source, index)

    raise _refusal(source, looked_at(number, look, lambda: None)[1])


def _refusal(source: MaskSource, reasons: Sequence[str]) -> UnfitError:
    return refusal(reasons, len(source.names), masks=True, root=root_of(source))


def split_masks(source: MaskSource, data: DataSpec, *, left_out: Sequence[int] = ()) -> Split:
    """Divides images with masks, as `split` does images that are all of one class.

    Args:
        source: Images and masks.
        data: Sizes and seeds.
        left_out: Images that are in no part, and count nowhere.

    Raises:
        RequestError: As in `split`.
        UnfitError: As in `split`.
    """
    labels = np.zeros(len(source.names), dtype=np.int64)
    return split(labels, source.parts, data, classes=("image",), left_out=left_out)
