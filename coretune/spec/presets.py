"""Presets: `cpu` and `paper` lie below what a study file says, `smoke` limits it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from coretune.spec.space import is_space

BELOW: dict[str, dict[str, Any]] = {
    "cpu": {
        "train": {"epochs": 30, "batch": 64, "contrast_batch": 64, "lr": 0.03},
        "search": {"trials": 12},
        "finals": {"seeds": 6},
    },
    "paper": {
        "train": {
            "epochs": 100,
            "batch": 256,
            "contrast_batch": 64,
            "optimizer": "sgd",
            "lr": 0.01,
            "nesterov": True,
            "weight_decay": 1e-4,
            "schedule": "cosine",
        },
        "search": {"trials": 20},
        "finals": {"seeds": 3},
    },
}

LIMITS: dict[tuple[str, str], int] = {
    ("train", "epochs"): 1,
    ("search", "trials"): 2,
    ("search", "repeats"): 1,
    ("finals", "seeds"): 2,
    ("data", "limit"): 512,
    ("data", "held_out_limit"): 512,
}
RECIPE_LIMITS: dict[str, int] = {"epochs": 1, "warmup_epochs": 1}


def apply_preset(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the raw study with its preset applied; an unknown preset is left for validation to refuse."""
    preset = raw.get("preset")
    if preset == "smoke":
        return _limited(raw)
    below = BELOW.get(preset, {}) if isinstance(preset, str) else {}
    return merge_below(raw, below)


def merge_below(raw: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `raw` with what it does not say taken from `below`, mapping by mapping."""
    merged = copy.deepcopy(dict(below))
    for key, value in raw.items():
        inner = merged.get(key)
        merged[key] = merge_below(value, inner) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return merged


def _limited(raw: Mapping[str, Any]) -> dict[str, Any]:
    limited = copy.deepcopy(dict(raw))
    for path, limit in LIMITS.items():
        _limit(limited, path, limit)
    methods, backbones = limited.get("methods"), limited.get("backbones")
    pretrains = [_inner(backbone, "pretrain") for backbone in _values(backbones)]
    for pretrain in pretrains:
        if pretrain is not None:
            _limit(pretrain, ("train", "epochs"), 1)
    for dataset in _values(limited.get("datasets")):
        for section, key in LIMITS:
            if section == "data" and isinstance(dataset, dict) and key in dataset:
                _limit(dataset, (key,), LIMITS[section, key])
    for recipe in (limited.get("train"), *(_inner(part, "train") for part in (*_values(methods), *pretrains))):
        for key, limit in RECIPE_LIMITS.items():
            if isinstance(recipe, dict) and key in recipe:
                _limit(recipe, (key,), limit)
    return limited


def _values(raw: Any) -> list[Any]:
    return list(raw.values()) if isinstance(raw, dict) else []


def _inner(raw: Any, key: str) -> dict[str, Any] | None:
    inner = raw.get(key) if isinstance(raw, dict) else None
    return inner if isinstance(inner, dict) else None


def _limit(raw: dict[str, Any], path: tuple[str, ...], limit: int) -> None:
    """Lowers a value to a limit; a search space becomes the limit, and what is no number is left to validation."""
    *parents, last = path
    for key in parents:
        child = raw.setdefault(key, {})
        if not isinstance(child, dict):
            return
        raw = child
    value = raw.get(last)
    if value is None or is_space(value):
        raw[last] = limit
    elif isinstance(value, int | float) and not isinstance(value, bool):
        raw[last] = min(value, limit)
