"""Images that have the content of others."""

from __future__ import annotations

import numpy as np

from coretune.data.contents import are_among, are_repeated, contents_among

A, B, C = "a" * 64, "b" * 64, "c" * 64
NAMES = ("x/0.png", "x/1.png", "y/0.png")
FILES = {"x/0.png": A, "x/1.png": B, "y/0.png": A, "list.txt": C}
ALL = np.arange(3)


def test_images_that_are_files_are_compared_one_by_one() -> None:
    some = contents_among(NAMES, np.array([1]), FILES)
    assert some.whole and are_among(NAMES, ALL, FILES, some).tolist() == [False, True, False]
    assert are_repeated(NAMES, np.array([True, True, False]), FILES).tolist() == [True, False]


def test_images_within_files_meet_with_the_whole_file() -> None:
    table = {"all.parquet": C}
    held = contents_among(NAMES, np.array([0]), table)
    assert not held.whole and are_among(NAMES, ALL, table, held).all()
    assert not are_among(NAMES, ALL, table, contents_among(NAMES, ALL, {"other.parquet": B})).any()
    assert not are_repeated(NAMES, np.array([True, True, False]), table).any(), "of which nothing is known"
