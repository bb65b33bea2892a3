"""`datasets` is not installed for the tests: a stand-in answers as it does."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.image_sets import png

from coretune.data.fingerprint import fingerprint
from coretune.data.pack import pack
from coretune.data.source import TEST, TRAIN, open_source
from coretune.data.sources.hub import Hub
from coretune.errors import RequestError, UnfitError
from coretune.spec.catalog.datasets import HubParameters
from coretune.spec.components import Catalog


@dataclass
class Label:
    names: list[str] | None = None


@dataclass
class Split:
    """What `datasets.Dataset` offers of a split."""

    columns: dict[str, list[Any]]
    features: dict[str, Any]
    cache_files: list[dict[str, str]] = field(default_factory=list)
    decoded: bool = True

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def cast_column(self, name: str, kind: Any) -> Split:
        assert name in self.columns and kind == ("image", False)
        return Split(self.columns, self.features, self.cache_files, decoded=False)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        assert not self.decoded
        return {name: values[key] for name, values in self.columns.items()}


def split(root: Path, name: str, labels: list[Any], names: list[str] | None = None, column: str = "img") -> Split:
    file = root / f"{name}.arrow"
    file.write_bytes(repr(labels).encode())
    images = [{"bytes": png(index), "path": None} for index in range(len(labels))]
    return Split({column: images, "label": labels}, {"label": Label(names)}, [{"filename": str(file)}])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    module = ModuleType("datasets")
    answers: dict[str, Any] = {}

    def load_dataset(name: str, config: str | None, **options: Any) -> Any:
        answers["asked"] = (name, config, options)
        if isinstance(answers["found"], Exception):
            raise answers["found"]
        return answers["found"]

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    module.Image = lambda decode: ("image", decode)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return answers


def opened(**params: Any) -> Hub:
    return Hub(None, HubParameters(**{"name": "some/birds", **params}))


def test_splits_become_parts(hub: dict[str, Any], catalog: Catalog, tmp_path: Path) -> None:
    hub["found"] = {
        "train": split(tmp_path, "train", [1, 0, 1], ["crow", "heron"]),
        "test": split(tmp_path, "test", [0], ["crow", "heron"]),
    }
    ref = catalog.ref("dataset", "hub", {"name": "some/birds", "revision": "v1"})
    source = open_source(catalog, ref, str(tmp_path / "here"))
    assert hub["asked"] == ("some/birds", None, {"revision": "v1", "cache_dir": str(tmp_path / "here")})
    assert source.classes == ("crow", "heron")
    assert source.labels.tolist() == [1, 0, 1, 0]
    assert source.parts.tolist() == [TRAIN, TRAIN, TRAIN, TEST]
    assert source.names[3] == "test/000000"
    packed = pack(source, fingerprint(source), 4, tmp_path / "cache")
    assert packed.images[:, 0, 0, 0].tolist() == [0, 1, 2, 0]


def test_labels_without_names_are_what_occurs(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["found"] = split(tmp_path, "all", ["b", "a"], column="image")
    source = opened()
    assert source.classes == ("a", "b")
    assert source.labels.tolist() == [1, 0]


def test_splits_without_labels_or_of_other_names_are_left_out_and_told(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["found"] = {
        "unsupervised": split(tmp_path, "unsupervised", [-1, -1]),
        "train": split(tmp_path, "train", [0, 1, 1]),
        "test": split(tmp_path, "test", [-1, -1]),
    }
    source = opened()
    assert source.labels.tolist() == [0, 1, 1] and source.parts.tolist() == [TRAIN] * 3
    assert source.names[0] == "train/000000" and len(source.files()) == 1
    assert source.remarks == (
        "its split 'unsupervised' is left out: it is none of train, validation, test",
        "its split 'test' is left out: its labels are hidden",
    )


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UnfitError, match=r'`datasets` is not installed: pip install "coretune\[hub\]"$'):
        opened()


def test_offline_is_one_line(hub: dict[str, Any]) -> None:
    hub["found"] = ConnectionError("Couldn't reach 'some/birds' on the Hub (LocalEntryNotFoundError)\nmany\nlines")
    with pytest.raises(UnfitError, match=r"some/birds: cannot be loaded .*\(ConnectionError: Couldn't reach") as caught:
        opened()
    assert "\n" not in str(caught.value)


def test_what_cannot_be_used(hub: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="needs the name of a data set"):
        opened(name="")
    hub["found"] = {"train": split(tmp_path, "train", [0, -1])}
    with pytest.raises(UnfitError, match="some labels of a split are hidden or null, others are not"):
        opened()
    hub["found"] = {"test": split(tmp_path, "test", [0, 1])}
    with pytest.raises(UnfitError, match="no split to train on, only test"):
        opened()
    hub["found"] = {"extra": split(tmp_path, "extra", [0, 1])}
    with pytest.raises(UnfitError, match="no split to train on: its split 'extra' is left out: it is none of"):
        opened()
    hub["found"] = {"train": split(tmp_path, "train", [0, 1], column="photo")}
    with pytest.raises(UnfitError, match="no column image or img, only photo, label; name it with image_column"):
        opened()
    assert opened(image_column="photo").labels.tolist() == [0, 1]
    hub["found"] = {}
    with pytest.raises(UnfitError, match="has no split"):
        opened()
