from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.mask_sets import save_mask
from support.scenes import CLASSES, scenes

from coretune.data.fingerprint import fingerprint
from coretune.data.mask_counts import COUNTS, pixel_counts
from coretune.data.mask_dataset import MaskDataset, open_mask_dataset, refuse_absent
from coretune.data.source import open_masks
from coretune.errors import RequestError, UnfitError
from coretune.spec.catalog import load_catalog
from coretune.spec.run import DataSpec

CATALOG = load_catalog()
REF = CATALOG.ref("dataset", "voc")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return scenes(tmp_path / "mine", {"train": 6, "val": 2, "test": 2})


def opened(root: Path, cache: Path, **keys: object) -> MaskDataset:
    found = fingerprint(open_masks(CATALOG, REF, str(root)))
    data = {"dataset": REF.model_dump(), "fingerprint": found, "image_size": 32, "validation": 0.2, "test": 0.2} | keys
    return open_mask_dataset(CATALOG, DataSpec.model_validate(data), str(root), cache)


def test_official_parts_stay_as_they_are(root: Path, cache: Path) -> None:
    found = opened(root, cache)
    names = found.packed.names
    assert [names[i] for i in found.split.validation] == ["val00", "val01"]
    assert [names[i] for i in found.split.test] == ["test00", "test01"]
    assert len(found.split.labelled) == len(found.split.train) == 6


def test_images_are_limited_and_drawn_as_those_of_one_class(root: Path, cache: Path) -> None:
    assert len(opened(root, cache, label_fraction=0.5).split.labelled) == 3
    found = opened(root, cache, limit=4, held_out_limit=1)
    assert [len(part) for part in (found.split.train, found.split.validation, found.split.test)] == [4, 1, 1]
    with pytest.raises(RequestError, match="validation"):
        for part in ("val", "test"):
            (root / "ImageSets" / "Segmentation" / f"{part}.txt").unlink()
        opened(root, cache, validation=4, test=2)


def test_pixels_are_counted_once_and_kept(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = opened(root, cache).packed
    expected = [np.bincount(packed[i][1].ravel(), minlength=256)[:3] for i in range(10)]
    assert np.array_equal(pixel_counts(packed), expected) and (packed.folder / COUNTS).is_file()
    monkeypatch.setattr(type(packed), "__getitem__", lambda *_: pytest.fail("counted again"))
    assert np.array_equal(pixel_counts(packed), expected)
    monkeypatch.undo()
    (packed.folder / COUNTS).write_bytes(b"\x93NUMPY damaged")
    assert np.array_equal(pixel_counts(packed), expected)


def test_what_is_wrong_is_named_by_file_all_at_once(root: Path, cache: Path) -> None:
    masks = root / "SegmentationClass"
    save_mask(masks / "train00.png", np.zeros((5, 7), dtype=np.uint8))
    Image.fromarray(np.zeros((40, 48, 3), dtype=np.uint8)).save(masks / "train01.png")
    (masks / "train02.png").unlink()
    save_mask(masks / "val00.png", np.full((40, 48), 9, dtype=np.uint8))
    (root / "JPEGImages" / "test01.jpg").unlink()
    with pytest.raises(UnfitError) as caught:
        opened(root, cache)
    said = str(caught.value)
    assert said.startswith(f"{root}: 5 of 10 images cannot be used; repair or remove them")
    assert "  SegmentationClass/train00.png: the mask is 7×5 pixels, the image" in said
    assert "  SegmentationClass/train01.png: a mask of mode RGB" in said
    assert "  SegmentationClass/train02.png: there is no such mask, named in ImageSets/Segmentation/train.txt:3" in said
    assert "  SegmentationClass/val00.png: the mask has value 9; expected 0 to 2, or 255 for void" in said
    assert "  JPEGImages/test01.jpg: there is no such image, named in ImageSets/Segmentation/test.txt:2" in said
    with pytest.raises(UnfitError) as early:
        refuse_absent(open_masks(CATALOG, REF, str(root)))
    assert str(early.value) == said, "in a plan as in a run"
    left = opened(root, cache, corrupt="skip")
    assert left.left_out == "5 of 10 images cannot be used: left out"
    assert [len(part) for part in (left.split.train, left.split.validation, left.split.test)] == [3, 1, 1]


def test_images_that_are_left_out_move_no_other(root: Path, cache: Path) -> None:
    whole = opened(root, cache, label_fraction=0.5)
    (root / "JPEGImages" / "train00.jpg").unlink()
    left = opened(root, cache, label_fraction=0.5, corrupt="skip")
    assert left.packed.names == whole.packed.names
    assert {left.packed.names[i] for i in left.split.train} == {f"train0{i}" for i in range(1, 6)}
    for index in range(10):
        for found, before in zip(left.packed[index], whole.packed[index], strict=True):
            assert left.packed.names[index] == "train00" or np.array_equal(found, before)


def test_an_empty_list_is_named(root: Path, cache: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("")
    with pytest.raises(UnfitError, match=r"val\.txt: an empty file"):
        opened(root, cache)


def test_a_single_class_and_a_part_of_void_are_refused(root: Path, cache: Path) -> None:
    for file in (root / "SegmentationClass").iterdir():
        shape = np.asarray(Image.open(file)).shape
        save_mask(file, np.full(shape, 255 if file.name.startswith("val") else 2, dtype=np.uint8))
    with pytest.raises(UnfitError) as caught:
        opened(root, cache)
    assert f"all pixels of the training part are of class {CLASSES[2]} or void: nothing" in str(caught.value)
    assert "no pixel of any class in the 2 masks of the validation part" in str(caught.value)


def test_other_images_than_planned_are_refused(root: Path, cache: Path) -> None:
    with pytest.raises(UnfitError, match="not the images that the run was planned with"):
        opened(root, cache, fingerprint="0" * 64)
