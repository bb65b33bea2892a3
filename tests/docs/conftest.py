"""The pages, and what stands in them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Blocks = Callable[[str], list[tuple[str, str]]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def pages() -> dict[Path, str]:
    """All pages, by path."""
    return {path: path.read_text(encoding="utf-8") for path in PAGES}


@pytest.fixture(scope="session")
def prose(pages: dict[Path, str]) -> dict[Path, str]:
    """All pages without their fenced blocks."""
    return {path: FENCE.sub("", text) for path, text in pages.items()}


@pytest.fixture(scope="session")
def blocks(pages: dict[Path, str]) -> Blocks:
    """Returns the fenced blocks of a language, each with its page's name."""

    def find(language: str) -> list[tuple[str, str]]:
        return [
            (path.name, body) for path, text in pages.items() for name, body in FENCE.findall(text) if name == language
        ]

    return find


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Imports a script of docs/."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
