"""Small sets of images with masks, in the layouts of PASCAL VOC and SBD."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from support.image_sets import write_lines

Array = NDArray[np.uint8]


def picture(seed: int, size: tuple[int, int] = (6, 9)) -> Array:
    """Returns an image, (H, W, 3), that differs from those of other seeds."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def mask(seed: int, size: tuple[int, int] = (6, 9), classes: int = 21) -> Array:
    """Returns a mask with a border of void."""
    values = np.random.default_rng(1000 + seed).integers(0, classes, size, dtype=np.uint8)
    values[0] = 255
    return values


def save_mask(path: Path, values: Array) -> Path:
    """Writes a mask as VOC does: an indexed PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(values))
    return path


def save_picture(path: Path, values: Array) -> Path:
    """Writes an image without loss under the name that VOC gives it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, "PNG")
    return path


def voc(root: Path, parts: Mapping[str, Sequence[str]], *, classes: int = 21) -> Path:
    """Writes images, masks and lists, by list; the seed of an image is its place among all names."""
    names = [name for listed in parts.values() for name in listed]
    for seed, name in enumerate(names):
        size = (6 + seed % 3, 9)
        save_picture(root / "JPEGImages" / f"{name}.jpg", picture(seed, size))
        save_mask(root / "SegmentationClass" / f"{name}.png", mask(seed, size, classes))
    for part, listed in parts.items():
        write_lines(root / "ImageSets" / "Segmentation" / f"{part}.txt", list(listed))
    return root


def voc2012(folder: Path) -> Path:
    """Writes the archive of VOC 2012, unpacked: three images to train, two to test, and one without a mask."""
    root = voc(folder / "VOCdevkit" / "VOC2012", {"train": ["2007_1", "2007_2", "2009_1"], "val": ["2008_1", "2008_2"]})
    save_picture(root / "JPEGImages" / "2010_1.jpg", picture(50))
    return root


def boundaries(folder: Path) -> Path:
    """Writes the archive of SBD, unpacked: an image of VOC's train, one of its val, and one that it has no mask of."""
    root = folder / "benchmark_RELEASE" / "dataset"
    (root / "cls").mkdir(parents=True)
    for seed, name in enumerate(["2007_1", "2008_1", "2010_1"]):
        values = np.full((6, 9), seed + 1, dtype=np.uint8)
        content = {"GTcls": {"Boundaries": [1], "Segmentation": values, "CategoriesPresent": [seed + 1]}}
        savemat(root / "cls" / f"{name}.mat", content)
    write_lines(root / "train.txt", ["2007_1", "2010_1"])
    write_lines(root / "val.txt", ["2008_1"])
    return root


def png(values: Array) -> bytes:
    """Returns the content of an image file; a plane of values as an indexed one."""
    file = io.BytesIO()
    image = Image.fromarray(values, mode="P" if values.ndim == 2 else "RGB")
    if values.ndim == 2:
        image.putpalette([value % 256 for value in range(0, 768 * 7, 7)])
    image.save(file, "png")
    return file.getvalue()


def parquet(root: Path, parts: Sequence[str] = ("train", "val"), *, column: str = "mask") -> Path:
    """Writes a mirror as on the Hugging Face hub, two images of each part."""
    root.mkdir(parents=True, exist_ok=True)
    for p, part in enumerate(parts):
        seeds = (2 * p, 2 * p + 1)
        table = {
            "image": [{"bytes": png(picture(seed)), "path": None} for seed in seeds],
            column: [{"bytes": png(mask(seed)), "path": None} for seed in seeds],
        }
        pq.write_table(pa.table(table), root / f"{part}-00000-of-00001.parquet")
    return root
