"""Images, draws and specs that augmentation is tested with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coretune.data.augment import columns
from coretune.data.augment.columns import COLUMNS, TABLES
from coretune.data.draws import uniforms
from coretune.spec.augment import AugmentSpec

EVERYTHING = AugmentSpec(crop_scale=(0.3, 0.9), flip=True, rotation=25, brightness=0.4, contrast=0.4)


MOCO = AugmentSpec(
    crop_scale=(0.2, 1.0),
    flip=True,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    jitter_probability=0.8,
    grey=0.2,
)


FIRST_TABLE = [
    AugmentSpec(),
    AugmentSpec(flip=True),
    AugmentSpec(crop_scale=(0.2, 1.0), flip=True),
    AugmentSpec(rotation=15),
    AugmentSpec(brightness=0.5),
    AugmentSpec(contrast=0.5),
    EVERYTHING,
]


SPECS = [
    *FIRST_TABLE,
    AugmentSpec(saturation=1.0),
    AugmentSpec(hue=0.5),
    AugmentSpec(grey=0.5),
    AugmentSpec(brightness=0.5, jitter_probability=0.5),
    MOCO,
    AugmentSpec(crop_padding=2, flip=True),
    AugmentSpec(crop_padding=3, crop_fill="reflection", vertical_flip=True, rotation=20),
    AugmentSpec(crop_padding=6, rotation=20, rotation_fill="black"),
    AugmentSpec(crop_scale=(0.3, 0.9), rotation=20, rotation_fill="black", vertical_flip=True),
    AugmentSpec(blur=0.6),
    MOCO.replace(jitter_order="shuffled", blur=0.5, blur_kernel=7),
]


def noise(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, side, side, 3), generator=generator, dtype=torch.uint8)


def drawn(n: int, seed: int = 0) -> Tensor:
    """Draws of all columns."""
    tables = (uniforms(seed, table.purpose, 0, n, table.columns) for table in TABLES)
    return torch.from_numpy(np.concatenate(list(tables), axis=1))


def fixed(n: int, **values: float) -> Tensor:
    """Draws of 1/2 but for some columns, `angle=0.25`."""
    draws = torch.full((n, COLUMNS), 0.5)
    for name, value in values.items():
        draws[:, getattr(columns, name.upper())] = value
    return draws


def vivid(n: int = 0) -> Tensor:
    """n images of noise, then eight of a few levels a channel: grey, black, white, pure colours, ties of channels."""
    few = noise(8, 10, 1) // 128 * 255
    few[0], few[1], few[2] = 0, 255, 93
    few[3, ..., 1] = few[3, ..., 0]
    few[4] = noise(8, 10, 2)[4]
    few[4, ..., 2] = few[4, ..., 1]
    few[5] //= 255  # as dark as can be
    return torch.cat([noise(n, 10), few])


def bilinear(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Interpolates (3, H, W) at all pairs of real rows and columns, by hand."""
    r0, c0 = rows.floor().long(), columns.floor().long()
    r1, c1 = (r0 + 1).clamp(max=image.shape[1] - 1), (c0 + 1).clamp(max=image.shape[2] - 1)
    fr, fc = (rows - r0)[:, None], (columns - c0)[None, :]
    upper = image[:, r0][:, :, c0] * (1 - fc) + image[:, r0][:, :, c1] * fc
    lower = image[:, r1][:, :, c0] * (1 - fc) + image[:, r1][:, :, c1] * fc
    return upper * (1 - fr) + lower * fr
