"""Every known image set, in every layout that it lies in on people's disks."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support import image_sets as sets

from coretune.data.fingerprint import fingerprint
from coretune.data.pack import pack
from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION, Source, domains_of, open_source
from coretune.errors import UnfitError
from coretune.spec.catalog.image_sets import SETS, image_set
from coretune.spec.components import Catalog

NAMES = [component.name for component in SETS]


def opened(catalog: Catalog, name: str, path: Path, **params: object) -> Source:
    return open_source(catalog, catalog.ref("dataset", name, params), str(path))


def parts_of(source: Source) -> dict[int, int]:
    return dict(Counter(source.parts.tolist()))


def conform(source: Source) -> None:
    n, c = len(source.names), len(source.classes)
    assert len(set(source.names)) == n
    assert len(set(source.classes)) == c
    assert source.labels.shape == source.parts.shape == (n,)
    assert (source.labels.dtype, source.parts.dtype) == (np.int64, np.int8)
    assert set(source.labels.tolist()) == set(range(c))
    names = [name for name, _ in source.files()]
    assert len(set(names)) == len(names)
    assert all(path.is_file() for _, path in source.files())
    assert source.decoding
    sent = pickle.loads(pickle.dumps(source))  # to the processes that decode
    for index in (0, n - 1):
        image = source.image(index)
        assert (image.ndim, image.shape[2], image.dtype) == (3, 3, np.uint8)
        np.testing.assert_array_equal(sent.image(index), image)


@pytest.mark.parametrize("layout", sets.MINIATURES)
def test_each_archive(layout: str, catalog: Catalog, tmp_path: Path) -> None:
    name, write = sets.MINIATURES[layout]
    about = image_set(name)
    source = opened(catalog, name, write(tmp_path / "data"))
    conform(source)
    assert len(source.classes) == about.classes
    expected = {UNDECIDED} if about.domains else {TRAIN, TEST} | ({VALIDATION} if "val" in about.counts else set())
    assert set(source.parts.tolist()) == expected
    domains = domains_of(source)
    assert (domains is not None) == about.domains
    if domains is not None:
        assert domains.names == tuple(about.counts)
        assert set(Counter(domains.of.tolist()).values()) == {len(source.names) // len(domains.names)}


@pytest.mark.parametrize("name", [name for name in NAMES if not image_set(name).domains])
@pytest.mark.parametrize("kind", ["train and test", "train and val", "one folder down", "parquet"])
def test_mirrors(name: str, kind: str, catalog: Catalog, tmp_path: Path) -> None:
    about = image_set(name)
    classes = sets.CIFAR10 if name == "cifar10" else sets.numbered("class", about.classes or 0)
    if kind == "parquet":
        path = sets.parquet(tmp_path / "data", len(classes), image="img" if name.startswith("cifar") else "image")
    elif kind == "train and val":
        path = sets.folders(tmp_path / "data", classes, ("train", "val"))
    else:
        path = sets.folders(tmp_path / "data", classes)
        path = path.parent if kind == "one folder down" else path
    source = opened(catalog, name, path)
    conform(source)
    # Where the set has no official validation part, a folder val/ of a mirror holds the test images.
    second = VALIDATION if kind == "train and val" and "val" in about.counts else TEST
    assert parts_of(source) == {TRAIN: len(classes), second: len(classes)}


def test_a_flat_mirror_is_undecided(catalog: Catalog, tmp_path: Path) -> None:
    source = opened(catalog, "pets", sets.folders(tmp_path / "data", sets.numbered("breed", 37), ("",)))
    assert parts_of(source) == {UNDECIDED: 37}


def test_a_part_by_another_name_is_another_pack(catalog: Catalog, tmp_path: Path) -> None:
    """A folder's val/ is its validation part; the same folder as `pets` has its test part there."""
    path = sets.folders(tmp_path / "data", sets.numbered("breed", 37), ("train", "val"))
    packs = [
        pack(source, fingerprint(source), 4, tmp_path / "cache")
        for source in (opened(catalog, "folder", path), opened(catalog, "pets", path))
    ]
    assert [set(found.parts.tolist()) for found in packs] == [{TRAIN, VALIDATION}, {TRAIN, TEST}]


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_set_says_where_to_get_it(name: str, catalog: Catalog, tmp_path: Path) -> None:
    about = image_set(name)
    (tmp_path / "set.tar.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "notes.txt").touch()
    for path, found in (
        (None, rf"no path of {name} is given, and \$CORETUNE_DATA/{name} does not exist"),
        (tmp_path, r"found notes\.txt, set\.tar\.gz \(unpack set\.tar\.gz\)"),
        (tmp_path / "no", "there is no such folder"),
    ):
        with pytest.raises(UnfitError, match=found) as caught:
            open_source(catalog, catalog.ref("dataset", name), None if path is None else str(path))
        said = str(caught.value)
        assert about.obtain in said
        assert all(f"\n  - {layout}" in said for layout in about.layouts)
        assert (f"data check {name} --download" in said) == bool(about.download)


@pytest.mark.parametrize(("head", "said"), [(b"<!DOCTYPE html>", "an HTML page"), (b"version https://git-lfs", "LFS")])
def test_downloads_that_are_none(head: bytes, said: str, catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "dtd-r1.0.1.tar.gz").write_bytes(head)
    with pytest.raises(UnfitError, match=rf"found dtd-r1\.0\.1\.tar\.gz is .*{said}"):
        opened(catalog, "dtd", tmp_path)
    path = sets.dtd(tmp_path / "data")
    (path / "dtd/dtd/labels/val1.txt").write_bytes(head)
    with pytest.raises(UnfitError, match=rf"val1\.txt: .*{said}"):
        opened(catalog, "dtd", path)
    path = sets.flowers102(tmp_path / "flowers")
    (path / "flowers-102/setid.mat").write_bytes(head)
    with pytest.raises(UnfitError, match=rf"setid\.mat: .*{said}"):
        opened(catalog, "flowers102", path)
    path = sets.cifar10(tmp_path / "cifar")
    (path / "cifar-10-batches-py/batches.meta").write_bytes(head)
    with pytest.raises(UnfitError, match=rf"batches\.meta: .*{said}"):
        opened(catalog, "cifar10", path)


def test_the_folders_that_torchvision_leaves_are_found(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path))
    for write in (sets.cifar10, sets.flowers102, sets.pets, sets.aircraft):
        write(tmp_path)
    for name in ("cifar10", "flowers102", "pets", "aircraft"):
        conform(open_source(catalog, catalog.ref("dataset", name), None))


def test_another_set_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    path = sets.folders(tmp_path / "data", sets.numbered("breed", 36))
    with pytest.raises(UnfitError, match=r"36 classes \(breed000, .*\); pets has 37\nTo get it"):
        opened(catalog, "pets", path)
    with pytest.raises(UnfitError, match=r"7 classes .*; vlcs has 5"):
        opened(catalog, "vlcs", sets.domains(tmp_path / "v", ("Caltech101", "LabelMe", "SUN09", "VOC2007"), sets.PACS))


def test_two_copies_are_one_too_many(catalog: Catalog, tmp_path: Path) -> None:
    sets.pets(tmp_path / "a")
    sets.pets(tmp_path / "b")
    with pytest.raises(UnfitError, match=r"several copies, in a/oxford-iiit-pet, b/oxford-iiit-pet; give the path of"):
        opened(catalog, "pets", tmp_path)


def test_what_a_list_names_must_be_there(catalog: Catalog, tmp_path: Path) -> None:
    path = sets.pets(tmp_path / "data")
    (path / "oxford-iiit-pet/images/Abyssinian_2.jpg").unlink()
    with pytest.raises(
        UnfitError, match=r"1 of 74 images that the lists name are not there \(images/Abyssinian_2.jpg\)"
    ):
        opened(catalog, "pets", path)


def test_the_lists_are_part_of_the_identity(catalog: Catalog, tmp_path: Path) -> None:
    path = sets.dtd(tmp_path / "data")
    before = fingerprint(opened(catalog, "dtd", path))
    lists = path / "dtd/dtd/labels"
    train, test = (lists / "train1.txt").read_text(), (lists / "test1.txt").read_text()
    (lists / "train1.txt").write_text(test)
    (lists / "test1.txt").write_text(train)
    assert fingerprint(opened(catalog, "dtd", path)) != before
