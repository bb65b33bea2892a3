"""Methods of domain generalisation: they compare the domains that are trained on."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space


class OfDomainsParameters(Frozen):
    """Parameters of a method that needs the domain of every image."""

    needs_domains: ClassVar[bool] = True
    domains_with_two: ClassVar[int] = 0
    """Of how many domains it needs two images in a contrast batch."""


class CoralParameters(OfDomainsParameters):
    """CORAL (arXiv 1607.01719)."""

    domains_with_two: ClassVar[int] = 2

    gamma: float = Field(
        1.0, ge=0, description="Weight γ of the distance between the means and covariances of domains' features."
    )


class GroupDroParameters(OfDomainsParameters):
    """GroupDRO (arXiv 1911.08731)."""

    eta: float = Field(
        0.01, ge=0, description="Step η of the domains' weights, which move by exp(η · loss); 0 leaves them equal."
    )


class IrmParameters(OfDomainsParameters):
    """IRM (arXiv 1907.02893)."""

    domains_with_two: ClassVar[int] = 1

    penalty: float = Field(
        100.0,
        ge=0,
        description="Weight λ of the penalty, once it has its full weight. Where λ is above 1 the whole loss is "
        "divided by it then: with SGD cross-entropy has 1/λ of lr.",
    )
    anneal: float = Field(
        0.1, ge=0, le=1, description="Part of the training, in whole epochs, in which the penalty has the weight 1."
    )


COMPONENTS: list[Component] = [
    Component(
        kind="method",
        name="coral",
        version=1,
        target="coretune.tuning.methods.coral:Coral",
        summary="CORAL: CE-tuning with equal means and covariances of the domains' features",
        source="Sun, Saenko, ECCV 2016 workshops, arXiv 1607.01719, as in DomainBed, arXiv 2007.01434",
        parameters=CoralParameters,
        # DomainBed's range.
        space={"gamma": Space("log_uniform", 0.1, 10.0)},
    ),
    Component(
        kind="method",
        name="group_dro",
        version=1,
        target="coretune.tuning.methods.group_dro:GroupDro",
        summary="GroupDRO: CE-tuning in which the domain with the largest loss counts most",
        source="Sagawa, Koh, Hashimoto, Liang, ICLR 2020, arXiv 1911.08731, algorithm 1",
        parameters=GroupDroParameters,
        space={"eta": Space("log_uniform", 1e-3, 0.1)},
    ),
    Component(
        kind="method",
        name="irm",
        version=1,
        target="coretune.tuning.methods.irm:Irm",
        summary="IRM: CE-tuning with a penalty on classifiers that some domain would scale otherwise",
        source="Arjovsky, Bottou, Gulrajani, Lopez-Paz, arXiv 1907.02893, divided by the penalty's weight as in their "
        "code; else as in DomainBed, arXiv 2007.01434",
        parameters=IrmParameters,
        space={"penalty": Space("log_uniform", 0.1, 1e5), "anneal": Space("uniform", 0.0, 0.5)},
    ),
]
