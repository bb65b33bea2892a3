"""Packs and divides a study's data before any process starts, so that a fault in them is found once, and at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from coretune.data.dataset import open_dataset
from coretune.data.mask_dataset import open_mask_dataset
from coretune.data.packing import Packing
from coretune.data.unreadable import Reasoned
from coretune.errors import RequestError, UnfitError
from coretune.spec.cells import final_seed
from coretune.study.plan import at_size
from coretune.study.resolved import ResolvedStudy


def check_data(
    study: ResolvedStudy, cache: Path, on_packing: Callable[[str, Packing], None]
) -> dict[str, tuple[Reasoned, ...]]:
    """Opens every data set as the study's runs will.

    Args:
        study: Whose data.
        cache: Root of the caches.
        on_packing: Told what is packed, in words, and how far that is; what it raises ends the packing, resumably.

    Returns:
        The images that are left out since they cannot be read, by label, of data sets that have some.

    Raises:
        RequestError: More images are asked for than there are; names the data set.
        UnfitError: Images cannot be read; names the data set.
        StorageError: A pack cannot be written.
    """
    seed = final_seed(study.loaded.study.seed, 0)
    seen: set[str] = set()
    left_out: dict[str, tuple[Reasoned, ...]] = {}
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
            unreadable: tuple[Reasoned, ...]
            try:
                if dataset.segmentation is not None:
                    unreadable = open_mask_dataset(catalog, data, dataset.path, cache, told).packed.unreadable
                else:
                    unreadable = open_dataset(catalog, data, dataset.path, cache, told).packed.unreadable
            except (RequestError, UnfitError) as error:
                raise type(error)(f"data set {dataset.label}: {error}") from error
            if unreadable:
                left_out[dataset.label] = unreadable
    return left_out
