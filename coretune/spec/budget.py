"""Whether the searches of a study's methods have the same budget, and what to do where they have not."""

from __future__ import annotations

from collections.abc import Mapping

from coretune.spec.space import is_space
from coretune.spec.study import Study
from coretune.spec.wording import all_of


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
        f"budgets differ: {all_of(idle)} search{'es' if len(idle) == 1 else ''} nothing, {all_of(list(busy))} "
        f"ha{'s' if len(busy) == 1 else 've'} {span}; give {all_of(keys)} a range, "
        "e.g. {log_uniform: [0.003, 0.3]}, so that every method searches"
    )
