"""What "±" is over, and what varied and what was shared there: one sentence for each of the two readings."""

from __future__ import annotations

from typing import Literal

from coretune.spec.study import BackboneOptions, Study

Spread = Literal["seeds of one configuration", "repeats of the whole search"]
CONFIGURATION: Spread = "seeds of one configuration"
REPEATED: Spread = "repeats of the whole search"
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
    return f"the spread over seeds is that of {_listed(varied)}{one}; {_listed(shared)} are shared"


def over_repeats(study: Study) -> str:
    """Returns what the spread over repeats of the whole search holds, and what it does not.

    Args:
        study: Any of the repeats: they differ in nothing but their seed, from which all other seeds follow.
    """
    backbones = list(study.backbones.values())
    anew = [
        *(["pre-trains"] if any(map(_pretrained_anew, backbones)) else []),
        *(["searches", "chooses"] if study.search != "none" else []),
        "trains",
        *(["draws its labelled images"] if _labels_are_limited(study) else []),
    ]
    shared = [*(["the backbone"] if any(map(_shared, backbones)) else []), "the splits", "the test images"]
    return (
        f"the spread over repeats is that of the whole search: each repeat {_listed(anew)} anew; "
        f"{_listed(shared)} are shared"
    )


def _pretrained_anew(backbone: BackboneOptions) -> bool:
    """Returns whether a backbone's pre-training has the study's seed, so that each repeat has its own."""
    return backbone.pretrain is not None and backbone.pretrain.seed is None


def _shared(backbone: BackboneOptions) -> bool:
    return backbone.checkpoint is not None or (backbone.pretrain is not None and backbone.pretrain.seed is not None)


def _labels_are_limited(study: Study) -> bool:
    return _limited(study.data.model_dump()) or any(_limited(study.datasets[label]) for label in study.sections)


def _limited(options: dict[str, object]) -> bool:
    return any(options.get(limit) is not None for limit in ("labels_per_class", "label_fraction", "imbalance"))


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
