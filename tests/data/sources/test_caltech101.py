from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import image_sets as sets

from coretune.data.source import TEST, TRAIN, UNDECIDED
from coretune.data.sources.caltech101 import _divided, caltech101
from coretune.errors import UnfitError
from coretune.spec.catalog.image_sets import Caltech101Parameters


def test_thirty_of_each_class_are_for_training_and_the_same_for_everyone() -> None:
    labels = np.repeat(np.arange(3), (31, 60, 20))
    parts = _divided(labels)
    assert np.bincount(labels[parts == TRAIN]).tolist() == [30, 30, 19]
    assert set(parts.tolist()) == {TRAIN, TEST}
    # Which images these are belongs to the data set: a change would be another data set.
    assert np.flatnonzero(parts[31:91] == TEST).tolist()[:8] == [0, 2, 7, 9, 10, 11, 12, 13]


def test_the_background_is_a_class_on_request(tmp_path: Path) -> None:
    path = sets.caltech101(tmp_path)
    without, having = (caltech101(path, Caltech101Parameters(background=said)) for said in (False, True))
    assert "BACKGROUND_Google" not in without.classes
    assert (len(without.classes), len(having.classes)) == (101, 102)
    with pytest.raises(UnfitError, match=r"has 101; with BACKGROUND_Google as a class: `background: true`"):
        caltech101(sets.parquet(tmp_path / "hub", 102, ("train",)), Caltech101Parameters())
    direct = caltech101(path / "caltech101" / "101_ObjectCategories", Caltech101Parameters())
    assert direct.names == without.names
    assert direct.parts.tolist() == without.parts.tolist()


def test_a_flat_mirror_is_divided_too(tmp_path: Path) -> None:
    path = sets.folders(tmp_path / "data", sets.numbered("class", 101), ("",), each=3)
    source = caltech101(path, Caltech101Parameters())
    assert UNDECIDED not in source.parts
    assert np.bincount(source.parts).tolist() == [202, 0, 101]


def test_an_archive_that_is_not_whole(tmp_path: Path) -> None:
    folder = sets.caltech101(tmp_path) / "caltech101" / "101_ObjectCategories" / "accordion"
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(UnfitError, match=r"100 categories \(airplanes, .*expected 101"):
        caltech101(tmp_path, Caltech101Parameters())


def test_parquet_of_one_part_is_divided_too(tmp_path: Path) -> None:
    """Nobody says which images are for testing: a mirror's only part is no part."""
    path = sets.parquet(tmp_path / "one", 101, ("train",))
    sets.parquet(tmp_path / "two", 101, ("train", "test"))
    one, two = (caltech101(place, Caltech101Parameters()) for place in (path, tmp_path / "two"))
    assert set(one.parts.tolist()) == {TRAIN} and len(one.names) == 101
    assert set(two.parts.tolist()) == {TRAIN, TEST}
