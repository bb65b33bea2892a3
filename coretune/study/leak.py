"""Whether a backbone has seen images of the domain that its cells hold out. No torch, no Ray.

Images are known by the content of their files, or where the data set is the same by their names. What a foreign
checkpoint was trained on, nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from coretune.data.domain_splits import checked_domains, split_source
from coretune.data.fingerprint import file_hashes
from coretune.data.source import Source, open_source
from coretune.data.splits import Indices
from coretune.errors import RequestError
from coretune.results.provenance import trained_on
from coretune.spec.cells import Cell
from coretune.spec.components import Catalog


def seen_by_label(
    cells: Iterable[Cell], catalog: Catalog, fingerprints: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """Returns what backbones have seen of held-out domains, by the labels of data set and backbone.

    Args:
        cells: Cells all of whose data, and held-out domains, are there.
        catalog: What their names mean.
        fingerprints: SHA-256 of the data sets, by label.

    Raises:
        RequestError: A backbone has seen a held-out domain and may not.
        UnfitError: The data are not as expected.
    """
    seen: dict[tuple[str, str], str] = {}
    for cell in cells:
        key = (cell.dataset.label, cell.backbone.label)
        if key in seen or cell.dataset.held_out_domain is None:
            continue
        seen[key] = seen_before(cell, catalog, fingerprints)
        refuse_leak(cell, seen[key])
    return seen


def seen_before(cell: Cell, catalog: Catalog, fingerprints: Mapping[str, str]) -> str:
    """Returns what of a cell's held-out domain its backbone has seen, in words; empty for nothing, as far as is known.

    Args:
        cell: A cell all of whose data are there.
        catalog: What its names mean.
        fingerprints: SHA-256 of the data sets, by label.

    Raises:
        RequestError: There is no such domain.
        UnfitError: The data are not as expected.
    """
    domain = cell.dataset.held_out_domain
    if domain is None:
        return ""
    source = open_source(catalog, cell.dataset.ref, cell.dataset.path)
    domains = checked_domains(source, domain)
    held_out = np.flatnonzero(domains.of == domains.names.index(domain))
    found = [
        f"{count:,} of its {len(held_out):,} images in {where}"
        for count, where in _met(cell, catalog, fingerprints, source, held_out)
        if count
    ]
    return "; ".join(found)


def refuse_leak(cell: Cell, seen: str) -> None:
    """Refuses a cell whose backbone has seen images of the held-out domain, unless the study says that it may.

    Raises:
        RequestError: It has.
    """
    if not seen or cell.dataset.transductive:
        return
    raise RequestError(
        f"datasets.{cell.dataset.section}: backbone {cell.backbone.label} was pre-trained on images of the held-out "
        f"domain {cell.dataset.held_out_domain} ({seen}), so that its scores there would flatter it; take another "
        "backbone, leave out `pretrain.dataset` to pre-train on each cell's own source domains, or say `transductive: "
        "true`, which marks every figure"
    )


def _met(
    cell: Cell, catalog: Catalog, fingerprints: Mapping[str, str], source: Source, held_out: Indices
) -> Iterator[tuple[int, str]]:
    """Yields how many images of the held-out domain are in what the backbone was trained on, and in what."""
    data, origin = cell.dataset, cell.pretraining_data
    if cell.backbone.pretrain is not None and origin.label != data.label:
        other = open_source(catalog, origin.ref, origin.path)
        spec = origin.spec(fingerprints[origin.label], labelled=False)
        if fingerprints[origin.label] == fingerprints[data.label]:
            count = _same_names(source, held_out, other, split_source(other, spec).train)
        else:
            count = _same_contents(source, held_out, other, split_source(other, spec).train)
        yield count, f"the data set {origin.label}"
    for seen in trained_on(Path(cell.backbone.checkpoint)) if cell.backbone.checkpoint is not None else ():
        if seen.fingerprint == fingerprints[data.label]:
            other = open_source(catalog, seen.dataset, data.path)
            count = _same_names(source, held_out, other, split_source(other, seen).train)
            yield count, f"what {Path(cell.backbone.checkpoint or '').name} was trained on"


def _same_names(source: Source, indices: Indices, other: Source, others: Indices) -> int:
    """Returns how many images of a source are in another one of the same files."""
    known = {other.names[index] for index in others}
    return sum(source.names[index] in known for index in indices)


def _same_contents(source: Source, indices: Indices, other: Source, others: Indices) -> int:
    """Returns how many images of a source have the content of images of another one.

    Where one of them has many images in a file, a file that both have counts with all of these images.
    """
    mine, theirs = file_hashes(source), file_hashes(other)
    if all(name in theirs for name in other.names):
        known = {theirs[other.names[index]] for index in others}
    else:
        known = set(theirs.values())
    if all(name in mine for name in source.names):
        return sum(mine[source.names[index]] in known for index in indices)
    return len(indices) if known & set(mine.values()) else 0
