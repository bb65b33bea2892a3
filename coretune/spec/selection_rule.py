"""Which weights are tested and what found them, in the words of tables. No figure stands without them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coretune.spec.domains import SELECTION_RULES, SelectionRule
from coretune.spec.study import Study


def looks_at_finals(selection: SelectionRule, weights: str) -> bool:
    """Returns whether final runs are validated on the held-out domain: by an oracle that chooses their epoch, too.

    Args:
        selection: The study's selection rule.
        weights: What its final runs are tested with.
    """
    return selection == "oracle" and weights == "best"


def found_on(selection: SelectionRule | None, weights: str) -> str:
    """Returns what validates final runs, and so tells their best epoch, or SWAD the steps to average.

    Args:
        selection: The study's selection rule; None where no domain is held out.
        weights: What its final runs are tested with.
    """
    if selection is None:
        return "validation"
    return "the held-out domain" if looks_at_finals(selection, weights) else "training-domain validation"


def in_words(weights: str, validation: str) -> str:
    """Returns which weights are tested, and what found them.

    Args:
        weights: Those that are evaluated.
        validation: What validates the run.
    """
    known = {
        "last": "last epoch",
        "best": f"best epoch on {validation}",
        "swad": f"average of the steps that SWAD finds by the loss on {validation}",
    }
    return known.get(weights, f"{weights} weights")  # another version of coretune may know others


def selection_in_words(study: Study, looks: Sequence[int], seen: Iterable[tuple[str, str]] = ()) -> str:
    """Returns what has to stand beside every figure of a study: empty for last epochs of configurations that a
    validation part chose.

    Args:
        study: The study.
        looks: How many evaluations on held-out domains an oracle had to choose from, cell by cell.
        seen: Data set and backbone of the cells whose backbone has seen the held-out domain.
    """
    selection = study.selection if study.held_out_sections else None
    weights = study.finals.weights
    if selection is None and weights == "last":
        return ""
    # first, because the end of the line is cut on a screen that has no room for it
    marks = _transductive(seen, several=len(study.backbones) > 1)
    rule = [] if selection is None else [SELECTION_RULES[selection]]
    if selection == "oracle":
        rule = [oracle_in_words(max(looks, default=0))]
    return "; ".join([*marks, *rule, in_words(weights, found_on(selection, weights))])


def _transductive(seen: Iterable[tuple[str, str]], *, several: bool) -> list[str]:
    """Returns where the backbone has seen the held-out domain, with its name where there are several."""
    places = dict.fromkeys(f"{dataset} with {backbone}" if several else dataset for dataset, backbone in seen)
    return [f"transductive: {', '.join(places)} (the backbone has seen the held-out domain)"] if places else []


def oracle_in_words(looks: int) -> str:
    """Returns what marks a figure that was chosen by the held-out domain itself."""
    return f"oracle: chosen by {looks:,} look{'' if looks == 1 else 's'} at the held-out domain"
