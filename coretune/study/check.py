"""Looks at all that a study needs before it runs: the data, read and divided, and checkpoints, on their backbones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coretune.data.domain_splits import split_source
from coretune.data.fingerprint import fingerprint
from coretune.data.mask_dataset import divide_masks, refuse_absent, split_masks
from coretune.data.mask_pack import packed_before
from coretune.data.masks import MaskSource, absent_of
from coretune.data.roots import cache_root
from coretune.data.source import domains_of, located, open_masks, open_source
from coretune.data.splits import Split
from coretune.data.unreadable import counted
from coretune.errors import MissingError, RequestError, UnfitError
from coretune.nets.weights import load_encoder
from coretune.spec.cells import BackboneChoice, DatasetChoice
from coretune.spec.load import LoadedStudy
from coretune.study.found import datasets_of, look_at_checkpoint
from coretune.study.missing import Missing, missing_checkpoint, missing_data
from coretune.study.remarks import about_counts


@dataclass(frozen=True)
class Checked:
    """What was found of a data set or a checkpoint.

    Attributes:
        kind: Which of the two.
        label: The data set's label, or that of the backbone that starts from the checkpoint.
        state: `there`, `missing`, or `wrong`: there and not as expected.
        text: What was found; of what is wrong, perhaps a line for each thing.
        remarks: What is worth knowing of it, one line each.
    """

    kind: Literal["data set", "checkpoint"]
    label: str
    state: Literal["there", "missing", "wrong"]
    text: str
    remarks: tuple[str, ...] = ()


def check_study(loaded: LoadedStudy) -> list[Checked]:
    """Looks at each data set and each checkpoint of a study. Decodes no image, and trains and writes nothing.

    Of a data set that is missing there is one answer, however many domains of it are held out.
    """
    backbones = {cell.backbone.label: cell.backbone for cell in loaded.cells}.values()
    found = (
        *(_data(loaded, dataset) for dataset in datasets_of(loaded.cells).values()),
        *(_checkpoint(loaded, backbone) for backbone in backbones if backbone.checkpoint is not None),
    )
    return list(dict.fromkeys(found))


def exit_code(found: Iterable[Checked], cells: int, missing_cells: int) -> int:
    """Returns what `study run` would end with because of its data and checkpoints: 0, 1 or 3.

    Args:
        found: What was looked at.
        cells: How many cells the study has.
        missing_cells: How many of them lack something.
    """
    if any(item.state == "wrong" for item in found) or missing_cells == cells:
        return UnfitError.exit_code
    return 1 if missing_cells else 0


def _data(loaded: LoadedStudy, dataset: DatasetChoice) -> Checked:
    about = loaded.catalog.dataset(dataset.ref.name)
    try:
        parts, images, classes, remarks = _divided(loaded, dataset)
    except MissingError as error:
        return _missing(missing_data(dataset, about, error))
    except UnfitError as error:
        return Checked("data set", dataset.label, "wrong", str(error))
    except RequestError as error:  # more is asked for than there is, which `run` refuses in the same words
        raise RequestError(f"data set {dataset.label}: {error}") from error
    place = located(about, dataset.path)
    at = f" at {place}" if place is not None else ""
    counts = f"{len(parts.labelled):,} to train on, {len(parts.validation):,} to validate, {len(parts.test):,} to test"
    text = f"{images:,} images of {classes:,} classes{at}: {counts}"
    return Checked("data set", dataset.label, "there", text, tuple(remarks))


def _divided(loaded: LoadedStudy, dataset: DatasetChoice) -> tuple[Split, int, int, list[str]]:
    """Returns who is in which part, the numbers of images and of classes, and remarks on these numbers."""
    catalog, ref, path = loaded.catalog, dataset.ref, dataset.path
    about = catalog.dataset(ref.name)
    if dataset.segmentation is not None:
        masks = open_masks(catalog, ref, path)
        parts, unread = _masks_divided(masks, dataset)
        dataset.segmentation.check_images(len(parts.labelled))
        remarks = [*about_counts(about, dataset, masks.parts, None), *unread]
        return parts, len(masks.names), len(masks.classes), remarks
    source = open_source(catalog, ref, path)
    parts = split_source(source, dataset.spec(fingerprint(source)))
    remarks = about_counts(about, dataset, source.parts, domains_of(source))
    return parts, len(source.names), len(source.classes), remarks


def _masks_divided(source: MaskSource, dataset: DatasetChoice) -> tuple[Split, list[str]]:
    """Returns who is in which part, and a remark where what the masks hold is not known: before they are packed."""
    found = fingerprint(source)
    data, packed = dataset.spec(found), packed_before(source, found, cache_root())
    if packed is not None:
        return divide_masks(source, packed, data), []
    absent = absent_of(source)
    if data.corrupt == "refuse":
        refuse_absent(source)
    left_out = [f"{counted(len(absent), len(source.names), masks=True)}: left out"] if absent else []
    unread = "the masks are not packed and were not read: `coretune data check` reads them"
    return split_masks(source, data, left_out=absent), [*left_out, unread]


def _checkpoint(loaded: LoadedStudy, backbone: BackboneChoice) -> Checked:
    path, ref = Path(backbone.checkpoint or ""), backbone.arch
    try:
        look_at_checkpoint(path)
        encoder = loaded.catalog.get("backbone", ref.name).load()(loaded.catalog.parameters("backbone", ref))
        match = load_encoder(encoder, path, ref.name)
    except MissingError as error:
        return _missing(missing_checkpoint(backbone, error))
    except (UnfitError, RequestError) as error:
        return Checked("checkpoint", backbone.label, "wrong", str(error))
    said = f"{path}, {match.summary()}" if match is not None else f"{path}, of a run of coretune, matches in full"
    return Checked("checkpoint", backbone.label, "there", said)


def _missing(thing: Missing) -> Checked:
    return Checked(thing.kind, thing.label, "missing", thing.text)
