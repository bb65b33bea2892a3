from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import image_sets as sets

from coretune.data.check import Report, check
from coretune.data.source import open_source
from coretune.data.sources.folder import Folder
from coretune.spec.catalog.datasets import FolderParameters
from coretune.spec.components import Catalog, DatasetComponent


def photo(path: Path, seed: int, changed: int = 0) -> None:
    """Writes noise, of which some pixels may be brighter: alike, but not the same."""
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    pixels[0, :changed] //= 2
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    for p, part in enumerate(("train", "test")):
        for c, name in enumerate(("crow", "heron")):
            for i in range(3):
                photo(tmp_path / "birds" / part / name / f"{i}.png", 100 * p + 10 * c + i)
    return tmp_path / "birds"


def report(catalog: Catalog, path: Path, name: str = "folder", about: DatasetComponent | None = None) -> Report:
    source = open_source(catalog, catalog.ref("dataset", name), str(path))
    return check(source, about or catalog.dataset(name))


def test_a_sound_data_set(catalog: Catalog, birds: Path) -> None:
    seen: list[None] = []
    source = open_source(catalog, catalog.ref("dataset", "folder"), str(birds))
    found = check(source, catalog.dataset("folder"), lambda: seen.append(None))
    assert (found.problems, found.remarks, found.near, len(seen)) == ((), (), (), 12)
    assert (found.images, found.parts) == (12, {"train": 6, "test": 6})
    assert found.classes == {"crow": {"train": 3, "test": 3}, "heron": {"train": 3, "test": 3}}
    assert found.sizes is not None
    assert (found.sizes.width, found.sizes.height) == ((20, 20, 20), (16, 16, 16))


def test_the_same_pixels_in_two_parts_are_wrong_whatever_the_file(catalog: Catalog, birds: Path) -> None:
    Image.open(birds / "train/crow/1.png").save(birds / "test/crow/copy.bmp")
    Image.open(birds / "train/crow/2.png").save(birds / "train/heron/copy.bmp")
    found = report(catalog, birds)
    assert found.across == (("test/crow/copy.bmp", "train/crow/1.png"),)
    assert (found.repeated, found.contradicting, found.near) == (1, 1, ())
    assert found.problems == ("1 images stand in several parts, e.g. test/crow/copy.bmp = train/crow/1.png",)
    assert found.remarks == (
        "1 images are the same as another one of their part",
        "1 images are the same as one of another class",
    )


def test_near_duplicates_of_test_images_are_a_remark(catalog: Catalog, birds: Path) -> None:
    photo(birds / "test/heron/near.png", 1, changed=1)
    found = report(catalog, birds)
    assert found.problems == ()
    assert found.near is not None
    (pair,) = found.near
    assert (pair.test, pair.other, pair.same_class) == ("test/heron/near.png", "train/crow/1.png", False)
    assert 0.99 <= pair.similarity < 1
    assert found.remarks[0].startswith("1 test images have a near-duplicate outside of the test part (test/heron/near")


def test_what_cannot_be_read_is_listed(catalog: Catalog, birds: Path) -> None:
    (birds / "train/crow/0.png").write_bytes(b"<html>no</html>")
    (birds / "test/crow/0.png").write_bytes(b"")
    found = report(catalog, birds)
    assert found.problems == ("2 of 12 images cannot be read",)
    assert found.unreadable == (
        "test/crow/0.png: an empty file",
        "train/crow/0.png: an HTML page, not an image",
    )


def test_counts_are_compared_by_part_and_by_domain(catalog: Catalog, tmp_path: Path) -> None:
    assert report(catalog, sets.pets(tmp_path / "pets"), "pets").problems == (
        "train: 37 images, expected 3,680",
        "test: 37 images, expected 3,669",
    )
    found = report(catalog, sets.pacs(tmp_path / "pacs"), "pacs")
    assert found.domains == {"art_painting": 7, "cartoon": 7, "photo": 7, "sketch": 7}
    assert found.problems[0] == "art_painting: 7 images, expected 2,048"
    assert (found.near, len(found.problems)) == (None, 4)


def test_the_same_image_in_two_domains_is_told(catalog: Catalog, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for seed, name in enumerate(("a/cat/1.png", "a/dog/1.png", "b/cat/1.png", "b/dog/1.png")):
        photo(root / name, seed)
    assert report(catalog, root, "domain_folders").across_domains == ()
    Image.open(root / "a/dog/1.png").save(root / "b/dog/copy.bmp")
    Image.open(root / "a/cat/1.png").save(root / "a/cat/copy.bmp")
    found = report(catalog, root, "domain_folders")
    assert found.across_domains == (("a/dog/1.png", "b/dog/copy.bmp"),) and found.problems == ()
    assert found.remarks[0] == (
        "1 images stand in several domains, e.g. a/dog/1.png = b/dog/copy.bmp: of a held-out domain, such images are "
        "trained on"
    )


def test_a_layout_without_official_parts_is_compared_as_a_whole(catalog: Catalog, tmp_path: Path) -> None:
    path = sets.folders(tmp_path / "flat", sets.numbered("breed", 37), ("",))
    found = report(catalog, path, "pets")
    assert found.problems == ("all: 37 images, expected 7,349",)
    assert found.remarks[0].startswith("this layout has no official test part: it is drawn")


def test_the_digits_are_whole(catalog: Catalog) -> None:
    source = open_source(catalog, catalog.ref("dataset", "digits"), None)
    found = check(source, catalog.dataset("digits"))
    assert (found.problems, found.images) == ((), 1797)


def test_the_real_pacs(real_data: Path, catalog: Catalog) -> None:
    if not (real_data / "pacs").is_dir():
        pytest.skip(f"no PACS in {real_data}")
    found = report(catalog, real_data / "pacs", "pacs")
    assert found.problems == ()
    assert found.domains == dict(catalog.dataset("pacs").counts)
    assert found.classes["horse"] == {"undecided": 1540}
    assert found.across_domains == ()


def test_a_class_folder_without_an_image_is_told(photos: Path, catalog: Catalog) -> None:
    (photos / "owl" / "later").mkdir(parents=True)
    (photos / "owl" / "notes.txt").write_text("to come")
    found = check(Folder(photos, FolderParameters()), catalog.dataset("folder"))
    assert found.remarks[0] == "owl: no image in there, and so no class" and found.problems == ()
    for part in ("train", "test"):
        (photos / part).mkdir()
        for name in ("cat", "dog", "owl"):
            (photos / part / name).mkdir()
            if name != "owl":
                (photos / name / f"{'0' if part == 'train' else '1'}.png").rename(photos / part / name / "0.png")
    for name in ("cat", "dog", "owl"):
        shutil.rmtree(photos / name)
    found = check(Folder(photos, FolderParameters()), catalog.dataset("folder"))
    assert found.remarks[1] == "train/owl: no image in there, and so no class"
    assert found.remarks[0] == "test/owl: no image in there, and so no class"
