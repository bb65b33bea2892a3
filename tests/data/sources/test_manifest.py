from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.image_sets import draw

from coretune.data.fingerprint import fingerprint
from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION, domains_of, open_source
from coretune.data.sources.manifest import Manifest, is_manifest
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters
from coretune.spec.components import Catalog

ROWS = [
    ("a/0.png", "10", "train", "day"),
    ("a/1.png", "9", "val", "night"),
    ("b/2.png", "9", "TEST", "day"),
    ("b/3.png", "10", "", "night"),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for value, (name, *_) in enumerate(ROWS):
        draw(tmp_path / name, value)
    return write(tmp_path, "path,label,split,domain", [",".join(row) for row in ROWS])


def write(root: Path, head: str, lines: list[str]) -> Path:
    (root / "images.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8-sig")
    return root / "images.csv"


def opened(path: Path) -> Manifest:
    return Manifest(path, FolderParameters())


def test_a_table_says_everything(table: Path, catalog: Catalog) -> None:
    source = open_source(catalog, catalog.ref("dataset", "manifest", {"crop": False}), str(table))
    assert source.classes == ("9", "10")
    assert source.names == tuple(row[0] for row in ROWS)
    assert source.labels.tolist() == [1, 0, 0, 1]
    assert source.parts.tolist() == [TRAIN, VALIDATION, TEST, UNDECIDED]
    domains = domains_of(source)
    assert domains is not None
    assert (domains.names, domains.of.tolist()) == (("day", "night"), [0, 1, 0, 1])
    assert source.crop is False
    assert source.image(3)[0, 0].tolist() == [3, 0, 40]


def test_labels_belong_to_the_identity(table: Path) -> None:
    before = fingerprint(opened(table))
    table.write_text(table.read_text().replace(",10,train", ",9,train"))
    assert fingerprint(opened(table)) != before


def test_parquet_is_read_alike(table: Path) -> None:
    columns = {name: [row[i] or None for row in ROWS] for i, name in enumerate(("path", "label", "split", "domain"))}
    pq.write_table(pa.table({**columns, "label": [int(row[1]) for row in ROWS]}), table.with_suffix(".parquet"))
    one, other = opened(table), opened(table.with_suffix(".parquet"))
    assert is_manifest(table) and is_manifest(table.with_suffix(".parquet"))
    assert (one.names, one.classes) == (other.names, other.classes)
    assert (one.labels.tolist(), one.parts.tolist()) == (other.labels.tolist(), other.parts.tolist())


def test_two_columns_are_enough(table: Path) -> None:
    source = opened(write(table.parent, "label,path", ["cat,a/0.png", "dog,a/1.png"]))
    assert source.classes == ("cat", "dog")
    assert source.parts.tolist() == [UNDECIDED] * 2
    assert domains_of(source) is None


@pytest.mark.parametrize(
    ("head", "lines", "said"),
    [
        (
            "path,labl",
            ["a/0.png,x"],
            r"images\.csv: no column label \(it has path, labl; did you mean labl\?\); expected",
        ),
        ("path,label", [], "has no row below its head"),
        ("path;label;split", ["a/0.png;x;train"], r"images\.csv: its columns are separated by ';'; write commas"),
        ("path,label", ["a/0.png,x", "a/9.png,y"], r"images\.csv:3: there is no file .*a/9\.png"),
        ("path,label", ["a/0.png,x", "a/0.png,y"], r"images\.csv:3: a/0\.png stands in .*images\.csv:2 already"),
        ("path,label", ["a/0.png,x", "a/1.png,"], r"images\.csv:3: no label"),
        ("path,label", ["a/0.png,x", ",y"], r"images\.csv:3: no path"),
        ("path,label", ["a/0.png,x", "a/1.png"], r"images\.csv:3: has fewer values than the head has columns"),
        ("path,label", ["a/0.png,x,z"], r"images\.csv:2: has more values than the head has columns"),
        ("path,label", ["/tmp/0.png,x"], r"images\.csv:2: /tmp/0\.png is absolute; paths are relative to"),
        (
            "path,label,split",
            ["a/0.png,x,trian"],
            r"images\.csv:2: split 'trian' is no part; it is train, val, test or",
        ),
        ("path,label,split", ["a/0.png,x,test", "a/1.png,y,val"], "no row has the split train"),
        ("path,label", ["a/0.png,x", "a/1.png,x"], "2 images of 1 classes; at least two are needed"),
        ("<!doctype html>", [], "an HTML page, not a table"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(table: Path, head: str, lines: list[str], said: str) -> None:
    with pytest.raises(UnfitError, match=said):
        opened(write(table.parent, head, lines))


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"is no file; expected a table, \.csv or \.parquet, with the columns path"):
        opened(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(UnfitError, match="cannot be read as parquet"):
        opened(tmp_path / "x.parquet")
    assert not is_manifest(tmp_path / "x.parquet") and not is_manifest(tmp_path / "no.csv")
