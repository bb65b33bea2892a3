from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support import image_sets as sets

from coretune.data.source import TEST, TRAIN
from coretune.data.sources.cifar import CifarArchive
from coretune.data.sources.cifar10 import BINARY, PICKLES
from coretune.errors import UnfitError


def test_both_archives_hold_the_same_images(tmp_path: Path) -> None:
    pickles = CifarArchive(sets.cifar10(tmp_path) / "cifar-10-batches-py", PICKLES)
    binary = CifarArchive(sets.cifar10_binary(tmp_path) / "cifar-10-batches-bin", BINARY)
    assert pickles.classes == binary.classes == tuple(sets.CIFAR10)
    assert (
        pickles.labels.tolist() == binary.labels.tolist() == [(c + seed) % 10 for seed in range(6) for c in range(10)]
    )
    assert pickles.parts.tolist() == binary.parts.tolist() == [TRAIN] * 50 + [TEST] * 10
    row = np.random.default_rng(5).integers(0, 256, (10, 3072), dtype=np.uint8)[3]
    expected = np.empty((32, 32, 3), np.uint8)
    for colour in range(3):
        for y in range(32):
            for x in range(32):
                expected[y, x, colour] = row[1024 * colour + 32 * y + x]
    for source, name in ((pickles, "test_batch/00003"), (binary, "test_batch.bin/00003")):
        assert source.names[53] == name
        np.testing.assert_array_equal(source.image(53), expected)


def test_opening_reads_no_batch(tmp_path: Path) -> None:
    root = sets.cifar10(tmp_path) / "cifar-10-batches-py"
    for name in PICKLES.parts:
        (root / name).write_bytes(b"broken")
    source = CifarArchive(root, PICKLES)
    with pytest.raises(UnfitError, match="data_batch_1: is no pickle of CIFAR"):
        source.labels  # noqa: B018


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    root = sets.cifar10_binary(tmp_path) / "cifar-10-batches-bin"
    os.truncate(root / "data_batch_2.bin", 5000)
    with pytest.raises(UnfitError, match=r"data_batch_2\.bin: 5,000 bytes, which is no multiple of 3073: truncated"):
        CifarArchive(root, BINARY).labels  # noqa: B018
    (root / "data_batch_2.bin").write_bytes(bytes([11]) * 3073)
    with pytest.raises(UnfitError, match=r"data_batch_2\.bin: labels from 11 to 11; there are 10 classes"):
        CifarArchive(root, BINARY).labels  # noqa: B018
    (root / "data_batch_2.bin").unlink()
    with pytest.raises(UnfitError, match=r"data_batch_2\.bin not there; was the archive unpacked to its end"):
        CifarArchive(root, BINARY)
