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
    assert kept.read() == {}
    kept.put(np.array([4, 9]), ROWS)
    kept.put(np.array([2]), ROWS[:1])
    assert kept.read() == {4: [1, 0, 0, 0], 9: [3, -1, 1, 0], 2: [1, 0, 0, 0]}
    assert torch.equal(rows_of(kept.read(), [9, 4]), ROWS[[1, 0]])
    assert rows_of({}, []).shape == (0, 4)


def test_rows_of_another_model_and_what_is_broken_do_not_count(tmp_path: Path) -> None:
    Kept(tmp_path, "a").put(np.array([4, 9]), ROWS)
    assert Kept(tmp_path, "b").read() == {}
    (tmp_path / "1-1.json").write_text("[]")
    (tmp_path / "2-1.json").write_text('{"a": {"2": [1]}}')
    assert set(Kept(tmp_path, "a").read()) == {4, 9}


def test_nowhere_keeps_nothing() -> None:
    kept = Kept.of(None, ConvNet())
    kept.put(np.array([1]), ROWS[:1])
    assert kept == Kept() and kept.read() == {}


def test_a_model_is_known_by_its_weights_and_buffers() -> None:
    model = ConvNet()
    before = fingerprint(model)
    assert before == fingerprint(ConvNet())
    model.norm.running_var[0] += 1  # type: ignore[index, operator]
    assert fingerprint(model) != before
