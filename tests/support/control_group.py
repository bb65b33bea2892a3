"""Control groups as files, as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

GIB = 1 << 30


def named(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root
