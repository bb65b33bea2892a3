from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import mask_sets as sets

from coretune.data.mask_check import MaskReport, check_masks
from coretune.data.sources.voc import voc
from coretune.spec.catalog.mask_sets import VocParameters, mask_set


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = sets.voc(tmp_path / "mine", {"train": ["a", "b", "c"], "test": ["d"]}, classes=3)
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    for name, value in (("a", 0), ("b", 0), ("c", 1), ("d", 0)):
        values = np.full((6, 10), value, dtype=np.uint8)
        values[:, :2] = 255
        values[:, 9] = 1
        sets.save_mask(root / "SegmentationClass" / f"{name}.png", values)
        sets.save_picture(root / "JPEGImages" / f"{name}.jpg", sets.picture(ord(name), (6, 10)))
    return root


def report(root: Path) -> MaskReport:
    return check_masks(voc(root, VocParameters()), mask_set("voc"))


def test_classes_are_counted_by_image_and_by_pixel(root: Path) -> None:
    found = report(root)
    assert (found.name, found.images, found.parts) == ("voc", 4, {"train": 3, "test": 1})
    assert found.classes["sky"].images == {"train": 2, "test": 1}
    assert found.classes["sky"].share == pytest.approx(3 * 7 / 32)
    assert found.classes["road"].images == {"train": 3, "test": 1}
    assert found.classes["car"].images == {} and found.classes["car"].share == 0
    assert found.void == pytest.approx(0.2)
    assert found.sizes is not None and found.sizes.width == (10, 10, 10) and found.sizes.height == (6, 6, 6)
    assert found.problems == ()
    assert found.remarks == ("train: no pixel of car", "test: no pixel of car")


def test_what_is_wrong_is_told(root: Path) -> None:
    (root / "JPEGImages" / "b.jpg").write_bytes((root / "JPEGImages" / "a.jpg").read_bytes())
    (root / "JPEGImages" / "d.jpg").write_bytes((root / "JPEGImages" / "a.jpg").read_bytes())
    sets.save_mask(root / "SegmentationClass" / "c.png", np.full((6, 10), 3, dtype=np.uint8))
    found = report(root)
    assert found.unreadable == ("SegmentationClass/c.png: the mask has value 3; expected 0 to 2, or 255 for void",)
    assert found.across == (("a", "b", "d"),) and found.repeated == 1
    assert found.problems == (
        f"1 of 4 images cannot be used (files below {root})",
        "1 images stand in several parts, e.g. a = b = d",
    )
    assert "1 images are the same as another one of their part" in found.remarks


def test_counts_are_compared_with_the_declared_ones(root: Path) -> None:
    about = replace(mask_set("voc2012"), counts={"train": 3, "test": 2})
    found = check_masks(voc(root, VocParameters()), about)
    assert found.problems == ("test: 1 images, expected 2",)


def test_black_and_white_masks_are_one_class_and_void(root: Path) -> None:
    for name in "abcd":
        sets.save_mask(root / "SegmentationClass" / f"{name}.png", np.array([[0, 255] * 5] * 6, dtype=np.uint8))
    assert report(root).problems == (
        "all pixels of the training part are of class sky or void: nothing to tell apart; in black-and-white masks, "
        "write white as 1: 255 is void",
    )


def test_what_training_refuses_is_wrong_by_part(root: Path) -> None:
    masks = root / "SegmentationClass"
    for name in "abc":
        sets.save_mask(masks / f"{name}.png", np.full((6, 10), 2, dtype=np.uint8))
    assert report(root).problems == ("all pixels of the training part are of class car or void: nothing to tell apart",)
    sets.save_mask(masks / "b.png", np.ones((6, 10), dtype=np.uint8))
    sets.save_mask(masks / "d.png", np.full((6, 10), 255, dtype=np.uint8))
    assert report(root).problems == ("no pixel of any class in the 1 masks of the test part: all are 255, void",)
    (root / "ImageSets" / "Segmentation" / "test.txt").unlink()
    assert report(root).problems == ()


def test_nothing_can_be_read(root: Path) -> None:
    for name in "abcd":
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(b"")
    found = report(root)
    assert found.sizes is None and found.void == 0 and len(found.unreadable) == 4


def test_classes_that_do_not_occur_and_names_that_are_repeated_are_remarked(root: Path) -> None:
    (root / "classes.txt").unlink()
    lists = root / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("a\nb\nc\na\n")
    sets.save_mask(root / "SegmentationClass" / "b.png", np.full((6, 10), 254, dtype=np.uint8))
    found = check_masks(voc(root, VocParameters(classes=255)), mask_set("voc"))
    assert found.problems == ()
    assert found.remarks[0] == "1 line repeats a name, which counts once (a in ImageSets/Segmentation/train.txt:4)"
    assert found.remarks[1] == "of 255 classes, 3 occur: 0, 1, 254; 254 is in a single image: is it a class?"


def test_pairs_that_are_missing_are_told_with_all_else(root: Path) -> None:
    (root / "JPEGImages" / "a.jpg").unlink()
    sets.save_mask(root / "SegmentationClass" / "d.png", np.zeros((3, 3), dtype=np.uint8))
    found = report(root)
    assert len(found.unreadable) == 2 and found.problems == (f"2 of 4 images cannot be used (files below {root})",)
    assert found.remarks[-1] == (
        "a study refuses images that cannot be used; with `corrupt: skip` below `data`, it leaves them out"
    )
