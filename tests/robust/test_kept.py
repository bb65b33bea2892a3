"""Rows of images that are done: kept by block, read whatever blocks they were in, and only of the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from support.attacked import ConvNet

from coretune.robust.kept import Kept, fingerprint, rows_of

ROWS = torch.tensor([[1.0, 0.0, 0.0, 0.0], [3.0, -1.0, 1.0, 0.0]])


def test_what_is_kept_is_read(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "partial", "a")
    assert kept.read() == ({}, {})
    kept.put(np.array([4, 9]), ROWS)
    kept.put(np.array([2]), ROWS[:1])
    assert kept.read()[0] == {4: [1, 0, 0, 0], 9: [3, -1, 1, 0], 2: [1, 0, 0, 0]}
    assert torch.equal(rows_of(kept.read()[0], [9, 4]), ROWS[[1, 0]])
    assert rows_of({}, []).shape == (0, 4)


def test_rows_of_another_model_and_what_is_broken_do_not_count(tmp_path: Path) -> None:
    Kept(tmp_path, "a").put(np.array([4, 9]), ROWS)
    assert Kept(tmp_path, "b").read() == ({}, {})
    (tmp_path / "1-1.json").write_text("[]")
    (tmp_path / "2-1.json").write_text('{"a": {"2": [1]}}')
    assert set(Kept(tmp_path, "a").read()[0]) == {4, 9}


def test_images_are_kept_with_their_rows_and_count_together(tmp_path: Path) -> None:
    pictures = torch.rand(2, 4, 4, 3)
    Kept(tmp_path, "a").put(np.array([2]), ROWS[:1])
    kept = Kept(tmp_path, "a", images=True)
    kept.put(np.array([4, 9]), ROWS, pictures)
    rows, images = kept.read()
    assert set(rows) == {4, 9}, "rows without images were taken"
    assert np.array_equal(images[9], pictures[1].numpy())
    assert set(Kept(tmp_path, "a").read()[0]) == {2, 4, 9}
    assert Kept(tmp_path, "b", images=True).read() == ({}, {})
    (tmp_path / "4-2.safetensors").write_bytes(b"torn")
    assert kept.read() == ({}, {})
    kept.put(np.array([4, 9]), ROWS, pictures)
    kept.put(np.array([4, 8]), ROWS, pictures)
    Kept(tmp_path, "a").put(np.array([4, 9]), ROWS)
    assert kept.read() == ({}, {}), "images of another block were taken"


def test_nowhere_keeps_nothing() -> None:
    kept = Kept.of(None, ConvNet())
    kept.put(np.array([1]), ROWS[:1])
    assert kept == Kept() and kept.read() == ({}, {})


def test_a_model_is_known_by_its_weights_and_buffers() -> None:
    model = ConvNet()
    before = fingerprint(model)
    assert before == fingerprint(ConvNet())
    model.norm.running_var[0] += 1  # type: ignore[index, operator]
    assert fingerprint(model) != before
