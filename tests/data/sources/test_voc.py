from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import mask_sets as sets

from coretune.data.source import TEST, TRAIN, VALIDATION
from coretune.data.sources.folder import Folder
from coretune.data.sources.images import Images
from coretune.data.sources.voc import VocImages, classes_by_values, is_voc, voc
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters
from coretune.spec.catalog.mask_sets import VocParameters


def opened(path: Path | None, classes: int | None = None) -> VocImages:
    return voc(path, VocParameters(classes=classes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    parts = {"train": ["b", "a"], "val": ["c"], "test": ["d"]}
    return sets.voc(tmp_path / "mine" / "VOCdevkit" / "VOC2012", parts, classes=3)


def test_lists_say_the_parts_and_a_file_names_the_classes(root: Path, tmp_path: Path) -> None:
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    source = opened(tmp_path / "mine")
    assert source.classes == ("sky", "road", "car")
    assert source.names == ("a", "b", "c", "d")
    assert source.parts.tolist() == [TRAIN, TRAIN, VALIDATION, TEST]
    assert np.array_equal(source.image(0), sets.picture(1, (7, 9)))
    assert np.array_equal(source.mask(0), sets.mask(1, (7, 9), 3))
    assert source.size(0) == (7, 9)
    names = dict(source.files())
    assert names["JPEGImages/a.jpg"] == root / "JPEGImages/a.jpg" and "classes.txt" in names
    assert {"SegmentationClass/a.png", "ImageSets/Segmentation/test.txt"} < set(names)
    assert len(names) == 4 * 2 + 3 + 1


def test_classes_may_be_named_above_the_images_but_not_above_the_path(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "classes.txt").write_text("sky\nroad\ncar\n")
    (tmp_path / "classes.txt").write_text("another\nset\n")
    assert opened(tmp_path / "mine").classes == ("sky", "road", "car")
    with pytest.raises(UnfitError, match="say how many classes"):
        opened(root)


def test_a_number_of_classes_is_enough(root: Path) -> None:
    assert opened(root, 3).classes == ("0", "1", "2")


def test_without_either_the_values_are_told(root: Path) -> None:
    with pytest.raises(UnfitError, match=r"the masks have the values 0, 1, 2; say .* there are, `classes: 3`, or name"):
        opened(root)
    assert classes_by_values(root) == 3
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    assert classes_by_values(root) is None


def test_names_that_contradict_the_number_or_are_no_names(root: Path) -> None:
    (root / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(UnfitError, match=r"classes\.txt: 2 classes, but `classes: 3`"):
        opened(root, 3)
    for content in ("sky\nsky\n", "sky\n"):
        (root / "classes.txt").write_text(content)
        with pytest.raises(UnfitError, match=r"classes\.txt: expected .* got sky"):
            opened(root)
    (root / "classes.txt").write_text("sky\n\nroad\ncar\n")
    with pytest.raises(UnfitError, match=r"classes\.txt: expected one distinct name a class, got sky, , road, car"):
        opened(root)


def test_all_that_is_missing_is_said_at_once(root: Path) -> None:
    os.remove(root / "JPEGImages" / "a.jpg")
    os.remove(root / "SegmentationClass" / "b.png")
    os.remove(root / "SegmentationClass" / "c.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("c\nd\n")
    with pytest.raises(UnfitError) as raised:
        opened(root, 3)
    assert str(raised.value) == (
        f"{root}: 1 of 4 names stand in several lists (d); 1 of 4 names have no image in JPEGImages/ (a); "
        "2 of 4 names have no mask in SegmentationClass/ (b, c)"
    )


def test_an_empty_list(root: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    with pytest.raises(UnfitError, match=r"val\.txt: has no line"):
        opened(root, 3)


def test_what_is_not_laid_out_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (None, tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(UnfitError, match=r"no images with masks: .*; expected JPEGImages"):
            opened(path)
    assert not is_voc(tmp_path / "empty")
    sets.voc(tmp_path / "mine", {"train": ["a"]})
    assert is_voc(tmp_path / "mine")
    (tmp_path / "mine" / "SegmentationClass").rename(tmp_path / "mine" / "Annotations")
    assert is_voc(tmp_path / "mine")
    with pytest.raises(UnfitError, match=r"SegmentationClass: cannot be read: No such file"):
        opened(tmp_path / "mine", 21)


def test_a_list_that_is_missing_is_named(root: Path) -> None:
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").rename(lists / "trainval.txt")
    assert is_voc(root)
    with pytest.raises(UnfitError, match=r"train\.txt: there is no such list: found test.txt, trainval.txt, val.txt;"):
        opened(root, 3)
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(UnfitError, match=r"train\.txt: there is no such list: found nothing; expected"):
        opened(root, 3)


def test_images_and_masks_are_no_classes(root: Path, tmp_path: Path) -> None:
    for source in (Folder, Images):
        with pytest.raises(UnfitError, match=r"and their masks, no classes; the images alone are .*JPEGImages"):
            source(tmp_path / "mine", FolderParameters())
    assert len(Images(root / "JPEGImages", FolderParameters()).names) == 4


def test_two_images_of_one_name(root: Path) -> None:
    sets.save_picture(root / "JPEGImages" / "a.png", sets.picture(9))
    sets.save_mask(root / "SegmentationClass" / "c.tif", sets.mask(9))
    with pytest.raises(UnfitError, match=r"2 of 4 names have several images or masks \(a, c\)"):
        opened(root, 3)


def test_masks_that_tell_of_no_class(root: Path) -> None:
    for name in "abcd":
        sets.save_mask(root / "SegmentationClass" / f"{name}.png", np.full((6, 9), 255, dtype=np.uint8))
    with pytest.raises(UnfitError, match="no mask has a class: all pixels are void"):
        opened(root)
    for name in "abcd":
        sets.save_picture(root / "SegmentationClass" / f"{name}.png", sets.picture(1))
    with pytest.raises(UnfitError, match="no mask has a class: mask of a: a mask of mode RGB"):
        opened(root)


def test_the_real_street_scenes(real_data: Path) -> None:
    source = opened(real_data / "camvid_voc", 11)
    assert [(source.parts == part).sum() for part in (TRAIN, VALIDATION, TEST)] == [367, 101, 233]
    assert source.image(0).shape == (180, 240, 3)
    assert set(np.unique(source.mask(0))) <= {*range(11), 255}
