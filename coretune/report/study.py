"""What the study of a results directory asked for, as far as the report needs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from coretune.errors import StudyError
from coretune.results.cellfile import CellFile
from coretune.results.store import ResultsStore
from coretune.spec.study import Study
from coretune.spec.yamlfile import read_yaml


@dataclass(frozen=True)
class StudyFile:
    """The study as its results directory has it.

    Attributes:
        study: Its keys; None where study.yaml is absent or unreadable.
        name: Its name, else that of the directory.
        problem: Why `study` is None; empty where it is not.
    """

    study: Study | None
    name: str
    problem: str = ""

    def place(self, cell: CellFile) -> tuple[int, int, int, str]:
        """Returns where a cell stands: in the order of the study's data sets, backbones and methods."""
        if self.study is None:
            return (0, 0, 0, cell.key)
        return (
            _index(self.study.tuned, cell.dataset),
            _index(self.study.backbones, cell.backbone),
            _index(self.study.methods, cell.method),
            cell.key,
        )

    def asks_for(self, cell: CellFile) -> bool:
        """Returns whether the study has this cell, with this objective."""
        study = self.study
        searched = [(each.metric, each.direction) for each in cell.objectives] or [(cell.metric, cell.direction)]
        return study is None or (
            cell.dataset in study.tuned
            and cell.backbone in study.backbones
            and cell.method in study.methods
            and searched == list(zip(study.objective.metrics, study.objective.directions, strict=True))
        )

    @property
    def cell_count(self) -> int:
        """How many cells the study has; 0 where it is not known."""
        study = self.study
        return len(study.tuned) * len(study.backbones) * len(study.methods) if study is not None else 0

    @property
    def final_seeds(self) -> int:
        """How many final runs each cell has; 0 where it is not known."""
        return self.study.finals.seeds if self.study is not None else 0

    @property
    def trials(self) -> int | None:
        """How many trials each cell has at most; None without a search, or where it is not known."""
        search = self.study.search if self.study is not None else "none"
        return None if search == "none" else search.trials


def read_study(store: ResultsStore) -> StudyFile:
    """Reads `study.yaml` of a results directory."""
    name = store.root.absolute().name
    try:
        study = Study.model_validate(read_yaml(store.root / "study.yaml").value)
    except StudyError as error:
        return StudyFile(None, name, str(error))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        return StudyFile(None, name, f"{store.root / 'study.yaml'}: {key}: {first['msg']}")
    return StudyFile(study, study.name)


def _index(labels: Iterable[str], label: str) -> int:
    known = list(labels)
    return known.index(label) if label in known else len(known)
