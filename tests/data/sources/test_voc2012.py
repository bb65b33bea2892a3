from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from support import mask_sets as sets
from support.image_sets import write_lines

from coretune.data.masks import read_pair
from coretune.data.source import TEST, TRAIN
from coretune.data.sources.voc2012 import CLASSES, is_train_aug, voc2012, voc2012_aug
from coretune.errors import MissingError, UnfitError
from coretune.spec.components import NoParameters

NONE = NoParameters()


def test_the_archive_whatever_folder_it_was_unpacked_in(tmp_path: Path) -> None:
    sets.voc2012(tmp_path)
    (tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Segmentation").mkdir(parents=True)
    write_lines(tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Segmentation" / "train.txt", ["000032"])
    for path in (tmp_path, tmp_path / "VOCdevkit", tmp_path / "VOCdevkit" / "VOC2012"):
        source = voc2012(path, NONE)
        assert source.classes == CLASSES and len(CLASSES) == 21
        assert source.names == ("2007_1", "2007_2", "2008_1", "2008_2", "2009_1")
        assert source.parts.tolist() == [TRAIN, TRAIN, TEST, TEST, TRAIN]
    image, mask = read_pair(source, 4)
    assert np.array_equal(image, sets.picture(2, (8, 9))) and np.array_equal(mask, sets.mask(2, (8, 9)))


def test_train_aug_from_the_archive_of_sbd(tmp_path: Path) -> None:
    sets.voc2012(tmp_path)
    sets.boundaries(tmp_path)
    source = voc2012_aug(tmp_path, NONE)
    assert source.names == ("2007_1", "2007_2", "2008_1", "2008_2", "2009_1", "2010_1")
    assert source.parts.tolist() == [TRAIN, TRAIN, TEST, TEST, TRAIN, TRAIN]
    assert np.array_equal(source.mask(0), sets.mask(0)), "VOC's own masks go before those of SBD"
    assert np.array_equal(source.mask(2), sets.mask(3)), "val stays val"
    assert np.unique(source.mask(5)).tolist() == [3]
    names = dict(source.files())
    assert any(name.endswith("cls/2010_1.mat") for name in names)
    assert sum(name.endswith("train.txt") for name in names) == 2


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", ["trainaug.txt", "train_aug.txt"])
def test_train_aug_from_png_files(tmp_path: Path, beside: bool, name: str) -> None:
    root = sets.voc2012(tmp_path)
    folder = (root.parent if beside else root) / "SegmentationClassAug"
    for seed, image in enumerate(["2007_1", "2010_1"]):
        sets.save_mask(folder / f"{image}.png", np.full((6, 9), seed + 1, dtype=np.uint8))
    write_lines(root / "ImageSets" / "Segmentation" / name, ["2007_1", "2010_1"])
    source = voc2012_aug(tmp_path, NONE)
    assert source.parts.tolist() == [TRAIN, TRAIN, TEST, TEST, TRAIN, TRAIN]
    assert np.unique(source.mask(5)).tolist() == [2]
    os.remove(folder / "2010_1.png")
    source = voc2012_aug(tmp_path, NONE)
    assert source.absent == (5,)
    with pytest.raises(UnfitError, match=rf"SegmentationClassAug/2010_1\.png: .* in .*/{name}:2; was .* to its end\?$"):
        source.mask(5)


def test_a_list_may_name_image_and_mask_by_their_paths(tmp_path: Path) -> None:
    root = sets.voc2012(tmp_path)
    sets.save_mask(root / "SegmentationClassAug" / "2010_1.png", np.full((6, 9), 4, dtype=np.uint8))
    lines = ["/JPEGImages/2010_1.jpg /SegmentationClassAug/2010_1.png"]
    write_lines(root / "ImageSets" / "Segmentation" / "aug.txt", lines)
    assert np.unique(voc2012_aug(tmp_path, NONE).mask(5)).tolist() == [4]


def test_sbd_is_found_beside_voc_and_nowhere_else(tmp_path: Path) -> None:
    for name in ("one", "two"):
        sets.boundaries(tmp_path / "others" / name)
    root = sets.voc2012(tmp_path / "others" / "mine")
    (root.parent / "cls").mkdir()  # a folder of that name alone is not SBD
    with pytest.raises(UnfitError, match="the masks of SBD are not"):
        voc2012_aug(root, NONE)
    sets.boundaries(tmp_path / "others" / "mine")
    assert len(voc2012_aug(root, NONE).names) == len(voc2012_aug(root.parent, NONE).names) == 6
    flat = sets.voc(tmp_path / "others" / "flat", {"train": ["a"], "val": ["b"]})
    with pytest.raises(UnfitError, match="the masks of SBD are not"):
        voc2012_aug(flat, NONE)


def test_sbd_that_is_there_in_part_is_not_absent(tmp_path: Path) -> None:
    root = sets.voc2012(tmp_path)
    dataset = sets.boundaries(tmp_path)
    (dataset / "val.txt").unlink()
    with pytest.raises(
        UnfitError, match=r"dataset: masks of SBD are there, but not val\.txt; was .* unpacked"
    ) as raised:
        voc2012_aug(tmp_path, NONE)
    assert not isinstance(raised.value, MissingError)
    shutil.rmtree(dataset.parent)
    sets.save_mask(root / "SegmentationClassAug" / "2010_1.png", np.full((6, 9), 4, dtype=np.uint8))
    with pytest.raises(UnfitError, match=r"SegmentationClassAug: .* no list of them: .* has none of trainaug\.txt, t"):
        voc2012_aug(tmp_path, NONE)


def test_train_aug_is_told_from_images_of_your_own(tmp_path: Path) -> None:
    root = sets.voc2012(tmp_path)
    assert not is_train_aug(tmp_path) and not is_train_aug(tmp_path / "nowhere")
    sets.boundaries(tmp_path)
    assert is_train_aug(tmp_path) and is_train_aug(root)
    write_lines(tmp_path / "classes.txt", ["sky", "road"])
    assert not is_train_aug(tmp_path)


def test_masks_of_sbd_that_are_none(tmp_path: Path) -> None:
    sets.voc2012(tmp_path)
    root = sets.boundaries(tmp_path)
    for content in ({"other": 1}, {"GTcls": {"Boundaries": [1]}}, {"GTcls": {"Segmentation": np.zeros((2, 2))}}):
        savemat(root / "cls" / "2010_1.mat", content)
        with pytest.raises(UnfitError, match=r"2010_1.*GTcls"):
            voc2012_aug(tmp_path, NONE).mask(5)


def test_what_is_missing_is_told_with_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no path of voc2012 is given"):
        voc2012(None, NONE)
    with pytest.raises(MissingError, match="no path of voc2012_aug is given"):
        voc2012_aug(None, NONE)
    (tmp_path / "VOCtrainval_11-May-2012.tar").write_bytes(b"x" * 300)
    for opened in (voc2012, voc2012_aug):
        with pytest.raises(UnfitError, match=r"(?s)unpack VOCtrainval_11-May-2012\.tar\).*To get it: unpack https"):
            opened(tmp_path, NONE)
    sets.voc2012(tmp_path)
    for place in (tmp_path, sets.parquet(tmp_path / "hub")):
        with pytest.raises(
            MissingError, match=r"(?s)VOC 2012 is there, but the masks of SBD are not: .*benchmark\.tgz"
        ):
            voc2012_aug(place, NONE)


@pytest.mark.parametrize("column", ["mask", "annotation", "label"])
def test_parquet_as_on_the_hub(tmp_path: Path, column: str) -> None:
    source = voc2012(sets.parquet(tmp_path / "hub", column=column), NONE)
    assert source.parts.tolist() == [TRAIN, TRAIN, TEST, TEST]
    assert source.names[2] == "val-00000-of-00001.parquet/000000"
    assert source.size(0) == (6, 9) and len(source.files()) == 2
    for index in range(4):
        image, mask = read_pair(source, index)
        assert np.array_equal(image, sets.picture(index)) and np.array_equal(mask, sets.mask(index))


def test_parquet_without_masks_or_with_nulls(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pytest.raises(UnfitError, match=r"no column mask or label .* of masks; its columns are image, words$"):
        voc2012(sets.parquet(tmp_path / "hub", column="words"), NONE)
    content = [{"bytes": sets.png(sets.picture(0)), "path": None}]
    (tmp_path / "null").mkdir()
    masks = pa.array([None], type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": content, "mask": masks}), tmp_path / "null" / "train.parquet")
    with pytest.raises(UnfitError, match=r"train\.parquet/000000: null; expected .* in column mask$"):
        voc2012(tmp_path / "null", NONE).mask(0)
