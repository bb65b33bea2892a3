from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import mask_sets as sets

from coretune.data.masks import read_pair
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
    assert classes_by_values(root) == (3, "")
    assert opened(root, 3).absent == ()
    sets.save_mask(root / "SegmentationClass" / "a.png", np.full((7, 9), 254, dtype=np.uint8))
    assert classes_by_values(root) == (255, "of which 4 occur, up to 254")
    with pytest.raises(UnfitError, match=r"0, 1, 2, 254; .* `classes: 255` \(of which 4 occur, up to 254\),"):
        opened(root)
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


def faults(source: VocImages) -> list[str]:
    found = []
    for index in range(len(source.names)):
        try:
            read_pair(source, index)
        except UnfitError as error:
            found.append(str(error))
    return found


def test_what_is_missing_or_does_not_fit_is_said_with_file_and_line(root: Path) -> None:
    before = dict(opened(root, 3).files())
    os.remove(root / "JPEGImages" / "a.jpg")
    os.remove(root / "SegmentationClass" / "a.png")
    os.remove(root / "SegmentationClass" / "b.png")
    sets.save_mask(root / "SegmentationClass" / "c.png", np.full((2, 5), 7, dtype=np.uint8))
    source = opened(root, 3)
    assert source.absent == (0, 1) and source.size(0) == (0, 0) and source.size(1) == (6, 9)
    assert faults(source) == [
        "JPEGImages/a.jpg: there is no such image, named in ImageSets/Segmentation/train.txt:2; "
        "SegmentationClass/a.png: there is no such mask, named in ImageSets/Segmentation/train.txt:2",
        "SegmentationClass/b.png: there is no such mask, named in ImageSets/Segmentation/train.txt:1",
        "SegmentationClass/c.png: the mask is 5×2 pixels, the image 9×8; "
        "SegmentationClass/c.png: the mask has value 7; expected 0 to 2, or 255 for void",
    ]
    gone = {"JPEGImages/a.jpg", "SegmentationClass/a.png", "SegmentationClass/b.png"}
    assert dict(source.files()).keys() == before.keys() - gone


def test_a_name_in_several_lists_or_twice_in_one(root: Path) -> None:
    lists = root / "ImageSets" / "Segmentation"
    (lists / "val.txt").write_text("c\n\nd\n")
    (lists / "train.txt").write_text("b\na\nb\n")
    source = opened(root, 3)
    assert source.names == ("a", "b", "c", "d") and source.absent == (3,)
    assert faults(source) == [
        "d: stands in several lists, ImageSets/Segmentation/val.txt:3 and ImageSets/Segmentation/test.txt:1; "
        "leave it in one"
    ]
    assert source.remarks == ("1 line repeats a name, which counts once (b in ImageSets/Segmentation/train.txt:3)",)


@pytest.mark.parametrize("line", ["a.jpg", "a 1", "/JPEGImages/a.jpg /SegmentationClass/a.png"])
def test_a_line_that_is_more_than_a_name_is_told_what_it_should_be(root: Path, line: str) -> None:
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text(f"b\n{line}\n")
    (said,) = faults(opened(root, 3))
    assert said.startswith(f"ImageSets/Segmentation/train.txt:2: no image has the name {line};")
    assert said.endswith("a line is one name without folder or suffix: a")


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
    assert faults(opened(root, 3)) == [
        "JPEGImages/a.jpg and JPEGImages/a.png: 2 images of one name",
        "SegmentationClass/c.png and SegmentationClass/c.tif: 2 masks of one name",
    ]


def test_masks_that_tell_of_no_class(root: Path) -> None:
    for name in "abcd":
        sets.save_mask(root / "SegmentationClass" / f"{name}.png", np.full((6, 9), 255, dtype=np.uint8))
    with pytest.raises(UnfitError, match="no mask has a class: all pixels are void"):
        opened(root)
    for name in "abcd":
        sets.save_picture(root / "SegmentationClass" / f"{name}.png", sets.picture(1))
    with pytest.raises(UnfitError, match=r"no mask has a class: a\.png: a mask of mode RGB"):
        opened(root)


def test_the_real_street_scenes(real_data: Path) -> None:
    source = opened(real_data / "camvid_voc", 11)
    assert [(source.parts == part).sum() for part in (TRAIN, VALIDATION, TEST)] == [367, 101, 233]
    assert source.image(0).shape == (180, 240, 3)
    assert set(np.unique(source.mask(0))) <= {*range(11), 255}
