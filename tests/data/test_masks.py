from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import mask_sets as sets

from coretune.data.masks import MaskSource, decode_mask, read_pair
from coretune.data.sources.voc import voc
from coretune.errors import StorageError, UnfitError
from coretune.spec.catalog.mask_sets import VocParameters


@given(seed=st.integers(0, 1000), mode=st.sampled_from(["P", "L"]), form=st.sampled_from(["PNG", "BMP", "TIFF"]))
def test_indices_and_grey_values_are_the_classes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mode: str, form: str
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (5, 7), dtype=np.uint8)
    path = tmp_path_factory.mktemp("masks") / "one"
    image = Image.fromarray(values, mode=mode)
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    image.save(path, form)
    assert np.array_equal(decode_mask(path, "one"), values)
    assert np.array_equal(decode_mask(path.read_bytes(), "one"), values)


def test_black_and_white_are_two_classes(tmp_path: Path) -> None:
    values = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8)
    Image.fromarray(values * 255).convert("1").save(tmp_path / "a.png")
    assert decode_mask(tmp_path / "a.png", "a").tolist() == values.tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "LA", "F"])
def test_colours_and_wide_numbers_are_no_classes(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "a.tif")
    with pytest.raises(UnfitError, match=rf"^mask of a: a mask of mode {mode}; expected one number a pixel"):
        decode_mask(tmp_path / "a.tif", "mask of a")


@pytest.mark.parametrize("form", ["JPEG", "JPEG2000"])
def test_values_that_were_compressed_with_loss_are_no_classes(tmp_path: Path, form: str) -> None:
    Image.new("L", (16, 16), 3).save(tmp_path / "a", form)
    with pytest.raises(UnfitError, match=rf"^a: a mask compressed with loss \({form}\).*use PNG$"):
        decode_mask(tmp_path / "a", "a")


@pytest.mark.parametrize("depth", [2, 4])
def test_grey_files_of_few_bits_keep_their_values(tmp_path: Path, depth: int) -> None:
    """Pillow writes none: two rows of a grey PNG file by hand, each filtered by nothing."""
    values = np.arange(8, dtype=np.uint8).reshape(2, 4) % 2**depth
    bits = "".join(f"{value:0{depth}b}" for value in values.ravel())
    rows = int(bits, 2).to_bytes(len(bits) // 8, "big")
    half = len(rows) // 2

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 4, 2, depth, 0, 0, 0, 0)
    body = zlib.compress(b"\0" + rows[:half] + b"\0" + rows[half:])
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert np.array_equal(decode_mask(content, "a"), values)
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(decode_mask(tmp_path / "a.png", "a"), values)


def test_what_is_no_image_and_what_is_gone(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"^a: an HTML page, not an image$"):
        decode_mask(b"<!DOCTYPE html><html>", "a")
    with pytest.raises(StorageError, match=r"^a: No such file or directory$"):
        decode_mask(tmp_path / "a.png", "a")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return sets.voc(tmp_path / "mine", {"train": ["a", "b", "c"]}, classes=3)


def opened(root: Path, classes: int = 3) -> MaskSource:
    return voc(root, VocParameters(classes=classes))


def test_a_pair(three: Path) -> None:
    image, mask = read_pair(opened(three), 1)
    assert np.array_equal(image, sets.picture(1, (7, 9))) and np.array_equal(mask, sets.mask(1, (7, 9), 3))


def test_a_mask_of_another_size(three: Path) -> None:
    sets.save_mask(three / "SegmentationClass" / "a.png", sets.mask(0, (9, 6), 3))
    with pytest.raises(UnfitError, match=r"^SegmentationClass/a\.png: the mask is 6×9 pixels, the image 9×6$"):
        read_pair(opened(three), 0)


def test_values_beyond_the_classes(three: Path) -> None:
    with pytest.raises(
        UnfitError, match=r"^SegmentationClass/a\.png: the mask has value 2; expected 0 to 1, or 255 for void$"
    ):
        read_pair(opened(three, classes=2), 0)


def test_all_that_is_wrong_is_said_at_once(three: Path) -> None:
    (three / "JPEGImages" / "a.jpg").write_bytes(b"")
    Image.new("RGB", (9, 6)).save(three / "SegmentationClass" / "a.png")
    with pytest.raises(
        UnfitError, match=r"^JPEGImages/a\.jpg: an empty file; SegmentationClass/a\.png: a mask of mode RGB;"
    ):
        read_pair(opened(three), 0)
    sets.save_mask(three / "SegmentationClass" / "b.png", np.full((2, 2), 7, dtype=np.uint8))
    with pytest.raises(UnfitError, match=r"the mask is 2×2 pixels, the image 9×7; .*/b\.png: the mask has value 7;"):
        read_pair(opened(three), 1)
