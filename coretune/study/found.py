"""What of a study's data and checkpoints is there, and what is known of it. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from coretune.data.decode import head_of, resemblance
from coretune.data.fingerprint import content_hash, fingerprint
from coretune.data.mask_dataset import refuse_absent
from coretune.data.masks import MaskSource
from coretune.data.source import holds_nothing, open_any
from coretune.errors import MissingError, UnfitError
from coretune.spec.cells import Cell, DatasetChoice
from coretune.spec.load import LoadedStudy
from coretune.spec.paths import unset_variable
from coretune.study.held_out import Domained, check_domains, domained
from coretune.study.leak import UNSEEN, Sight, sights_by_label
from coretune.study.missing import Missing, missing_checkpoint, missing_data


@dataclass(frozen=True)
class Found:
    """What of the data and the checkpoints of a study's cells is there.

    Attributes:
        fingerprints: By data set label.
        checkpoints: SHA-256 by backbone label.
        missing: What is not there, by kind and label.
        wrong: What is there and not as expected, each with its label in the message.
        sights: What of a held-out domain a backbone has seen, by the labels of data set and backbone.
        domains: The other domains, by the label of a data set that holds one out.
    """

    fingerprints: Mapping[str, str]
    checkpoints: Mapping[str, str]
    missing: Mapping[tuple[str, str], Missing]
    wrong: tuple[UnfitError, ...]
    sights: Mapping[tuple[str, str], Sight] = field(default_factory=dict)
    domains: Mapping[str, Domained] = field(default_factory=dict)

    def lacks(self, cell: Cell) -> tuple[Missing, ...]:
        """Returns what is missing of what a cell needs."""
        needs = [*(("data set", label) for label in datasets_of([cell])), ("checkpoint", cell.backbone.label)]
        return tuple(self.missing[need] for need in needs if need in self.missing)

    def sight_of(self, cell: Cell) -> Sight:
        """Returns what a cell's backbone has seen of its held-out domain, as far as it was looked at."""
        return self.sights.get((cell.dataset.label, cell.backbone.label), UNSEEN)

    def has(self, cell: Cell) -> bool:
        """Returns whether all that a cell needs is there, and as expected."""
        checkpoint = cell.backbone.checkpoint is None or cell.backbone.label in self.checkpoints
        return checkpoint and datasets_of([cell]).keys() <= self.fingerprints.keys()


def look(loaded: LoadedStudy, cells: Iterable[Cell]) -> Found:
    """Looks at the data and checkpoints that cells need, each once.

    Raises:
        RequestError: A held-out domain is not there, a backbone has seen it and may not, or a method needs domains and
            the images have none, or contrast batches too few images of each.
    """
    cells = list(cells)
    fingerprints: dict[str, str] = {}
    missing: dict[tuple[str, str], Missing] = {}
    wrong: list[UnfitError] = []
    for label, dataset in datasets_of(cells).items():
        try:
            fingerprints[label] = look_at_data(loaded, dataset)
        except MissingError as error:
            missing["data set", label] = missing_data(dataset, loaded.catalog.dataset(dataset.ref.name), error)
        except UnfitError as error:
            wrong.append(type(error)(f"data set {label}: {error}"))
    checkpoints = _checkpoints(cells, missing, wrong)
    domains = {
        label: domained(dataset, loaded, fingerprints[label])
        for label, dataset in datasets_of(cells).items()
        if label in fingerprints and dataset.held_out_domain is not None
    }
    check_domains(cells, loaded, fingerprints)
    for label in [label for label, about in domains.items() if about.problem]:
        wrong.append(UnfitError(f"data set {label}: {domains[label].problem}"))
        del fingerprints[label]
    found = Found(fingerprints, checkpoints, missing, tuple(wrong), domains=domains)
    return replace(
        found,
        sights=sights_by_label([cell for cell in cells if found.has(cell)], loaded, fingerprints),
    )


def _checkpoints(
    cells: Iterable[Cell], missing: dict[tuple[str, str], Missing], wrong: list[UnfitError]
) -> dict[str, str]:
    """Returns the SHA-256 of the checkpoints of cells by backbone label; adds what is missing and what is wrong."""
    found: dict[str, str] = {}
    for label, backbone in {cell.backbone.label: cell.backbone for cell in cells}.items():
        if backbone.checkpoint is None:
            continue
        try:
            found[label] = look_at_checkpoint(Path(backbone.checkpoint))
        except MissingError as error:
            missing["checkpoint", label] = missing_checkpoint(backbone, error)
        except UnfitError as error:
            wrong.append(type(error)(f"backbone {label}: {error}"))
    return found


def look_at_data(loaded: LoadedStudy, dataset: DatasetChoice) -> str:
    """Returns the fingerprint of a data set.

    Raises:
        MissingError: It is not there; says where it should be.
        UnfitError: What is there is not as expected.
    """
    source = open_any(loaded.catalog, dataset.ref, dataset.path)
    if isinstance(source, MaskSource) and dataset.options.corrupt == "refuse":
        refuse_absent(source)
    return fingerprint(source)


def look_at_checkpoint(path: Path) -> str:
    """Returns the SHA-256 of a checkpoint.

    Raises:
        MissingError: It is not there.
        UnfitError: It cannot be read, or something lies in its place.
    """
    if holds_nothing(path):
        variable = unset_variable(str(path))
        raise MissingError(f"no checkpoint at {path}" + (f" ({variable} is not set)" if variable else ""))
    if not path.is_file():
        raise UnfitError(f"no checkpoint at {path}: it is a folder")
    if looks_like := resemblance(head_of(path) or b"", "a checkpoint"):
        raise UnfitError(f"{path} is {looks_like}")
    return content_hash(path)


def datasets_of(cells: Iterable[Cell]) -> dict[str, DatasetChoice]:
    """Returns the data sets that cells are tuned on, and those that their backbones are pre-trained on, by label."""
    return {dataset.label: dataset for cell in cells for dataset in (cell.dataset, cell.pretraining_data)}
