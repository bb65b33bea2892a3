"""Whether the searches of a study's methods have the same budget, and what to do where they have not."""

from __future__ import annotations

from collections.abc import Mapping

from coretune.spec.space import is_space
from coretune.spec.study import Study


def unequal_budgets(study: Study, trials: Mapping[str, int]) -> str | None:
    """Returns, in one line, that some methods search nothing while others have trials, and the remedy; else None.

    Args:
        study: The study, which says whether it searches the learning rate.
        trials: Number of trials by method.
    """
    idle = [method for method, number in trials.items() if not number]
    busy = {method: number for method, number in trials.items() if number}
    if not idle or not busy:
        return None
    least, most = min(busy.values()), max(busy.values())
    span = f"{most:,} trial{'' if most == 1 else 's'}" if least == most else f"{least:,} to {most:,} trials"
    keys = [f"methods.{method}.train.lr" for method in idle] if is_space(study.train.get("lr")) else ["train.lr"]
    return (
        f"budgets differ: {_listed(idle)} search{'es' if len(idle) == 1 else ''} nothing, {_listed(list(busy))} "
        f"ha{'s' if len(busy) == 1 else 've'} {span}; give {_listed(keys)} a range, "
        "e.g. {log_uniform: [0.003, 0.3]}, so that every method searches"
    )


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
