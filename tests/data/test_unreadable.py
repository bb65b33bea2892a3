"""Images that cannot be read: refused, or left out of every part, with the others where they were."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coretune.data.dataset import Dataset, open_dataset
from coretune.data.fingerprint import fingerprint
from coretune.data.pack import pack
from coretune.data.source import TEST, UNDECIDED, VALIDATION, open_source
from coretune.data.sources.folder import Folder
from coretune.data.splits import Split, split
from coretune.data.unreadable import UNREADABLE, listed, refusal
from coretune.errors import RequestError, StorageError, UnfitError
from coretune.spec.catalog.datasets import FolderParameters
from coretune.spec.components import Catalog, Ref
from coretune.spec.run import DataSpec

BROKEN = ("cat/03.jpg", "dog/07.jpg", "dog/11.jpg")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of 20 photographs each."""
    root = tmp_path / "pets"
    for c, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(20):
            noise = np.random.default_rng(100 * c + i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{i:02d}.jpg")
    return root


def break_some(root: Path) -> None:
    content = (root / "cat/03.jpg").read_bytes()
    (root / "cat/03.jpg").write_bytes(content[: len(content) // 2])
    (root / "dog/07.jpg").write_bytes(b"")
    (root / "dog/11.jpg").write_text("this is no photograph")


def spec(catalog: Catalog, root: Path, **changes: Any) -> DataSpec:
    ref = catalog.ref("dataset", "folder")
    base = {"image_size": 8, "validation": 6, "test": 8, "corrupt": "skip"}
    return DataSpec(dataset=ref, fingerprint=fingerprint(open_source(catalog, ref, str(root))), **{**base, **changes})


def opened(catalog: Catalog, root: Path, cache: Path, **changes: Any) -> Dataset:
    return open_dataset(catalog, spec(catalog, root, **changes), str(root), cache)


def test_refusing_says_which_and_what_would_help(catalog: Catalog, pets: Path, cache: Path) -> None:
    break_some(pets)
    with pytest.raises(UnfitError) as caught:
        opened(catalog, pets, cache, corrupt="refuse")
    first, *lines = str(caught.value).splitlines()
    assert first == (
        "3 of 40 images cannot be read; repair or remove them, or leave them out by `corrupt: skip` below `data`:"
    )
    assert re.fullmatch(r"  cat/03\.jpg: .*[Tt]runcated.*", lines[0])
    assert lines[1:] == ["  dog/07.jpg: an empty file", "  dog/11.jpg: not an image that Pillow can read"]


def test_ten_are_named_and_the_others_counted() -> None:
    many = [f"{i}.jpg: an empty file" for i in range(1234)]
    lines = str(refusal(many, 5000)).splitlines()
    assert lines[0].startswith("1,234 of 5,000 images cannot be read; repair")
    assert lines[1:] == [
        *(f"  {i}.jpg: an empty file" for i in range(10)),
        "  and 1,224 more, which `coretune data check` lists",
    ]
    assert listed(many[:10]) == many[:10]
    said = str(refusal(many[:1], 5000, masks=True, root=Path("/data/mine")))
    assert said.startswith("/data/mine: 1 of 5,000 images cannot be used; repair")


def test_skipped_images_keep_their_place_and_are_in_no_part(catalog: Catalog, pets: Path, cache: Path) -> None:
    whole = opened(catalog, pets, cache, corrupt="refuse")
    break_some(pets)
    found = opened(catalog, pets, cache)
    assert found.left_out == "3 of 40 images cannot be read: left out"
    assert whole.left_out == ""
    assert found.packed.names == whole.packed.names
    gone = [found.packed.names.index(name) for name in BROKEN]
    assert [(item.image, item.label) for item in found.packed.unreadable] == [(gone[0], 0), (gone[1], 1), (gone[2], 1)]
    others = np.setdiff1d(np.arange(40), gone)
    assert found.packed.labels[gone].tolist() == [UNREADABLE] * 3
    np.testing.assert_array_equal(found.packed.labels[others], whole.packed.labels[others])
    np.testing.assert_array_equal(found.packed.images[others], whole.packed.images[others])
    assert not found.packed.images[gone].any()
    parts = [found.split.train, found.split.validation, found.split.test]
    assert sorted(np.concatenate(parts).tolist()) == others.tolist()
    assert [len(part) for part in parts] == [23, 6, 8]


@pytest.mark.parametrize("limits", [{"labels_per_class": 5}, {"label_fraction": 0.5}, {"imbalance": 3.0}, {"limit": 9}])
def test_no_subset_contains_one(catalog: Catalog, pets: Path, cache: Path, limits: dict[str, Any]) -> None:
    break_some(pets)
    for seed in range(20):
        found = opened(catalog, pets, cache, split_seed=seed, subset_seed=seed, **limits)
        labels = found.packed.labels
        for part in (found.split.train, found.split.labelled, found.split.validation, found.split.test):
            assert (labels[part] >= 0).all()
        if "labels_per_class" in limits:
            assert np.bincount(labels[found.split.labelled]).tolist() == [5, 5]


def test_a_class_that_has_too_few_left_is_named(catalog: Catalog, pets: Path, cache: Path) -> None:
    for i in range(14):
        (pets / f"cat/{i:02d}.jpg").write_bytes(b"")
    with pytest.raises(RequestError, match=r"too few images in the training part, of 1 class: cat \(\d of 5\)"):
        opened(catalog, pets, cache, labels_per_class=5)
    for i in range(14, 20):
        (pets / f"cat/{i:02d}.jpg").write_bytes(b"")
    with pytest.raises(UnfitError, match=r"too few images outside of .*, of 1 class: cat \(0 of 1\)"):
        opened(catalog, pets, cache)


def test_an_official_part_without_a_readable_image_is_not_drawn_instead() -> None:
    labels = np.array([0, 1] * 6, dtype=np.int64)
    parts = np.array([TEST] * 2 + [VALIDATION] * 2 + [UNDECIDED] * 8, dtype=np.int8)
    data = DataSpec(dataset=Ref(name="folder", version=1), fingerprint="0" * 64, image_size=8, validation=0.1, test=0.2)
    for left_out, name in (([0, 1], "test"), ([2, 3], "validation")):
        with pytest.raises(UnfitError, match=rf"no image of the official {name} part is left \(of 2 images\)"):
            split(labels, parts, data, left_out=left_out)
    assert split(labels, parts, data, left_out=[0, 2]).test.tolist() == [1]
    parts[3] = UNDECIDED
    with pytest.raises(UnfitError, match=r"no image of the official validation part is left \(of 1 image\)"):
        split(labels, parts, data, left_out=[2])


DIVIDED = {"validation": 12, "test": 15, "image_size": 8, "fingerprint": "0" * 64, "labels_per_class": 4}


def divided(seed: int, left_out: list[int]) -> Split:
    labels = np.random.default_rng(7).permutation(np.repeat(np.arange(3), 40)).astype(np.int64)
    data = DataSpec(dataset=Ref(name="folder", version=1), split_seed=seed, subset_seed=seed, **DIVIDED)
    return split(labels, np.full(120, UNDECIDED, dtype=np.int8), data, left_out=left_out)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), left_out=st.lists(st.integers(0, 119), max_size=20, unique=True))
def test_all_others_are_divided(seed: int, left_out: list[int]) -> None:
    found = divided(seed, left_out)
    everything = np.concatenate([found.train, found.validation, found.test])
    assert sorted(everything.tolist()) == sorted(set(range(120)) - set(left_out))
    assert np.isin(found.labelled, found.train).all() and len(found.labelled) == 12
    assert (len(found.validation), len(found.test)) == (12, 15)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), which=st.integers(0, 11))
def test_an_image_that_is_left_out_moves_only_the_one_that_takes_its_place(seed: int, which: int) -> None:
    before = divided(seed, [])
    gone = int(before.labelled[which])
    after = divided(seed, [gone])
    assert (before.test.tolist(), before.validation.tolist()) == (after.test.tolist(), after.validation.tolist())
    assert set(before.labelled.tolist()) - set(after.labelled.tolist()) == {gone}
    assert len(set(after.labelled.tolist()) - set(before.labelled.tolist())) == 1


def test_another_decoder_tries_again(pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_some(pets)
    source = Folder(pets, FolderParameters())
    found = fingerprint(source)
    assert len(pack(source, found, 8, cache).unreadable) == 3
    decoded: list[int] = []
    image = Folder.image
    monkeypatch.setattr(Folder, "image", lambda self, index: decoded.append(index) or image(self, index))
    assert len(pack(source, found, 8, cache).unreadable) == 3
    assert decoded == []
    monkeypatch.setattr(PIL, "__version__", "99.0")
    assert len(pack(source, found, 8, cache).unreadable) == 3
    assert len(decoded) == 40


def test_what_the_machine_cannot_read_is_never_skipped(
    catalog: Catalog, pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would otherwise see other images on a machine with a bad day, under the same id."""
    break_some(pets)
    data = spec(catalog, pets)
    opening = Image.open

    def fail(path: Any, *arguments: Any) -> Any:
        if str(path).endswith("05.jpg"):
            raise OSError(5, "Input/output error")
        return opening(path, *arguments)

    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"^cat/05\.jpg: Input/output error$"):
        patch.setattr(Image, "open", fail)
        open_dataset(catalog, data, str(pets), cache)
    assert len(open_dataset(catalog, data, str(pets), cache).packed.unreadable) == 3
