"""Whether contrast batches have room for what a method compares between domains. No torch."""

from __future__ import annotations

from coretune.spec.frozen import Frozen
from coretune.spec.run import TrainSpec


def domains_with_two(contrast: int, domains: int, *, balanced: bool) -> int:
    """Returns of how many domains a contrast batch holds two samples, at the most.

    Args:
        contrast: Samples of a contrast batch.
        domains: How many domains are trained on.
        balanced: Whether domains take turns, so that it has as many samples of each, give or take one.
    """
    if not balanced:
        return min(domains, contrast // 2)
    each, more = divmod(contrast, domains)
    return domains if each >= 2 else more if each == 1 else 0


def no_room(name: str, parameters: Frozen, train: TrainSpec, domains: int) -> str | None:
    """Returns why a method would never see what it compares, and what would do; None where it can.

    Parameters of a method that compares domains within a contrast batch have an attribute `domains_with_two`: of how
    many domains it needs two samples there. Without them it would be CE-tuning, and say nothing of it.

    Args:
        name: The method's.
        parameters: Its parameters.
        train: The recipe.
        domains: How many domains are trained on.
    """
    needed: int = getattr(parameters, "domains_with_two", 0)
    if domains < needed:
        return f"{name} compares {needed} domains at least, and is trained on {domains}"
    contrast, balanced = min(train.contrast_batch, train.batch), train.domain_balanced
    found = domains_with_two(contrast, domains, balanced=balanced)
    if found >= needed:
        return None
    least = next(n for n in range(2 * domains + 1) if domains_with_two(n, domains, balanced=balanced) >= needed)
    held = f"a contrast batch of {contrast} from {_plural(domains)}{' in turn' if balanced else ''}"
    return (
        f"{name} needs two images of {_plural(needed)} in a contrast batch, and {held} has them of {found or 'none'}; "
        f"train.contrast_batch (and train.batch): {least} at least"
    )


def _plural(domains: int) -> str:
    return f"{domains} domain{'' if domains == 1 else 's'}"
