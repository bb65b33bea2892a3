from __future__ import annotations

from pathlib import Path

import pytest

from coretune.data.roots import cache_root, data_root


def test_roots_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path / "d"))
    assert cache_root() == tmp_path / "c"
    assert data_root() == tmp_path / "d"


def test_roots_without_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CORETUNE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "coretune"
    assert data_root() is None
    monkeypatch.setenv("CORETUNE_DATA", "~/images")
    assert data_root() == tmp_path / "images"
