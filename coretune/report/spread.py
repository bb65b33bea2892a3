"""What "±" is over, and what varied and what was shared there: one sentence for each of the two readings."""

from __future__ import annotations

from typing import Literal

from coretune.spec.study import Study
from coretune.spec.wording import all_of

Spread = Literal[
    "seeds of one configuration",
    "repeats of the whole search on one split",
    "repeats of the whole search, splits drawn anew",
]
CONFIGURATION: Spread = "seeds of one configuration"
ONE_SPLIT: Spread = "repeats of the whole search on one split"
NEW_SPLITS: Spread = "repeats of the whole search, splits drawn anew"
"""What "±" is over: one choice is trained again and again, or each repeat searches and chooses by itself."""

DRAW = "the draw of the labelled subset"
WEIGHTS = "the initial weights"


def unit_of(spread: Spread) -> str:
    """Returns what n counts: a seed, or a repeat of the search."""
    return "seed" if spread == CONFIGURATION else "repeat"


def over_seeds(study: Study) -> str:
    """Returns what the spread over the final seeds of one configuration holds, and what it does not."""
    drawn = {
        raw.get("subset_seed", study.data.subset_seed)
        for raw in (study.datasets[label] for label in study.sections)
        if _limited(raw) or _limited(study.data.model_dump())
    }
    backbones = list(study.backbones.values())
    by_chance = [backbone for backbone in backbones if backbone.pretrain is None and backbone.checkpoint is None]
    varied = ["training"]
    if "per_seed" in drawn:
        varied.append(DRAW if len(drawn) == 1 else f"on some data sets {DRAW}")
    if by_chance:
        varied.append(WEIGHTS if len(by_chance) == len(backbones) else f"of some backbones {WEIGHTS}")
    one = "; the labelled subset is one and the same" if drawn == {"fixed"} else ""
    shared = ["search", *(["backbone"] if not by_chance else []), "test images"]
    return f"the spread over seeds is that of {all_of(varied)}{one}; {all_of(shared)} are shared"


def over_repeats(study: Study, spread: Spread) -> str:
    """Returns what the spread over repeats of the whole search holds, and what it does not.

    Args:
        study: Any of the repeats: they differ in nothing but their seed, from which all other seeds follow, and perhaps
            in the seed of the splits.
        spread: Whether they do.
    """
    backbones, new = list(study.backbones.values()), spread == NEW_SPLITS
    pretrained = [one.pretrain for one in backbones if one.pretrain is not None]
    kept = [one for one in pretrained if one.seed is not None and not new]
    drawn = new and _part_is_tested(study)
    anew = [
        *(["pre-trains"] if len(kept) < len(pretrained) else []),
        *(["searches", "chooses"] if study.search != "none" else []),
        "trains",
        *(["draws its labelled images"] if _labels_are_limited(study) else []),
        *(["draws its splits"] if new else []),
        *(["draws what is tested of a held-out domain"] if drawn else []),
    ]
    shared = [
        *(["the backbone"] if kept or any(one.checkpoint is not None for one in backbones) else []),
        *([] if new else ["the splits"]),
        *([] if drawn else ["the test images"]),
    ]
    said = f"; {all_of(shared)} are shared" if shared else ""
    return f"the spread over repeats is that of the whole search: each repeat {all_of(anew)} anew{said}"


def _part_is_tested(study: Study) -> bool:
    """Returns whether of some held-out domain a part is tested, which the seed of the splits draws."""
    keys = [study.datasets[section] for section in study.held_out_sections]
    return any(
        raw.get("held_out_part") == "domainbed_80" or raw.get("held_out_limit", study.data.held_out_limit) is not None
        for raw in keys
    )


def _labels_are_limited(study: Study) -> bool:
    return _limited(study.data.model_dump()) or any(_limited(study.datasets[label]) for label in study.sections)


def _limited(options: dict[str, object]) -> bool:
    return any(options.get(limit) is not None for limit in ("labels_per_class", "label_fraction", "imbalance"))
