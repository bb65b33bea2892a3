from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import mask_sets as sets

from coretune.data.blocks import BLOCK
from coretune.data.fingerprint import fingerprint
from coretune.data.mask_pack import PackedMasks, are_packed, pack_masks
from coretune.data.packing import Packing
from coretune.data.sources.voc import VocImages, voc
from coretune.errors import StorageError
from coretune.spec.catalog.mask_sets import VocParameters

N = 3 * BLOCK + 5


@pytest.fixture
def source(tmp_path: Path) -> VocImages:
    names = [f"i{index:03d}" for index in range(N)]
    root = sets.voc(tmp_path / "mine", {"train": names[:60], "val": names[60:80], "test": names[80:]}, classes=4)
    return opened(root)


def opened(root: Path) -> VocImages:
    return voc(root, VocParameters(classes=4))


def check(packed: PackedMasks, source: VocImages, but: tuple[int, ...] = ()) -> None:
    assert packed.names == source.names and packed.classes == ("0", "1", "2", "3")
    assert np.array_equal(packed.parts, source.parts)
    for index in range(N):
        if index not in but:
            image, mask = packed[index]
            assert np.array_equal(image, source.image(index)) and np.array_equal(mask, source.mask(index))
            assert not image.flags.writeable


@pytest.mark.parametrize("processes", [0, 2, None])
def test_images_and_masks_keep_their_size(source: VocImages, cache: Path, processes: int | None) -> None:
    found, told = fingerprint(source), list[Packing]()
    assert not are_packed(source, found, cache)
    packed = pack_masks(source, found, cache, told.append, processes=processes)
    check(packed, source)
    assert told[-1].done == told[-1].total == N
    assert are_packed(source, found, cache)
    assert packed.folder.parent == cache / "packs"


def test_a_pack_is_used_again_without_decoding(source: VocImages, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fingerprint(source)
    first = pack_masks(source, found, cache)
    for method in ("image", "mask", "size"):
        monkeypatch.setattr(VocImages, method, None)
    again = pack_masks(source, found, cache)
    assert again.folder == first.folder and np.array_equal(again[7][1], first[7][1])


def test_what_does_not_fit_is_named_and_leaves_the_others(source: VocImages, cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "JPEGImages" / "i003.jpg").write_bytes(b"")
    Image.new("RGB", (9, 6)).save(mine / "SegmentationClass" / "i040.png")
    sets.save_mask(mine / "SegmentationClass" / "i090.png", np.zeros((4, 4), dtype=np.uint8))
    packed = pack_masks(source, fingerprint(source), cache)
    assert [item.image for item in packed.unreadable] == [3, 40, 90]
    files = ["JPEGImages/i003.jpg", "SegmentationClass/i040.png", "SegmentationClass/i090.png"]
    assert [item.reason.split(":")[0] for item in packed.unreadable] == files
    check(packed, source, but=(3, 40, 90))
    assert tuple(packed.sizes[3]) == (0, 0) and packed[3][0].size == 0
    assert packed[40][0].shape == (7, 9, 3) and not packed[40][0].any()


def test_nothing_can_be_read(cache: Path, tmp_path: Path) -> None:
    root = sets.voc(tmp_path / "mine", {"train": ["a", "b"]}, classes=4)
    for name in ("a", "b"):
        (root / "JPEGImages" / f"{name}.jpg").write_bytes(b"")
    packed = pack_masks(opened(root), fingerprint(opened(root)), cache)
    assert len(packed.unreadable) == 2


def test_a_header_that_lies(source: VocImages, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = VocImages.size
    monkeypatch.setattr(VocImages, "size", lambda self, index: (3, 3) if index == 5 else right(self, index))
    packed = pack_masks(source, fingerprint(source), cache, processes=0)
    assert [item.reason for item in packed.unreadable] == ["i005: its header says 3×3 pixels, wrongly"]
    check(packed, source, but=(5,))


def test_a_fault_of_the_machine_while_sizes_are_read_is_none_of_the_images(
    source: VocImages, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fingerprint(source)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            pack_masks(source, found, cache)
    check(pack_masks(source, found, cache), source)


def _truncate(folder: Path) -> None:
    content = (folder / "images.u8").read_bytes()
    (folder / "images.u8").write_bytes(content[:-1])


def _foreign(folder: Path) -> None:
    meta = json.loads((folder / "pack.json").read_text())
    (folder / "pack.json").write_text(json.dumps({**meta, "fingerprint": "0" * 64}))


def _fewer(folder: Path) -> None:
    np.save(folder / "sizes.npy", np.load(folder / "sizes.npy")[:-1])


@pytest.mark.parametrize("damage", [_truncate, _foreign, _fewer])
def test_a_damaged_pack_is_made_again(source: VocImages, cache: Path, damage: Callable[[Path], None]) -> None:
    found = fingerprint(source)
    folder = pack_masks(source, found, cache).folder
    damage(folder)
    assert not are_packed(source, found, cache)
    check(pack_masks(source, found, cache), source)


def test_an_interrupted_packing_goes_on(source: VocImages, cache: Path) -> None:
    def interrupt(now: Packing) -> None:
        if now.done == 2 * BLOCK:
            raise KeyboardInterrupt

    found, told = fingerprint(source), list[Packing]()
    with pytest.raises(KeyboardInterrupt):
        pack_masks(source, found, cache, interrupt, processes=0)
    check(pack_masks(source, found, cache, told.append, processes=0), source)
    assert told[0].done == 2 * BLOCK


def test_a_cache_that_is_no_folder(source: VocImages, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write the packed images"):
        pack_masks(source, fingerprint(source), tmp_path / "file")
