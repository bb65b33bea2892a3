from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from coretune.spec.catalog import load_catalog
from coretune.spec.components import Catalog


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; nothing may touch the user's."""
    path = tmp_path / "cache"
    monkeypatch.setenv("CORETUNE_CACHE", str(path))
    monkeypatch.delenv("CORETUNE_DATA", raising=False)
    return path


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four images each, each image of its own colour and 24×16 pixels."""
    root = tmp_path / "photos"
    for c, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (24, 16), (c * 200, i * 60, 10)).save(root / name / f"{i}.png")
    return root
