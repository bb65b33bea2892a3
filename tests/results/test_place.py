from __future__ import annotations

from pathlib import Path

import pytest

from coretune.errors import RequestError
from coretune.results.lock import NAME
from coretune.results.place import refuse_other_places


def test_a_new_an_empty_and_an_own_place_are_right(tmp_path: Path) -> None:
    refuse_other_places(tmp_path / "new")
    (tmp_path / NAME).write_text("")
    (tmp_path / ".hidden").write_text("")
    refuse_other_places(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    refuse_other_places(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("study.yaml", "holds the results of a study"), ("photo.jpg", "is not empty and holds no results")],
)
def test_what_is_somebody_elses_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(RequestError, match=rf"{said}.*another directory with out= or --out"):
        refuse_other_places(tmp_path)
    with pytest.raises(RequestError, match="is a file, not a directory"):
        refuse_other_places(tmp_path / name)
