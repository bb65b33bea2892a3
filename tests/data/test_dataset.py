from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import image_sets as sets
from support.training import toy_dataset, toy_parts, toy_spec

from coretune.data.dataset import open_dataset
from coretune.data.fingerprint import fingerprint
from coretune.data.source import Domains, open_source
from coretune.data.sources.digits import Digits
from coretune.data.sources.folder import Folder
from coretune.errors import RequestError, UnfitError
from coretune.spec.components import Catalog
from coretune.spec.run import DataSpec


def spec(catalog: Catalog, name: str, path: str | None = None, **changes: Any) -> DataSpec:
    ref = catalog.ref("dataset", name)
    base = {"image_size": 16, "validation": 300, "test": 600, "labels_per_class": 5}
    return DataSpec(dataset=ref, fingerprint=fingerprint(open_source(catalog, ref, path)), **{**base, **changes})


def test_the_quickstart_s_digits(catalog: Catalog, cache: Path) -> None:
    found = open_dataset(catalog, spec(catalog, "digits"), None, cache)
    assert found.packed.images.shape == (1797, 16, 16, 3)
    split = found.split
    assert [len(part) for part in (split.train, split.labelled, split.validation, split.test)] == [897, 50, 300, 600]
    assert np.bincount(found.packed.labels[split.labelled]).tolist() == [5] * 10
    small = Digits(None, catalog.parameters("dataset", catalog.ref("dataset", "digits"))).image(7)
    coarse = found.packed.images[7].reshape(8, 2, 8, 2, 3).mean((1, 3))
    assert np.corrcoef(coarse.ravel(), small.ravel())[0, 1] > 0.98


def test_a_warm_start_reads_no_image_and_is_fast(
    catalog: Catalog, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = spec(catalog, "digits")
    first = open_dataset(catalog, data, None, cache)
    monkeypatch.setattr(Digits, "_table", property(lambda self: pytest.fail("the images were read again")))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        again = open_dataset(catalog, data, None, cache)
        times.append(time.perf_counter() - start)
    np.testing.assert_array_equal(first.packed.images, again.packed.images)
    np.testing.assert_array_equal(first.split.labelled, again.split.labelled)
    assert min(times) < 0.02


def test_a_folder_warm_start_decodes_nothing(
    catalog: Catalog, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = spec(catalog, "folder", str(photos), validation=2, test=2, labels_per_class=None, image_size=8)
    open_dataset(catalog, data, str(photos), cache)
    monkeypatch.setattr(Folder, "image", lambda self, index: pytest.fail("decoded again"))
    found = open_dataset(catalog, data, str(photos), cache)
    assert found.packed.classes == ("cat", "dog")
    assert np.bincount(found.packed.labels[found.split.test]).tolist() == [1, 1]


def test_data_that_changed_since_the_plan_are_refused(catalog: Catalog, photos: Path, cache: Path) -> None:
    data = spec(catalog, "folder", str(photos), validation=2, test=2, labels_per_class=None)
    (photos / "cat" / "0.png").unlink()
    with pytest.raises(UnfitError, match=r"data set folder at .*photos: these are not the images that the run was"):
        open_dataset(catalog, data, str(photos), cache)


def test_a_class_too_small_is_named(catalog: Catalog, photos: Path, cache: Path) -> None:
    data = spec(catalog, "folder", str(photos), validation=2, test=2, labels_per_class=3)
    with pytest.raises(RequestError, match=r"labels_per_class: must be at most 2.*cat \(2 of 3\), dog \(2 of 3\)"):
        open_dataset(catalog, data, str(photos), cache)


def test_domains_are_numbered_among_the_images_that_are_asked_for(
    catalog: Catalog, tmp_path: Path, cache: Path
) -> None:
    for value, name in enumerate(f"{d}/{c}/{i}.png" for d in ("art", "photo", "sketch") for c in "ab" for i in (0, 1)):
        sets.draw(tmp_path / "images" / name, value)
    path = str(tmp_path / "images")
    data = spec(catalog, "domain_folders", path, image_size=8, validation=0.5, test=0, labels_per_class=None).replace(
        held_out_domain="art"
    )
    found = open_dataset(catalog, data, path, cache)
    assert found.domains is not None and found.domains.names == ("art", "photo", "sketch")
    among = found.needed_domains(found.split.labelled, "a test")
    assert among.names == ("photo", "sketch")
    for i, number in enumerate(among.of.tolist()):
        assert ("art", "photo", "sketch")[number + 1] == found.packed.names[i].split("/")[0]
    of_test = found.domains_among(found.split.test)
    assert of_test is not None and of_test.names == ("art",) and set(of_test.of[found.split.test]) == {0}


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        (None, "these images have no domains; folders <domain>/<class>/<image> are read with"),
        (Domains(("", "day"), np.array([0, 1, 0])), "2 images have no domain: their column `domain` is empty"),
    ],
)
def test_what_needs_domains_is_refused_where_an_image_has_none(domains: Domains | None, message: str) -> None:
    data = replace(toy_dataset(labelled=3, validation=0), domains=domains)
    assert data.domains_among(np.arange(3)) is None
    with pytest.raises(
        RequestError, match=re.escape(f"train.domain_balanced needs the domain of every training image: {message}")
    ):
        toy_parts(toy_spec(domain_balanced=True), data)
    if domains is not None:
        assert data.needed_domains(np.array([1]), "x").names == ("day",)
