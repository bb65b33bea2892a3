from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION
from coretune.data.sources.folder import PARTS, Folder
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters


def opened(root: Path) -> Folder:
    return Folder(root, FolderParameters())


def made(root: Path, *names: str) -> Path:
    """Writes small images; the colour says which."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 2), (i, 0, 0)).save(root / name, "PNG")
    return root


def test_a_folder_per_class(tmp_path: Path) -> None:
    source = opened(made(tmp_path, "dog/2.png", "cat/10.png", "cat/deep/1.PNG", "Ant/x.jpeg"))
    assert source.classes == ("Ant", "cat", "dog")
    assert source.names == ("Ant/x.jpeg", "cat/10.png", "cat/deep/1.PNG", "dog/2.png")
    assert source.labels.tolist() == [0, 1, 1, 2]
    assert (source.parts == UNDECIDED).all()
    np.testing.assert_array_equal(source.image(2), np.full((2, 3, 3), [2, 0, 0]))


@pytest.mark.parametrize("name", [*PARTS, "Train", "VAL"])
def test_a_folder_per_part(tmp_path: Path, name: str) -> None:
    other = "training" if name.lower() == "train" else "train"
    if PARTS[name.lower()] == TRAIN:
        other = "test"
    source = opened(made(tmp_path, f"{name}/a/1.png", f"{name}/b/1.png", f"{other}/a/2.png", f"{other}/b/2.png"))
    found = {image.split("/")[0]: part for image, part in zip(source.names, source.parts.tolist(), strict=True)}
    assert found == {name: PARTS[name.lower()], other: PARTS[other]}
    assert source.classes == ("a", "b")


def test_three_parts(tmp_path: Path) -> None:
    root = made(tmp_path, *(f"{part}/{label}/0.png" for part in ("train", "val", "test") for label in "ab"))
    source = opened(root)
    assert source.names[:2] == ("test/a/0.png", "test/b/0.png")
    assert source.parts.tolist() == [TEST, TEST, TRAIN, TRAIN, VALIDATION, VALIDATION]
    assert source.labels.tolist() == [0, 1] * 3
    assert [path for _, path in source.files()] == [root / name for name in source.names]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert opened(made(tmp_path, "bus/1.png", "train/1.png", "car/1.png")).classes == ("bus", "car", "train")


def test_hidden_files_other_files_and_empty_folders_are_ignored(tmp_path: Path) -> None:
    made(tmp_path, "a/1.png", "b/1.png", ".cache/c/1.png", "a/._1.png", "__MACOSX/a/1.png")
    (tmp_path / "labels.csv").write_text("x")
    (tmp_path / "empty").mkdir()
    assert opened(tmp_path).names == ("a/1.png", "b/1.png")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.png", "2.png"], r"2 images \(1\.png, 2\.png\) lie in no class folder; expected <class>/<image>"),
        (["a/1.png", "b/1.png", "x.png"], r"1 images \(x\.png\) lie in no class folder beside the folders a, b"),
        (["train/x.png", "train/a/1.png", "train/b/1.png"], r"\(train/x\.png\) lie in no class folder beside"),
        (["train/1.png", "test/1.png"], r"lie in no class folder; expected"),
        (["a/1.png"], "a single class, a; at least two"),
        (["data/a/1.png", "data/b/1.png"], r"a single class, data; .*did you mean .*/data\?"),
        (["train/a/1.png", "test/a/1.png"], "a single class, a"),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.png"],
            r"the parts differ in their classes: val/ has no image of b",
        ),
        (["train/a/1.png", "val/a/1.png", "val/b/1.png"], r"train/ has no image of b"),
        (["train/a/1.png", "train/b/1.png", "cat/1.png"], r"parts \(train\) and classes \(cat\) side by side"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"], "val/ and valid/ are the same part"),
        (["test/a/1.png", "test/b/1.png"], "has test, but no train/"),
    ],
)
def test_other_layouts_are_refused_with_what_was_found(tmp_path: Path, names: list[str], message: str) -> None:
    made(tmp_path, *names)
    with pytest.raises(UnfitError, match=message):
        opened(tmp_path)


def test_no_folder_and_no_image(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="absent is no folder; expected <class>/<image>"):
        opened(tmp_path / "absent")
    with pytest.raises(UnfitError, match="is no folder"):
        Folder(None, FolderParameters())
    (tmp_path / "a").mkdir()
    with pytest.raises(UnfitError, match=r"no image below it \(found nothing else either\)"):
        opened(tmp_path)
    (tmp_path / "a" / "labels.csv").touch()
    with pytest.raises(UnfitError, match=r"no image below it \(found 1 files of other kinds\)"):
        opened(tmp_path)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    made(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnfitError, match=r"^a/1\.png: "):
        opened(tmp_path).image(0)


def test_a_table_and_parquet_are_called_by_their_kind(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n")
    with pytest.raises(UnfitError, match="a table that lists images is read with `dataset: manifest`"):
        Folder(tmp_path / "list.csv", FolderParameters())
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "train.parquet").touch()
    with pytest.raises(UnfitError, match="parquet files are read with `dataset: parquet`"):
        Folder(tmp_path / "hub", FolderParameters())


def test_classes_that_look_like_domains_are_told(tmp_path: Path) -> None:
    def remarks(root: Path, *names: str) -> tuple[str, ...]:
        return opened(made(root, *(f"{name}/1.png" for name in names))).remarks

    (said,) = remarks(tmp_path / "a", "art/cat", "art/dog", "photo/cat", "photo/dog", "photo/owl")
    assert said == (
        "the classes have the same folders (cat, dog): if art, photo are domains, and these the classes, they are read "
        f"with `dataset: domain_folders`: `coretune data check domain_folders --path {tmp_path / 'a'}`"
    )
    assert remarks(tmp_path / "b", "cat/2019", "cat/2020", "dog/2019", "dog/2020", "dog") == ()
    assert remarks(tmp_path / "c", "cat/all", "dog/all") == ()
    assert remarks(tmp_path / "d", "cat/train", "cat/test", "dog/train", "dog/test") == ()
