"""Images with masks whose classes can be told by colour, in VOC's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from support.image_sets import write_lines
from support.mask_sets import Array, save_mask, save_picture

CLASSES = ("ground", "traffic light", "tree")
COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])


def scene(seed: int, size: tuple[int, int] = (40, 48), noise: float = 20.0) -> tuple[Array, Array]:
    """Returns an image, (H, W, 3), and its mask: a square of each class on ground, and a border of void."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, dtype=np.uint8)
    for c in (1, 2):
        top, left = rng.integers(0, size[0] - 16), rng.integers(0, size[1] - 16)
        mask[top : top + 16, left : left + 16] = c
    image = np.clip(COLOURS[mask] + rng.normal(0, noise, (*size, 3)), 0, 255).astype(np.uint8)
    mask[:2] = 255
    return image, mask


def scenes(root: Path, parts: Mapping[str, int], *, classes: tuple[str, ...] = CLASSES) -> Path:
    """Writes so many scenes of each list; every third one is larger than the others."""
    seed = 0
    for part, count in parts.items():
        names = [f"{part}{index:02d}" for index in range(count)]
        write_lines(root / "ImageSets" / "Segmentation" / f"{part}.txt", names)
        for name in names:
            image, mask = scene(seed, (48, 48) if seed % 3 == 2 else (40, 48))
            save_picture(root / "JPEGImages" / f"{name}.jpg", image)
            save_mask(root / "SegmentationClass" / f"{name}.png", mask)
            seed += 1
    write_lines(root / "classes.txt", list(classes))
    return root
