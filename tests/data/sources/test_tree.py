from __future__ import annotations

from pathlib import Path

import pytest

from coretune.data.sources.tree import scan
from coretune.errors import UnfitError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_images_by_extension_hidden_and_empty_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JPG", "b/1.jpeg", "b/.3.jpg", "b/notes.txt", "a/deep/er/x.Png", ".git/y.png", "__MACOSX/z.png")
    touch(tmp_path, "empty/readme.md")
    tree = scan(tmp_path)
    assert list(tree.folders) == ["a", "b"]
    assert tree.folders["b"].images == ("1.jpeg", "2.JPG")
    assert tree.folders["a"].below("a") == ("a/deep/er/x.Png",)
    assert (tree.count(), tree.others) == (3, 2)


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    touch(tmp_path / "store", "1.png")
    root = touch(tmp_path / "root", "a/0.png")
    (root / "b").symlink_to(tmp_path / "store")
    (root / "a" / "circle").symlink_to(root)
    tree = scan(root)
    assert tree.folders["b"].images == ("1.png",)
    assert tree.count() == 2


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="absent: cannot be read: No such file"):
        scan(tmp_path / "absent")


def test_a_name_that_ends_like_an_image_may_be_a_folder(tmp_path: Path) -> None:
    assert scan(touch(tmp_path, "cat.png/1.png")).folders["cat.png"].images == ("1.png",)
