"""A model that coretune did not train, ready to be evaluated: somebody's checkpoint on a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from coretune.data.dataset import Dataset
from coretune.data.fingerprint import content_hash, fingerprint
from coretune.data.source import VALIDATION, open_source
from coretune.errors import RequestError
from coretune.nets.backbone import Backbone
from coretune.nets.checkpoints import load_classifier, read_checkpoint
from coretune.nets.model import IMAGENET_MEAN, IMAGENET_STD, Model
from coretune.nets.weights import load_encoder
from coretune.runs.build import open_job_data, seeded
from coretune.runs.job import Job
from coretune.spec.components import Catalog, Ref
from coretune.spec.load import resolve_study
from coretune.spec.yamlfile import Document
from coretune.tuning.context import Context


@dataclass(frozen=True)
class Foreign:
    """Somebody's model and the images that it is evaluated on.

    Attributes:
        model: On the context's device.
        dataset: The images.
        job: The evaluation's stand-in for a run: data, architecture and the SHA-256 of the file.
        catalog: What its names mean.
        notes: What a reader has to know, one line each.
    """

    model: Model
    dataset: Dataset
    job: Job
    catalog: Catalog
    notes: tuple[str, ...]


def open_foreign(
    checkpoint: Path,
    arch: str,
    dataset: str,
    context: Context,
    *,
    path: str | None = None,
    data: Mapping[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Foreign:
    """Opens a checkpoint with its classifier, and the data set.

    Args:
        checkpoint: The file; nothing in it is executed.
        arch: Name of its architecture.
        dataset: Name of the data set; its classes are those of the classifier, in this order.
        context: Device and memory format.
        path: Where the images are, for a data set that needs to be told.
        data: Keys of the data set in a study file, e.g. `image_size`.
        mean: What images in [0, 1] are normalised with, by channel; None takes what the file or else the architecture
            says: ImageNet's.
        std: Likewise; given together with the mean.

    Raises:
        StudyError: A name or a value is wrong.
        RequestError: The file holds another architecture or no fitting classifier, or has to be executed.
        UnfitError: The data or the file are absent.
    """
    if (mean is None) != (std is None):
        raise RequestError("normalisation needs both a mean and a standard deviation: give --mean and --std")
    options = {**({"path": path} if path is not None else {}), **(data or {})}
    study = {
        "name": "foreign",
        "datasets": {dataset: options},
        "backbones": {arch: {"checkpoint": str(checkpoint.absolute())}},
        "methods": ["ce"],
        "search": "none",
    }
    loaded = resolve_study(Document(study, ""), folder=Path.cwd())
    cell = loaded.cell
    found = fingerprint(open_source(loaded.catalog, cell.dataset.ref, cell.dataset.path))
    weights = f"sha256:{content_hash(checkpoint)}"
    spec = cell.spec(loaded.catalog, {}, fingerprint=found, weights=weights, seed=0, subset_seed=0)
    job = Job(spec, cell.dataset.path, str(checkpoint))
    opened, said = _without_training_images(open_job_data(job, loaded.catalog))
    given = None if mean is None or std is None else (tuple(mean), tuple(std))
    side = spec.data.test_sides.crop
    classes = len(opened.packed.classes)
    model, notes = foreign_model(checkpoint, spec.backbone.arch, side, classes, loaded.catalog, given)
    model.to(device=context.device)
    model.to(memory_format=context.memory_format)
    return Foreign(model, opened, job, loaded.catalog, (*notes, *said))


def _without_training_images(dataset: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """Returns a data set without a validation part that was drawn, on which the checkpoint may have been trained."""
    if bool((dataset.packed.parts == VALIDATION).any()):
        return dataset, ()
    split = replace(dataset.split, validation=dataset.split.validation[:0])
    return replace(dataset, split=split), (
        "no validation part: the checkpoint may have been trained on any that is drawn",
    )


def foreign_model(
    checkpoint: Path,
    arch: Ref,
    side: int,
    classes: int,
    catalog: Catalog,
    given: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> tuple[Model, tuple[str, ...]]:
    """Returns the model of a file with its classifier, on the CPU, and what was done with it, one line each.

    Args:
        checkpoint: The file; nothing in it is executed.
        arch: Its architecture.
        side: Side in pixels of the images.
        classes: C.
        catalog: What names mean.
        given: Mean and standard deviation by channel that images in [0, 1] are normalised with; None takes what the
            file or else the architecture says.

    Raises:
        RequestError: The file holds another architecture or no fitting classifier, or has to be executed.
        UnfitError: The file cannot be read.
    """
    with seeded(0):
        encoder = catalog.get("backbone", arch.name).load()(catalog.parameters("backbone", arch))
    if isinstance(encoder, Backbone):
        encoder.sizes.check(arch.name, side, side)
    match = load_encoder(encoder, checkpoint, arch.name)
    contents = read_checkpoint(checkpoint)
    try:
        classifier = load_classifier(contents, features=encoder.features, classes=classes)
    except RequestError as error:
        raise RequestError(f"{checkpoint}: {error}") from error
    own = (encoder.mean, encoder.std) if isinstance(encoder, Backbone) else (IMAGENET_MEAN, IMAGENET_STD)
    mean, std = given or _stored(contents.sections.get("", {})) or own
    notes = [] if match is None else [f"checkpoint: {match.summary()}"]
    where = "as asked" if given else "of the file" if _stored(contents.sections.get("", {})) else f"{arch.name}'s own"
    notes.append(f"images are normalised with mean {_said(mean)} and std {_said(std)}, {where}")
    notes.append("classes are taken to be in the order of the data set")
    return Model(encoder, classifier, mean, std).eval(), tuple(notes)


def _stored(tensors: Mapping[str, Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Returns the normalisation that a file of coretune has, or None."""
    keys = ("normalise.mean", "normalise.std")
    if not all(key in tensors for key in keys):
        return None
    mean, std = (tuple(tensors[key].flatten().tolist()) for key in keys)
    return mean, std


def _said(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
