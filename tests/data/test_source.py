from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coretune.data.source import Source, holds_nothing, open_source
from coretune.data.sources.digits import Digits
from coretune.data.sources.folder import Folder
from coretune.data.sources.parquet import Parquet
from coretune.errors import RequestError, UnfitError
from coretune.spec.components import Catalog, Ref


def conform(source: Source) -> None:
    """What every source promises."""
    n, c = len(source.names), len(source.classes)
    assert len(set(source.names)) == n > 0
    assert len(set(source.classes)) == c > 1
    assert source.labels.shape == source.parts.shape == (n,)
    assert (str(source.labels.dtype), str(source.parts.dtype)) == ("int64", "int8")
    assert set(source.labels.tolist()) == set(range(c))
    assert set(source.parts.tolist()) <= {-1, 0, 1, 2}
    assert isinstance(source.crop, bool)
    assert source.decoding
    assert all(path.is_file() for _, path in source.files())
    for index in (0, n - 1):
        image = source.image(index)
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert str(image.dtype) == "uint8"


def test_digits(catalog: Catalog) -> None:
    source = open_source(catalog, catalog.ref("dataset", "digits"), None)
    assert isinstance(source, Digits)
    conform(source)


def test_folder(catalog: Catalog, photos: Path) -> None:
    source = open_source(catalog, catalog.ref("dataset", "folder", {"crop": False}), str(photos))
    assert isinstance(source, Folder)
    assert source.crop is False
    conform(source)


def test_parquet(catalog: Catalog, photos: Path, tmp_path: Path) -> None:
    images = sorted(photos.rglob("*.png"))
    columns = {"image": [image.read_bytes() for image in images], "label": [image.parent.name for image in images]}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    source = open_source(catalog, catalog.ref("dataset", "parquet", {"crop": False}), str(tmp_path / "train.parquet"))
    folder = open_source(catalog, catalog.ref("dataset", "folder"), str(photos))
    assert isinstance(source, Parquet)
    assert source.crop is False
    conform(source)
    assert (source.classes, source.labels.tolist()) == (folder.classes, folder.labels.tolist())
    assert all((source.image(i) == folder.image(i)).all() for i in range(len(images)))


def test_the_data_root_is_searched_for_the_name(
    catalog: Catalog, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORETUNE_DATA", str(photos.parent))
    photos.rename(photos.with_name("folder"))
    conform(open_source(catalog, catalog.ref("dataset", "folder"), None))


def test_no_path_where_one_is_needed(catalog: Catalog) -> None:
    with pytest.raises(UnfitError, match=r"^no path of folder is given, and \$CORETUNE_DATA/folder does not exist"):
        open_source(catalog, catalog.ref("dataset", "folder"), None)


def test_an_unknown_data_set(catalog: Catalog) -> None:
    with pytest.raises(RequestError, match="did you mean digits"):
        open_source(catalog, Ref(name="digit", version=1), None)


def test_a_folder_holds_nothing_until_a_visible_file_is_below_it(tmp_path: Path) -> None:
    assert holds_nothing(tmp_path / "absent")
    folder = tmp_path / "dtd" / "dtd"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "log").write_text("")
    (folder / ".DS_Store").write_text("")
    assert holds_nothing(tmp_path / "dtd")
    (folder / "images.tar").write_bytes(b"1")
    assert not holds_nothing(tmp_path / "dtd") and not holds_nothing(folder / "images.tar")
