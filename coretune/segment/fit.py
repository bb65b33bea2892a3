"""Whether the backbones of a study go with its segmentation: asked of the nets, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from coretune.errors import Problem, RequestError, StudyError, UnfitError
from coretune.nets.backbone import Backbone
from coretune.nets.dilation import dilate
from coretune.segment.heads import make_head
from coretune.spec.cells import Cell
from coretune.spec.components import Catalog, Ref
from coretune.spec.load import LoadedStudy
from coretune.spec.problems import in_order
from coretune.spec.segmentation import SegmentationSpec
from coretune.spec.yamlfile import Path_

SOME_CLASSES = 2
"""The classes of a head that is made only to see whether it can be."""


def check_backbones(loaded: LoadedStudy, cells: Iterable[Cell]) -> None:
    """Makes sure that each backbone gives the maps that the study's head needs, at the output stride that it asks for.

    A model of timm is left to its runs where that package is not installed here.

    Args:
        loaded: The study.
        cells: Those of its cells that are asked about; those with a class per image are passed over.

    Raises:
        StudyError: With all that does not go together, each at its key.
    """
    found: dict[Problem, None] = {}
    for cell in {(cell.dataset.label, cell.backbone.label): cell for cell in cells}.values():
        if cell.dataset.segmentation is not None:
            for path, message in _misfits(loaded, cell, cell.dataset.segmentation):
                found[loaded.places.make(path, message)] = None
    if found:
        raise StudyError(in_order(found))


def _misfits(loaded: LoadedStudy, cell: Cell, options: SegmentationSpec) -> Iterator[tuple[Path_, str]]:
    """Yields what of a cell's data set and backbone does not go together, with its key."""
    arch, at = cell.backbone.arch, ("backbones", cell.backbone.label)
    try:
        encoder = _made(loaded.catalog, arch)
    except UnfitError:  # a package is not installed on this machine; those that train may have it
        return
    except RequestError as error:
        yield at, str(error)
        return
    if isinstance(encoder, Backbone):
        side, section = cell.dataset.options.input_size or cell.dataset.image_size, cell.dataset.section
        try:
            (encoder.map_sizes or encoder.sizes).check(arch.name, side, side)
        except RequestError as error:
            own = "input_size" in loaded.study.datasets[section]
            yield ("datasets", section, "input_size") if own else ("data", "input_size"), str(error)
    try:
        levels = dilate(encoder, options.output_stride, arch.name)
    except RequestError as error:
        yield at, str(error)
        return
    # One at a time, so that each is said at its own key.
    for key, part in (("head", options.replace(auxiliary=0.0)), ("auxiliary", options.replace(head="fcn"))):
        try:
            with torch.device("meta"):
                make_head(part, levels, SOME_CLASSES, arch.name)
        except RequestError as error:
            yield ("segmentation", key), str(error)


def _made(catalog: Catalog, arch: Ref) -> nn.Module:
    """Returns a backbone, on torch's meta device if it can be made there: that stores no numbers.

    Raises:
        UnfitError: A package that it needs is not installed.
        RequestError: It cannot be made.
    """
    make, parameters = catalog.get("backbone", arch.name).load(), catalog.parameters("backbone", arch)
    try:
        with torch.device("meta"):
            made: nn.Module = make(parameters)
    except Exception:  # it may read a number, which raises anything there; what else is wrong comes again below
        with torch.random.fork_rng(devices=[]):
            made = make(parameters)
    return made
