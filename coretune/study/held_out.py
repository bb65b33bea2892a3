"""What a selection rule needs to know of a held-out domain and the others. No torch, no Ray."""

from __future__ import annotations

from collections.abc import Sequence

from coretune.data.domain_splits import checked_domains
from coretune.data.source import open_source
from coretune.errors import RequestError, UnfitError
from coretune.spec.cells import DatasetChoice
from coretune.spec.load import LoadedStudy
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


def source_domains(dataset: DatasetChoice, loaded: LoadedStudy) -> tuple[str, ...]:
    """Returns the domains that are not held out.

    Raises:
        RequestError: The one that is held out is not there, or the selection rule needs more of the others.
        UnfitError: The data are not as expected.
    """
    domain = str(dataset.held_out_domain)
    try:
        domains = checked_domains(open_source(loaded.catalog, dataset.ref, dataset.path), domain)
    except (RequestError, UnfitError) as error:
        raise type(error)(f"datasets.{dataset.section}: {error}") from error
    found = tuple(name for name in domains.names if name != domain)
    if loaded.study.selection == "leave_one_source_domain_out" and len(found) < 2:
        raise RequestError(
            f"selection: {loaded.study.selection} needs two source domains at least; datasets.{dataset.section} has "
            f"one beside {domain}: {found[0]}"
        )
    return found
