from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from coretune.data.decode import TURNS, decode, decode_bytes
from coretune.errors import UnfitError


def saved(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)
    found = decode(path, path.name)
    assert found.dtype == np.uint8
    assert found.shape[2] == 3
    return found


def ramp() -> np.ndarray:
    return np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def test_rgb_is_exact(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(saved(Image.fromarray(pixels), tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "pgm", "gif"])
def test_grey_is_repeated(tmp_path: Path, suffix: str) -> None:
    found = saved(Image.fromarray(ramp()), tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(found, np.repeat(ramp()[:, :, None], 3, axis=2))


def test_black_and_white(tmp_path: Path) -> None:
    found = saved(Image.fromarray(ramp() > 100), tmp_path / "a.png")
    np.testing.assert_array_equal(found[..., 0], np.where(ramp() > 100, 255, 0))


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    np.testing.assert_array_equal(saved(image, tmp_path / "a.png"), [[[255, 0, 0], [0, 0, 255]]])


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], dtype=np.uint8)
    found = saved(Image.fromarray(pixels), tmp_path / "a.png")
    np.testing.assert_array_equal(found[0, :2], [[10, 20, 30], [255, 255, 255]])
    assert abs(int(found[0, 2, 0]) - 127) <= 1


def test_grey_with_alpha_and_transparent_palette_entry_lie_on_white(tmp_path: Path) -> None:
    layer = Image.new("LA", (2, 1))
    layer.putdata([(40, 255), (40, 0)])
    np.testing.assert_array_equal(saved(layer, tmp_path / "a.png")[0, :, 0], [40, 255])
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putdata([0, 1])
    found = saved(palette, tmp_path / "b.png", transparency=1)
    np.testing.assert_array_equal(found, [[[255, 0, 0], [255, 255, 255]]])
    opaque = saved(palette, tmp_path / "c.png", transparency=b"\xff\x00")
    np.testing.assert_array_equal(opaque, found)


INKS = [(255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (0, 0, 0, 0), (60, 120, 30, 80)]
"""Cyan, magenta, yellow, black, bare paper, and a mixture: 0 is no ink, 255 all of it."""


def inked(inks: tuple[int, ...]) -> np.ndarray:
    """The colour of inks on white paper."""
    cyan, magenta, yellow, black = inks
    return np.array([(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)])


@pytest.mark.parametrize("inks", INKS)
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_converted(tmp_path: Path, suffix: str, inks: tuple[int, ...]) -> None:
    """JPEGs hold it inverted, as Adobe's programs write them; TIFFs as it is."""
    options = {"quality": 100} if suffix == "jpg" else {}
    found = saved(Image.new("CMYK", (16, 16), inks), tmp_path / f"a.{suffix}", **options)
    assert np.abs(found - inked(inks)).max() <= 3
    if suffix == "jpg":
        assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()


@pytest.mark.parametrize("inks", INKS)
def test_cmyk_as_luminance_and_colour_is_converted(tmp_path: Path, inks: tuple[int, ...]) -> None:
    """Photoshop's usual CMYK JPEG (YCCK): the inks as Y, Cb and Cr, and black inverted."""
    luminance = Image.new("RGB", (1, 1), inks[:3]).convert("YCbCr").getpixel((0, 0))
    assert isinstance(luminance, tuple)
    stored = (*(255 - value for value in luminance), inks[3])  # the writer inverts all four
    buffer = io.BytesIO()
    Image.new("CMYK", (16, 16), stored).save(buffer, "JPEG", quality=100)
    content = bytearray(buffer.getvalue())
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    content[transform] = 2
    (tmp_path / "a.jpg").write_bytes(content)
    assert np.abs(decode(tmp_path / "a.jpg", "a.jpg") - inked(inks)).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    found = saved(Image.fromarray(values), tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(found[0, :, 0], [0, 1, 128, 255])


def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path) -> None:
    rows = b"\0" + struct.pack(">6H", 0x1234, 0x8000, 0xFFFF, 0, 0x0100, 0xAB00)
    (tmp_path / "a.png").write_bytes(png(2, 1, depth=16, kind=2, data=rows))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "a"), [[[0x12, 0x80, 0xFF], [0, 1, 0xAB]]])


def test_16_bits_with_transparency_lie_on_white(tmp_path: Path) -> None:
    colour = b"\0" + struct.pack(">8H", 0x1234, 0x8000, 0xFF00, 0xFFFF, 0x1234, 0x8000, 0xFF00, 0)
    (tmp_path / "a.png").write_bytes(png(2, 1, depth=16, kind=6, data=colour))
    np.testing.assert_array_equal(decode(tmp_path / "a.png", "a"), [[[0x12, 0x80, 0xFF], [255, 255, 255]]])
    grey = b"\0" + struct.pack(">4H", 0x4000, 0xFFFF, 0x4000, 0)
    (tmp_path / "b.png").write_bytes(png(2, 1, depth=16, kind=4, data=grey))
    np.testing.assert_array_equal(decode(tmp_path / "b.png", "b")[0, :, 0], [0x40, 255])


def test_floating_point_from_0_to_1_is_scaled_and_other_ranges_are_refused(tmp_path: Path) -> None:
    found = saved(Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32)), tmp_path / "a.tif")
    np.testing.assert_array_equal(found[0, :, 0], [0, 128, 255])
    for low, high in ((0.0, 300.0), (-1.0, 1.0), (0.0, float("nan"))):
        Image.fromarray(np.array([[low, high]], dtype=np.float32)).save(tmp_path / "b.tif")
        with pytest.raises(UnfitError, match=r"b\.tif: grey values from"):
            decode(tmp_path / "b.tif", "b.tif")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, *TURNS])
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    """A picture stored turned comes out upright: left half dark, top right corner bright."""
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:, 24:] = 120
    upright[:16, 24:] = 250
    stored = Image.fromarray(upright)
    if orientation in TURNS:
        inverse = {6: 8, 8: 6}.get(orientation, orientation)
        stored = stored.transpose(TURNS[inverse])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    found = saved(stored, tmp_path / f"a.{suffix}", exif=exif)
    assert found.shape == (32, 48, 3)
    assert np.abs(found[4:12, 30:44].astype(int) - 250).max() < 15
    assert np.abs(found[20:28, 30:44].astype(int) - 120).max() < 15
    assert found[:, :18].max() < 15


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "jpg"), ("L", "png"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png")]
)
def test_exif_rotation_is_applied_to_every_kind(tmp_path: Path, mode: str, suffix: str) -> None:
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[:, 16:] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the right half as stored is the lower one as seen
    found = saved(Image.fromarray(stored).convert(mode), tmp_path / f"a.{suffix}", exif=exif)
    assert found.shape == (32, 16, 3)
    assert found[:14].max() < 15 and found[18:].min() > 240


def test_a_16_bit_picture_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    found = saved(Image.fromarray(np.array([[0, 257, 65535]], dtype=np.uint16)), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(found[:, 0, 0], [255, 1, 0])


def test_broken_exif_data_turn_nothing(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(ramp()).convert("RGB").save(buffer, "JPEG", exif=b"Exif\0\0nonsense that is no TIFF header")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert decode(tmp_path / "a.jpg", "a.jpg").shape == (6, 8, 3)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for suffix in ("gif", "webp", "png"):
        found = saved(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
        np.testing.assert_array_equal(found[0, 0], [255, 0, 0])


def test_the_first_frame_of_a_transparent_animation_lies_on_white(tmp_path: Path) -> None:
    first = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    first.paste((200, 0, 0, 255), (0, 0, 4, 8))
    second = Image.new("RGBA", (8, 8), (0, 0, 255, 100))  # libwebp gives up transparency that the last frame lacks
    for suffix in ("gif", "webp", "png"):
        found = saved(first, tmp_path / f"a.{suffix}", save_all=True, append_images=[second], lossless=True)
        np.testing.assert_array_equal(found[0, [0, 7]], [[200, 0, 0], [255, 255, 255]])


def test_the_first_of_several_pages(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    found = saved(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(found[0, 0], [255, 0, 0])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix))
    content = buffer.getvalue()
    for keep in (0.1, 0.5, 0.9):
        path = tmp_path / f"t.{suffix}"
        path.write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(UnfitError, match=rf"t\.{suffix}: .+"):
            decode(path, path.name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "HTML page"),
        (b"<HTML>not found</HTML>", "HTML page"),
        (b"just text", "not an image that Pillow can read"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnfitError, match=f"^cat/a.jpg: .*{reason}"):
        decode(tmp_path / "a.jpg", "cat/a.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp"])
def test_contents_in_memory_come_out_as_files_do(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, **({"exif": exif} if suffix in ("jpg", "png", "webp", "tif") else {}))
    found = decode_bytes(path.read_bytes(), "a")
    np.testing.assert_array_equal(found, decode(path, "a"))
    assert found.shape == ((7, 9, 3) if suffix in ("jpg", "png", "webp", "tif") else (9, 7, 3))
    with pytest.raises(UnfitError, match=r"^a: .+"):
        decode_bytes(path.read_bytes()[:40], "a")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"^a\.jpg: No such file or directory$"):
        decode(tmp_path / "a.jpg", "a.jpg")


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000, depth=8, kind=0, data=b"\0" * 100))
    with pytest.raises(UnfitError, match=r"bomb\.png: .*exceeds limit"):
        decode(tmp_path / "bomb.png", "bomb.png")


def png(width: int, height: int, *, depth: int, kind: int, data: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
