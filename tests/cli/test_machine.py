from __future__ import annotations

import errno
from pathlib import Path

import pytest
from support.control_group import GIB, named

from coretune_cli.machine import cores, existing, memory, write_problem


def test_a_limit_of_the_group_counts(tmp_path: Path) -> None:
    named(tmp_path, {"cpu.max": "50000 100000\n", "memory.max": f"{GIB // 64}\n", "memory.current": "0\n"})
    assert cores(tmp_path) == 0.5
    assert memory(tmp_path) == (GIB // 64, GIB // 64)


def test_existing(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path


def test_write_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_problem(tmp_path / "not" / "yet") is None
    assert list(tmp_path.iterdir()) == []

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert write_problem(tmp_path) == f"{tmp_path}: No space left on device"
    (tmp_path / "file").write_text("")
    monkeypatch.undo()
    assert "file" in str(write_problem(tmp_path / "file"))
