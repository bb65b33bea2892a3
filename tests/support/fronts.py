"""Results directories of studies of two objectives, whose runs are made up."""

from __future__ import annotations

from pathlib import Path

import yaml

from coretune.results.store import ResultsStore
from support.driving import drive, make_book, resolved

FRONT = "objective={metric: [top1, robust_top1], attack: {eps: 2/255, limit: 50}}"
SEARCH = "search={sampler: tpe, trials: 8}"


def front_results(root: Path, *sets: str) -> ResultsStore:
    """Returns the results of the tiny study of clean and robust accuracy: of its trials the better rates are on the
    front, 0.02 and below."""
    study = resolved(FRONT, SEARCH, *sets)
    book = make_book(study, root)
    drive(book, root)
    (root / "study.yaml").write_text(yaml.safe_dump(study.loaded.study.model_dump(mode="json"), sort_keys=False))
    return ResultsStore(root)
