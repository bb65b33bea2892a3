from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coretune.data.source import UNDECIDED
from coretune.data.sources.images import Images, lies_in_no_classes
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters


def made(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2), (number, 0, 0)).save(root / name, "PNG")
    return root


def test_all_images_below_a_folder_are_of_one_class(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    source = Images(made(tmp_path, "b.png", "a/2.png", "a/deep/1.PNG", ".hidden.png"), FolderParameters())
    assert source.names == ("a/2.png", "a/deep/1.PNG", "b.png") and source.classes == ("image",)
    assert source.labels.tolist() == [0, 0, 0] and (source.parts == UNDECIDED).all()
    assert source.files()[0] == ("a/2.png", tmp_path / "a/2.png")
    np.testing.assert_array_equal(source.image(2), np.full((2, 3, 3), [0, 0, 0]))


def test_without_a_folder_or_an_image_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="absent is no folder"):
        Images(tmp_path / "absent", FolderParameters())
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UnfitError, match=r"no image below it \(found 1 files of other kinds\)"):
        Images(tmp_path, FolderParameters())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "b.png"], True),
        (["a.png", "cats/1.png", "dogs/1.png"], True),
        (["all/1.png", "all/2.png"], True),
        (["cats/1.png", "dogs/1.png"], False),
        (["train/cats/1.png", "val/cats/1.png"], False),
    ],
)
def test_what_cannot_be_a_folder_per_class(tmp_path: Path, names: list[str], expected: bool) -> None:
    assert lies_in_no_classes(made(tmp_path, *names)) == expected
