from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coretune.data.fingerprint import fingerprint
from coretune.data.pack import pack
from coretune.data.source import TEST, TRAIN, open_source
from coretune.data.sources.cifar10 import CLASSES, cifar10
from coretune.data.sources.parquet import Parquet
from coretune.data.splits import split
from coretune.errors import UnfitError
from coretune.spec.components import Catalog
from coretune.spec.frozen import Frozen
from coretune.spec.load import load_study
from coretune.spec.run import DataSpec


def write(path: Path, labels: list[int]) -> None:
    pq.write_table(pa.table({"img": pa.array([b"x"] * len(labels), pa.binary()), "label": labels}), path)


def test_numbers_get_the_names_of_the_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", list(range(10)))
    write(tmp_path / "test.parquet", [3])
    assert cifar10(tmp_path, Frozen()).classes == CLASSES


def test_other_data_are_refused_with_the_layout(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORETUNE_DATA", raising=False)
    with pytest.raises(
        UnfitError,
        match=r"no path of cifar10 is given, and \$CORETUNE_DATA/cifar10 does not exist \(CORETUNE_DATA is not set\)",
    ):
        open_source(catalog, catalog.ref("dataset", "cifar10"), None)
    write(tmp_path / "train.parquet", list(range(10)))
    with pytest.raises(UnfitError, match=r"no test part\nTo get it: unpack https://www.cs.toronto.edu"):
        cifar10(tmp_path, Frozen())
    write(tmp_path / "test.parquet", [10])
    with pytest.raises(UnfitError, match=r"11 classes \(0, 1, .*\); cifar10 has 10"):
        cifar10(tmp_path, Frozen())


STUDY = """
name: x
datasets: {{cifar10: {options}}}
backbones: {{small_resnet: }}
methods: [ce]
"""


@pytest.mark.parametrize("options", ["{path: images}", "{dataset: cifar10, path: images}", ""])
def test_a_label_that_names_a_data_set_is_this_data_set_with_a_path_too(tmp_path: Path, options: str) -> None:
    (tmp_path / "s.yaml").write_text(STUDY.format(options=options))
    (cell,) = load_study(tmp_path / "s.yaml").cells
    assert cell.dataset.ref.name == "cifar10"
    assert cell.dataset.path == (str(tmp_path / "images") if options else None)
    assert (cell.dataset.image_size, cell.dataset.augment.flip) == (32, True)
    assert cell.dataset.augment.crop_scale == (0.5, 1.0)


def test_the_real_images(real_data: Path, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (real_data / "cifar10").is_dir():
        pytest.skip(f"no CIFAR-10 in {real_data}")
    monkeypatch.setenv("CORETUNE_DATA", str(real_data))
    ref = catalog.ref("dataset", "cifar10")
    source = open_source(catalog, ref, None)
    assert isinstance(source, Parquet)
    assert source.classes == CLASSES
    assert np.bincount(source.labels[source.parts == TRAIN]).tolist() == [3000] * 10
    assert np.bincount(source.labels[source.parts == TEST]).tolist() == [1000] * 10
    assert len(set(source.names)) == 40_000
    print_of_it = fingerprint(source)
    packed = pack(source, print_of_it, 32, tmp_path / "cache")
    assert packed.images.shape == (40_000, 32, 32, 3)
    for index in (0, 4_999, 5_000, 9_999, 10_000, 39_999):
        np.testing.assert_array_equal(packed.images[index], source.image(index))
    # The channel means of CIFAR-10, which everyone normalises with: 0.4914, 0.4822, 0.4465.
    means = packed.images[packed.parts == TRAIN].mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=2e-3)
    data = DataSpec(dataset=ref, fingerprint=print_of_it, image_size=32, validation=0.1, test=0.2, labels_per_class=40)
    parts = split(packed.labels, packed.parts, data, classes=packed.classes)
    assert [len(p) for p in (parts.train, parts.labelled, parts.validation, parts.test)] == [27_000, 400, 3_000, 10_000]
