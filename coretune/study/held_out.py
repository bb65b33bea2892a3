"""What a selection rule needs to know of a held-out domain and the others. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from coretune.data.contents import are_repeated
from coretune.data.domain_splits import checked_domains, no_domains, split_source
from coretune.data.fingerprint import file_hashes
from coretune.data.source import Domains, domains_of, open_source, remarks_of
from coretune.errors import RequestError, UnfitError
from coretune.spec.cells import Cell, DatasetChoice
from coretune.spec.components import Catalog, needs_domains
from coretune.spec.domain_room import no_room
from coretune.spec.domains import LEAVE_ONE_OUT
from coretune.spec.load import LoadedStudy
from coretune.spec.run import TrainSpec
from coretune.spec.study import Study


def validation_domains(study: Study, dataset: DatasetChoice, sources: Sequence[str]) -> tuple[str | None, ...]:
    """Returns the domains that a configuration is validated on, a run each; None is a part of each source domain.

    Args:
        study: Whose selection rule it is.
        dataset: Where a domain may be held out.
        sources: The domains that it is trained on then.
    """
    if dataset.held_out_domain is None or study.selection == "training_domain":
        return (None,)
    return (dataset.held_out_domain,) if study.selection == "oracle" else tuple(sources)


@dataclass(frozen=True)
class Domained:
    """What is known of a data set that holds a domain out.

    Attributes:
        sources: The other domains.
        repeated: How many images of the held-out domain are the same file as one of another domain.
        remarks: What else its source has to say of the files.
        problem: Why it cannot be divided, e.g. since a class is in no source domain; empty if it can.
    """

    sources: tuple[str, ...]
    repeated: int = 0
    remarks: tuple[str, ...] = ()
    problem: str = ""


UNDIVIDED = Domained(())
"""Of a data set that holds none out."""


def domained(dataset: DatasetChoice, loaded: LoadedStudy, fingerprint: str) -> Domained:
    """Returns what is known of a data set that holds a domain out.

    Args:
        dataset: The data set.
        loaded: The study.
        fingerprint: SHA-256 of the data.

    Raises:
        RequestError: That domain is not there, more images are asked for than there are, or the selection rule needs
            more domains.
        UnfitError: The data are not as expected.
    """
    domain = str(dataset.held_out_domain)
    source = open_source(loaded.catalog, dataset.ref, dataset.path)
    try:
        domains = checked_domains(source, domain)
    except (RequestError, UnfitError) as error:
        raise type(error)(f"datasets.{dataset.section}: {error}") from error
    found = tuple(name for name in domains.names if name != domain)
    if loaded.study.selection == LEAVE_ONE_OUT and len(found) < 2:
        raise RequestError(
            f"selection: {loaded.study.selection} needs two source domains at least; datasets.{dataset.section} has "
            f"one beside {domain}: {found[0]}"
        )
    try:
        split_source(source, dataset.spec(fingerprint))
    except RequestError as error:
        raise type(error)(f"datasets.{dataset.section}: {error}") from error
    except UnfitError as error:
        problem = str(error)
    else:
        problem = ""
    repeated = are_repeated(source.names, domains.of == domains.names.index(domain), file_hashes(source))
    return Domained(found, int(repeated.sum()), remarks_of(source), problem)


def check_domains(cells: Iterable[Cell], loaded: LoadedStudy, there: Container[str]) -> None:
    """Makes sure that data have domains wherever a cell needs the domain of every image, and contrast batches room.

    Args:
        cells: The cells.
        loaded: The study.
        there: Labels of the data sets that are there; the others are not looked at.

    Raises:
        RequestError: They have none, or a contrast batch has never two images of as many as a method compares.
    """
    known: dict[str, Domains] = {}
    for cell in cells:
        for dataset, why in _needing_domains(cell, loaded.catalog):
            if dataset.label in there and dataset.label not in known:
                known[dataset.label] = _domains(dataset, loaded.catalog, why)
        if (found := known.get(cell.dataset.label)) is not None:
            _check_room(cell, loaded, len(found.names))


def _domains(dataset: DatasetChoice, catalog: Catalog, why: str) -> Domains:
    """Returns the domains of a data set, for what needs that of every image.

    Raises:
        RequestError: Some have none.
    """
    source = open_source(catalog, dataset.ref, dataset.path)
    domains = domains_of(source)
    if domains is None or "" in domains.names:
        said = no_domains(domains, source)
        raise RequestError(f"{why} needs the domain of every training image; datasets.{dataset.section}: {said}")
    return domains


def _check_room(cell: Cell, loaded: LoadedStudy, domains: int) -> None:
    """Makes sure that each configuration of a cell has contrast batches in which its method can compare domains.

    Args:
        cell: The cell.
        loaded: The study.
        domains: How many domains its data have.

    Raises:
        RequestError: One has none.
    """
    method, sources = cell.method, domains - (cell.dataset.held_out_domain is not None)
    numbers = {"": sources}
    if loaded.study.selection == LEAVE_ONE_OUT:
        numbers[f" (in the trials of selection: {LEAVE_ONE_OUT})"] = sources - 1
    model = loaded.catalog.get("method", method.name).parameters
    for values in _configurations(cell):
        params, train = cell.settings(values)
        for where, number in numbers.items():
            why = no_room(method.name, model.model_validate(params), TrainSpec.model_validate(train), number)
            if why is not None:
                raise RequestError(f"methods.{method.label}: {why}{where}")


def _needing_domains(cell: Cell, catalog: Catalog) -> Iterator[tuple[DatasetChoice, str]]:
    """Yields the data sets of a cell whose images have to have domains, and what needs them."""
    method, pretrain = cell.method, cell.backbone.pretrain
    if pretrain is not None and pretrain.train.domain_balanced:
        yield cell.pretraining_data, f"backbones.{cell.backbone.label}.pretrain.train.domain_balanced"
    model = catalog.get("method", method.name).parameters
    for values in _configurations(cell):
        params, train = cell.settings(values)
        if train.get("domain_balanced"):
            yield cell.dataset, "train.domain_balanced"
        if needs_domains(model.model_validate(params)):
            yield cell.dataset, f"methods.{method.label}"


def _configurations(cell: Cell) -> Iterator[dict[str, Any]]:
    """Yields the default configuration, and what the search may change of it, one value at a time."""
    yield {}
    for path, space in cell.method.space.items():
        for value in space.probes():
            yield {path: value}
