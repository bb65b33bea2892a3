"""What a plan and a run tell of a study's data, beside what is missing or wrong. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from coretune.data.check import count_problems
from coretune.data.source import Domains
from coretune.report.held_out_notes import cannot_tell, images_repeated
from coretune.spec.cells import Cell, DatasetChoice
from coretune.spec.components import DatasetComponent
from coretune.study.held_out import Domained
from coretune.study.leak import Sight


def about_counts(
    about: DatasetComponent, dataset: DatasetChoice, parts: NDArray[np.int8], domains: Domains | None
) -> list[str]:
    """Returns, on a line if at all, that a data set has not as many images as its declaration says.

    Args:
        about: The declaration.
        dataset: The study's choice. Read with parameters of its own it may rightly have others.
        parts: (N,) official part of each image, as in `source`.
        domains: Which domain each is of, where there are some.
    """
    if dataset.ref.params or not (found := count_problems(about, parts, domains)):
        return []
    return [f"data set {dataset.section}: {'; '.join(found)}: these are not the images of the published set"]


def about_domains(datasets: Iterable[tuple[DatasetChoice, Domained]]) -> list[str]:
    """Returns what is worth knowing of data sets that hold domains out, each once.

    These are the held-out domains of which images are trained on, since they stand in other domains, too, and what the
    sources have to say of their files.

    Args:
        datasets: The data sets, and what is known of each.
    """
    found: dict[str, None] = {}
    for dataset, domains in datasets:
        for remark in domains.remarks:
            found[f"data set {dataset.section}: {remark}"] = None
        if domains.repeated:
            found[images_repeated(dataset.section, str(dataset.held_out_domain), domains.repeated)] = None
    return list(found)


def about_backbones(sights: Iterable[tuple[Cell, Sight]]) -> list[str]:
    """Returns what backbones have seen of held-out domains, and where nobody can tell, each once.

    Args:
        sights: What is known of the backbone of each cell.
    """
    found: dict[str, None] = {}
    for cell, sight in sights:
        if sight.seen:
            found[
                f"transductive: backbone {cell.backbone.label} has seen images of the held-out domain "
                f"{cell.dataset.held_out_domain} ({sight.seen})"
            ] = None
        if sight.unknown:
            found[cannot_tell(cell.backbone.label, sight.unknown)] = None
    return list(found)
