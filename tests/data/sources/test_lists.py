"""What may be wrong with the lists of an archive, and in which file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from support import image_sets as sets

from coretune.data.source import open_source
from coretune.data.sources.lists import matlab, text_lines
from coretune.errors import UnfitError
from coretune.spec.components import Catalog

AIRCRAFT = "fgvc-aircraft-2013b/data/images_variant_val.txt"
PETS = "oxford-iiit-pet/annotations/test.txt"
DTD = "dtd/dtd/labels/test1.txt"


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\n b \n")
    assert text_lines(tmp_path / "list.txt") == [(1, "a"), (3, "b")]
    for content, said in ((b" \n", "has no line"), (b"\xff\xfe\x00", "cannot be read"), (b"", "an empty file")):
        (tmp_path / "list.txt").write_bytes(content)
        with pytest.raises(UnfitError, match=rf"list\.txt: .*{said}|list\.txt: {said}"):
            text_lines(tmp_path / "list.txt")


def test_matlab_files(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"labels": np.arange(3)})
    assert matlab(tmp_path / "x.mat", "labels")["labels"].tolist() == [0, 1, 2]
    with pytest.raises(UnfitError, match=r"x\.mat: no variable trnid in it, only labels"):
        matlab(tmp_path / "x.mat", "labels", "trnid")
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0 but no more")
    with pytest.raises(UnfitError, match=r"x\.mat: is no MATLAB file: "):
        matlab(tmp_path / "x.mat", "labels")
    with pytest.raises(UnfitError, match=r"y\.mat: .*[Nn]o such file"):
        matlab(tmp_path / "y.mat", "labels")


@pytest.mark.parametrize(
    ("name", "file", "edit", "said"),
    [
        ("aircraft", AIRCRAFT, ("707-320", "707-321"), r"val\.txt:1: no variant '707-321'"),
        ("pets", PETS, ("Abyssinian_2 1 1 1", "Abyssinian_2"), r"test\.txt:1: 'Abyssinian_2'; expected"),
        ("pets", PETS, ("Abyssinian_2 1 ", "Abyssinian_2 2 "), r"test\.txt:1: class 2 is american_bulldog and Abyssin"),
        ("dtd", DTD, ("texture000_test", "texture000_train"), "1 images are listed twice"),
        ("dtd", DTD, ("texture000_test", "nothing"), r"not there \(images/texture000/nothing\.jpg\)"),
    ],
)
def test_a_line_that_is_wrong(
    name: str, file: str, edit: tuple[str, str], said: str, catalog: Catalog, tmp_path: Path
) -> None:
    path = sets.MINIATURES[name][1](tmp_path / "data")
    (path / file).write_text((path / file).read_text().replace(*edit, 1))
    with pytest.raises(UnfitError, match=said):
        open_source(catalog, catalog.ref("dataset", name), str(path))


def test_cars_without_the_labels_of_the_test_part(catalog: Catalog, tmp_path: Path) -> None:
    path = sets.cars(tmp_path / "data")
    (path / "stanford_cars/cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(
        UnfitError, match=r"no cars_test_annos_withlabels\.mat: the labels of the test part are in a file"
    ):
        open_source(catalog, catalog.ref("dataset", "cars"), str(path))


def test_flowers_whose_numbers_are_wrong(catalog: Catalog, tmp_path: Path) -> None:
    path = sets.flowers102(tmp_path / "data")
    savemat(path / "flowers-102/setid.mat", {"trnid": [1], "valid": [2], "tstid": [307]})
    with pytest.raises(UnfitError, match=r"setid\.mat: image 307 of tstid has no label from 1 to 102"):
        open_source(catalog, catalog.ref("dataset", "flowers102"), str(path))
