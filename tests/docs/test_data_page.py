"""The table of data sets is what the catalog declares."""

from __future__ import annotations

import re
from pathlib import Path

from coretune.spec.catalog.image_sets import SETS


def test_the_table_has_every_image_set(root: Path) -> None:
    text = (root / "docs" / "data.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", text, re.MULTILINE))
    for about in SETS:
        counts = ", ".join(f"{name} {count:,}" for name, count in about.counts.items())
        beside = "mean per class" if "mean_per_class" in about.metrics else ""
        cells = [cell.strip() for cell in rows[about.name].split("|")]
        assert cells == [str(about.classes), f"{about.size:,}", counts, beside]
