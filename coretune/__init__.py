"""coretune: fine-tune self-supervised vision models, and know what works.

Importing coretune imports no torch; each name below is loaded when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["PretrainResult", "TuneResult", "leaderboard", "load_study", "pretrain_backbone", "run_study", "tune"]

_HOME = {
    "PretrainResult": "coretune.runs.pretrain",
    "TuneResult": "coretune.runs.tune",
    "leaderboard": "coretune.report.frame",
    "load_study": "coretune.spec.load",
    "pretrain_backbone": "coretune.runs.pretrain",
    "run_study": "coretune.study.engine",
    "tune": "coretune.runs.tune",
}

if TYPE_CHECKING:
    from coretune.report.frame import leaderboard
    from coretune.runs.pretrain import PretrainResult, pretrain_backbone
    from coretune.runs.tune import TuneResult, tune
    from coretune.spec.load import load_study
    from coretune.study.engine import run_study


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'coretune' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
