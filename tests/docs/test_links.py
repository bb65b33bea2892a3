"""Every relative link and every anchor leads somewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Returns the anchors of a page, as GitHub makes them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken(page: Path, text: str, prose: dict[Path, str]) -> list[str]:
    """Returns the links of a page that lead nowhere."""
    wrong = []
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(prose.get(target, ""))):
            wrong.append(link)
    return wrong


def test_links_and_anchors_resolve(prose: dict[Path, str]) -> None:
    assert {page.name: broken(page, text, prose) for page, text in prose.items() if broken(page, text, prose)} == {}


def test_every_page_is_linked_from_the_index(root: Path, prose: dict[Path, str]) -> None:
    linked = set(LINK.findall(prose[root / "docs" / "index.md"]))
    assert {page.name for page in prose if page.parent.name == "docs" and page.name != "index.md"} <= linked


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    text = "# One\n[a](#one) [b](#two) [c](b.md) [d](https://example.org) [e](a.md#one)"
    page.write_text(text)
    assert broken(page, text, {page: text}) == ["#two", "b.md"]


def test_anchors_are_githubs() -> None:
    assert anchors("# A `b.C.d` (e)\n## A\n## A\n") == {"a-bcd-e", "a", "a-1"}
