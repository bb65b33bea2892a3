"""Whether a backbone has seen images of the domain that its cells hold out. No torch, no Ray.

Images are known by the content of their files, or where the data set is the same by their names. What a foreign
checkpoint was trained on, nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coretune.data.contents import are_among, are_files, are_repeated, contents_among
from coretune.data.domain_splits import checked_domains, split_source
from coretune.data.fingerprint import file_hashes
from coretune.data.source import Source, open_source
from coretune.data.splits import Indices
from coretune.errors import StudyError
from coretune.results.contents import Contents
from coretune.results.provenance import Provenance, provenance
from coretune.spec.cells import Cell
from coretune.spec.components import Catalog
from coretune.spec.load import LoadedStudy
from coretune.spec.run import DataSpec


@dataclass(frozen=True)
class Sight:
    """What a backbone has seen of a held-out domain.

    Attributes:
        seen: What, in words; empty for nothing, as far as is known.
        unknown: Why nobody can tell whether there is more, in words; empty where it is known.
    """

    seen: str = ""
    unknown: str = ""


UNSEEN = Sight()
"""All that it has seen is known, and nothing of it was of the held-out domain."""


def sights_by_label(
    cells: Iterable[Cell], loaded: LoadedStudy, fingerprints: Mapping[str, str]
) -> dict[tuple[str, str], Sight]:
    """Returns what backbones have seen of held-out domains, by the labels of data set and backbone.

    Args:
        cells: Cells all of whose data and checkpoints, and held-out domains, are there.
        loaded: Their study.
        fingerprints: SHA-256 of the data sets, by label.

    Raises:
        StudyError: A backbone has seen a held-out domain and may not.
        UnfitError: The data are not as expected.
    """
    found: dict[tuple[str, str], Sight] = {}
    for cell in cells:
        key = (cell.dataset.label, cell.backbone.label)
        if key in found or cell.dataset.held_out_domain is None:
            continue
        found[key] = sight(cell, loaded.catalog, fingerprints)
        if found[key].seen and not cell.dataset.transductive:
            raise StudyError([loaded.places.make(("datasets", cell.dataset.section), leak(cell, found[key].seen))])
    return found


def sight(cell: Cell, catalog: Catalog, fingerprints: Mapping[str, str]) -> Sight:
    """Returns what a cell's backbone has seen of its held-out domain.

    Args:
        cell: A cell all of whose data are there, and its checkpoint.
        catalog: What its names mean.
        fingerprints: SHA-256 of the data sets, by label.

    Raises:
        RequestError: There is no such domain.
        UnfitError: The data are not as expected.
    """
    path, other = cell.backbone.checkpoint, cell.pretraining_data.label
    on_other = cell.backbone.pretrain is not None and other != cell.dataset.label
    if cell.dataset.held_out_domain is None or (path is None and not on_other):
        return UNSEEN
    held_out = _held_out(cell, catalog)
    if path is None:
        met = _met_in_pretraining(cell, catalog, fingerprints, held_out)
        return Sight(held_out.told(met, f"the data set {other}"))
    known, name = provenance(Path(path)), Path(path).name
    met = np.zeros(len(held_out.indices), dtype=np.bool_)
    for each in _met_in_checkpoint(cell, catalog, fingerprints, held_out, known):
        met |= each
    unknown = _unknown(known, held_out, fingerprints[cell.dataset.label])
    return Sight(held_out.told(met, f"what {name} was trained on"), f"{name} {unknown}" if unknown else "")


def leak(cell: Cell, seen: str) -> str:
    """Returns what is wrong with a cell whose backbone has seen images of the held-out domain, and what would do."""
    from_file = cell.backbone.checkpoint is not None
    remedy = "write `pretrain: {}` in place of `checkpoint`" if from_file else "leave out `pretrain.dataset`"
    return (
        f"backbone {cell.backbone.label} was pre-trained on images of the held-out domain "
        f"{cell.dataset.held_out_domain} ({seen}), so that its scores there would flatter it; take another backbone, "
        f"{remedy} to pre-train on each cell's own source domains, or say "
        f"`datasets.{cell.dataset.section}.transductive: true`, which marks every figure"
    )


@dataclass(frozen=True)
class _HeldOut:
    """The images of a held-out domain.

    Attributes:
        source: All images.
        indices: Those of the domain.
        hashes: SHA-256 of the files, by name.
        repeated: Whether each of the domain's images stands in another domain, too: every backbone of the cell may have
            seen it there, and it is told of elsewhere.
    """

    source: Source
    indices: Indices
    hashes: Mapping[str, str]
    repeated: NDArray[np.bool_]

    @property
    def in_files(self) -> bool:
        """Whether each image is a file of its own."""
        return are_files(self.source.names, self.hashes)

    def among(self, others: Contents) -> NDArray[np.bool_]:
        """Returns whether each of its images has the content of one of others."""
        return are_among(self.source.names, self.indices, self.hashes, others)

    def told(self, met: NDArray[np.bool_], where: str) -> str:
        """Returns in words how many of its images were met, and where; empty if none but repeated ones were."""
        if not (met & ~self.repeated).any():
            return ""
        return f"{met.sum():,} of its {len(self.indices):,} images in {where}"


def _held_out(cell: Cell, catalog: Catalog) -> _HeldOut:
    source = open_source(catalog, cell.dataset.ref, cell.dataset.path)
    domain = str(cell.dataset.held_out_domain)
    domains = checked_domains(source, domain)
    of_it = domains.of == domains.names.index(domain)
    hashes = file_hashes(source)
    return _HeldOut(source, np.flatnonzero(of_it), hashes, are_repeated(source.names, of_it, hashes))


def _met_in_pretraining(
    cell: Cell, catalog: Catalog, fingerprints: Mapping[str, str], held_out: _HeldOut
) -> NDArray[np.bool_]:
    """Returns which images of the held-out domain are trained on by the study's own pre-training."""
    origin = cell.pretraining_data
    other = open_source(catalog, origin.ref, origin.path)
    trained = split_source(other, origin.spec(fingerprints[origin.label], labelled=False)).train
    if fingerprints[origin.label] == fingerprints[cell.dataset.label]:
        return _same_names(held_out, other, trained)
    return held_out.among(contents_among(other.names, trained, file_hashes(other)))


def _met_in_checkpoint(
    cell: Cell, catalog: Catalog, fingerprints: Mapping[str, str], held_out: _HeldOut, known: Provenance
) -> Iterator[NDArray[np.bool_]]:
    """Yields which images of the held-out domain each training behind a checkpoint has met, where that can be told."""
    for seen in known.seen:
        same = seen.data.fingerprint == fingerprints[cell.dataset.label]
        if seen.contents is not None and (held_out.in_files or not same):
            yield held_out.among(seen.contents)
        elif same:
            yield _met_in_same_files(cell, catalog, held_out, seen.data)


def _met_in_same_files(cell: Cell, catalog: Catalog, held_out: _HeldOut, data: DataSpec) -> NDArray[np.bool_]:
    """Returns which images were met in a training on the same files: by name, if these were the same data set.

    Read as another one, images may be divided otherwise, and that it did without is known only of a whole domain.
    """
    if data.dataset.name == cell.dataset.ref.name:
        other = open_source(catalog, data.dataset, cell.dataset.path)
        return _same_names(held_out, other, split_source(other, data).train)
    return np.full(len(held_out.indices), data.held_out_domain != cell.dataset.held_out_domain)


def _unknown(known: Provenance, held_out: _HeldOut, fingerprint: str) -> str:
    """Returns why nobody can tell what else a checkpoint was trained on; empty where all is known."""
    if not known.seen:
        return "does not say what it was trained on"
    if not known.whole:
        return "began with weights that do not say what they were trained on"
    others = [seen.contents for seen in known.seen if seen.data.fingerprint != fingerprint]
    if None in others:
        return "is of an older coretune, and says nothing of the content of the images that it was trained on"
    if others and not (held_out.in_files and all(each is not None and each.whole for each in others)):
        return "or this domain is of images in archives or parquet, of which only whole files can be compared"
    return ""


def _same_names(held_out: _HeldOut, other: Source, others: Indices) -> NDArray[np.bool_]:
    """Returns which images of the held-out domain are among others of the same files."""
    known = {other.names[index] for index in others}
    return np.array([held_out.source.names[index] in known for index in held_out.indices], dtype=np.bool_)
