"""Transfer beside an attack of `coretune robust eval`: images made on another model, and the verdict of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coretune.results.record import Evaluation
    from coretune.runs.surrogate import Surrogate
    from coretune.spec.components import Catalog
    from coretune.spec.run import EvalSpec

IMAGES = 64
"""Images that transfer is tried on, at most, as many as the verdict's other probes have."""

NONE = "none"
"""What `--transfer-from` says for no transfer."""


@dataclass(frozen=True)
class Transfer:
    """What became of transfer.

    Attributes:
        said: Of which model, and what was found; or why it was not tested.
        evaluation: The evaluation; None where it was not tested.
        recorded: Whether that was there already.
    """

    said: str
    evaluation: Evaluation | None = None
    recorded: bool = False


def not_tested(why: str) -> Transfer:
    """Returns that transfer was not tested, for a reason."""
    return Transfer(f"not tested: {why}")


def transfer_spec(catalog: Catalog, attack: EvalSpec, surrogate: Surrogate) -> EvalSpec:
    """Returns the evaluation of transfer that belongs to an attack: its norm, headline ε, weights, images and seed."""
    from coretune.spec.catalog.attack_choice import AttackParameters
    from coretune.spec.run import EvalSpec

    params = AttackParameters.model_validate(attack.evaluation.params)
    wanted = {"surrogate": surrogate.identity, "norm": params.norm, "eps": params.headline_eps}
    return EvalSpec(
        evaluation=catalog.ref("evaluation", "transfer", wanted),
        weights=attack.weights,
        limit=min(attack.limit or IMAGES, IMAGES),
        seed=attack.seed,
    )


def tested(surrogate: Surrogate, evaluation: Evaluation, *, recorded: bool) -> Transfer:
    """Returns what transfer found."""
    probes = evaluation.details.get("verdict", {}).get("probes")
    if probes is None:
        return not_tested("there is no image")
    found = f"{probes['transfer']} of {probes['images']} images, {probes['transfer_alone']} of them alone"
    weak = "; ".join(evaluation.details.get("notes", ()))
    return Transfer("; ".join(filter(None, (f"from {surrogate.title}: fools {found}", weak))), evaluation, recorded)


def verdict_of(attack: Evaluation, transfer: Transfer | None) -> dict[str, Any]:
    """Returns the verdict on an attack's number: its own, and that of transfer.

    Returns:
        `reliable`, `reasons`, `probed`, the number of images that it rests on, or None, and `transfer`, what became of
        it in words.
    """
    own: Mapping[str, Any] = attack.details.get("verdict") or {"reliable": True, "reasons": []}
    theirs = transfer.evaluation.details["verdict"]["reasons"] if transfer and transfer.evaluation else []
    return {
        "reliable": bool(own["reliable"]) and not theirs,
        "reasons": [*own["reasons"], *theirs],
        "probed": own.get("probes", {}).get("images"),
        "transfer": own.get("transfer", "not tested") if transfer is None else transfer.said,
    }
