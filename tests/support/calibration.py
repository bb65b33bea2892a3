"""DR-Tune's calibration written out with loops over plain numbers, and what it is tried on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WIDTH, CLASSES = 4, 3


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_rotation(seed: int, width: int = WIDTH) -> Tensor:
    q = torch.linalg.qr(gaussian(width, width, seed=seed)).Q
    q[:, 0] *= torch.det(q).sign()
    return q


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in row))
    return [value / length for value in row] if length > 0 else row


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def literal_calibration(
    rows: list[tuple[list[float], list[float], int]], rotation: list[list[float]], prototypes: list[list[float]]
) -> list[list[float]]:
    """ẑ with loops; a row is (pre-trained, fine-tuned, label)."""
    columns = list(zip(*rotation, strict=True))
    rotated = [[dot(unit(p), list(column)) for column in columns] for p, _, _ in rows]
    found = []
    for number, (_, _, label) in enumerate(rows):
        same = [k for k, row in enumerate(rows) if row[2] == label]
        sure = [math.exp(dot(unit(rows[k][1]), unit(prototypes[label]))) for k in same]
        moved = []
        for d in range(len(rotated[0])):
            before = sum(rotated[k][d] for k in same) / len(same)
            after = sum(s * unit(rows[k][1])[d] for s, k in zip(sure, same, strict=True)) / sum(sure)
            moved.append(rotated[number][d] + after - before)
        found.append(unit(moved))
    return found
