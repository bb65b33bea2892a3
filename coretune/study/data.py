"""Packs and divides a study's data before any process starts, so that a fault in them is found once, and at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from coretune.data.dataset import Dataset, open_dataset
from coretune.data.mask_dataset import open_mask_dataset
from coretune.data.packing import Packing
from coretune.data.unreadable import Reasoned
from coretune.errors import RequestError, UnfitError
from coretune.spec.cells import final_seed
from coretune.study.plan import at_size
from coretune.study.remarks import about_counts
from coretune.study.resolved import ResolvedStudy


class Looked(NamedTuple):
    """What was found of the data.

    Attributes:
        left_out: The images that are left out since they cannot be read or used, by label, of data sets that have some.
        remarks: What is worth knowing, one line each.
    """

    left_out: dict[str, tuple[Reasoned, ...]]
    remarks: tuple[str, ...]


def check_data(study: ResolvedStudy, cache: Path, on_packing: Callable[[str, Packing], None]) -> Looked:
    """Opens every data set as the study's runs will.

    Args:
        study: Whose data.
        cache: Root of the caches.
        on_packing: Told what is packed, in words, and how far that is; what it raises ends the packing, resumably.

    Raises:
        RequestError: More images are asked for than there are, or needed by a head; names the data set.
        UnfitError: Images cannot be read; names the data set.
        StorageError: A pack cannot be written.
    """
    seed = final_seed(study.loaded.study.seed, 0)
    seen: set[str] = set()
    left_out: dict[str, tuple[Reasoned, ...]] = {}
    remarks: dict[str, None] = {}
    catalog = study.loaded.catalog
    for cell in study.cells:
        specs = (study.run_spec(cell, {}, seed), *study.trial_specs(cell, {}))
        used = [(spec.data, cell.cell.dataset) for spec in specs]
        used += [(cell.pretraining.data, cell.cell.pretraining_data)] if cell.pretraining is not None else []
        for data, dataset in used:
            if (key := data.model_dump_json(exclude={"augment"})) in seen:
                continue
            seen.add(key)
            told = partial(on_packing, f"pack {dataset.label}{at_size(dataset)}")
            opening = open_mask_dataset if dataset.segmentation is not None else open_dataset
            try:
                opened: Dataset[Any] = opening(catalog, data, dataset.path, cache, told)
                if dataset.segmentation is not None:
                    dataset.segmentation.check_images(len(opened.split.labelled))
            except (RequestError, UnfitError) as error:
                raise type(error)(f"data set {dataset.label}: {error}") from error
            about = catalog.dataset(dataset.ref.name)
            remarks |= dict.fromkeys(about_counts(about, dataset, opened.packed.parts, opened.domains))
            if opened.packed.unreadable:
                left_out[dataset.label] = opened.packed.unreadable
    return Looked(left_out, tuple(remarks))
