from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from coretune.data.fingerprint import fingerprint
from coretune.data.pack import pack
from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION
from coretune.data.sources.parquet import Parquet
from coretune.data.sources.row_groups import WINDOW
from coretune.data.sources.shard import Shard
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import ParquetParameters

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
NAMES = ["cat", "dog", "eel"]


def opened(path: Path, **params: object) -> Parquet:
    return Parquet(path, ParquetParameters.model_validate(params))


def picture(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (value % 256, value // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def write(
    path: Path,
    labels: Sequence[object],
    *,
    images: Sequence[bytes | None] | None = None,
    image: str = "image",
    label: str = "label",
    kind: Any = STRUCT,
    label_kind: Any = None,
    classes: Sequence[str] | None = None,
    start: int = 0,
    group: int = 1000,
) -> Path:
    """Writes a parquet file; image i has the colour (start + i)."""
    contents = [picture(start + i) for i in range(len(labels))] if images is None else images
    values = [{"bytes": content, "path": "x.png"} for content in contents] if kind == STRUCT else contents
    if label_kind is None:
        label_kind = pa.string() if any(isinstance(value, str) for value in labels) else pa.int64()
    table = pa.table({image: pa.array(values, kind), label: pa.array(labels, label_kind)})
    if classes is not None:
        features = {label: {"names": list(classes), "_type": "ClassLabel"}, image: {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def colours(source: Parquet) -> list[int]:
    pixels = [source.image(index)[0, 0].tolist() for index in range(len(source.names))]
    assert all(blue == 7 for _, _, blue in pixels)
    return [red + 256 * green for red, green, _ in pixels]


def test_shards_of_the_hub(tmp_path: Path) -> None:
    write(tmp_path / "data" / "train-00001-of-00002.parquet", [2, 1], classes=NAMES, start=3)
    write(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1, 2], classes=NAMES, group=2)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", [1], classes=NAMES, start=9)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", [0], classes=NAMES, start=8)
    (tmp_path / "README.md").write_text("x")
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog", "eel")
    assert source.names == (
        "test-00000-of-00001.parquet/000000",
        "train-00000-of-00002.parquet/000000",
        "train-00000-of-00002.parquet/000001",
        "train-00000-of-00002.parquet/000002",
        "train-00001-of-00002.parquet/000000",
        "train-00001-of-00002.parquet/000001",
        "validation-00000-of-00001.parquet/000000",
    )
    assert source.labels.tolist() == [1, 0, 1, 2, 2, 1, 0]
    assert source.parts.tolist() == [TEST, *[TRAIN] * 5, VALIDATION]
    assert colours(source) == [9, 0, 1, 2, 3, 4, 8]
    assert [name for name, _ in source.files()] == sorted({name.split("/")[0] for name in source.names})
    assert all(path.is_file() for _, path in source.files())


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train.parquet", TRAIN),
        ("cifar10-train-0.parquet", TRAIN),
        ("pets_Training2.parquet", TRAIN),
        ("train/0000.parquet", TRAIN),
        ("plain_text/train/0000.parquet", TRAIN),
        ("0000.parquet", UNDECIDED),
        ("trainval.parquet", UNDECIDED),
        ("plain_text/latest.parquet", UNDECIDED),
    ],
)
def test_parts_by_name(tmp_path: Path, name: str, part: int) -> None:
    source = opened(write(tmp_path / name, [0, 1]) and tmp_path)
    assert source.parts.tolist() == [part] * 2


@pytest.mark.parametrize(
    ("name", "part"),
    [("val", VALIDATION), ("dev", VALIDATION), ("valid-1", VALIDATION), ("eval", TEST), ("test_x", TEST)],
)
def test_other_parts_by_name(tmp_path: Path, name: str, part: int) -> None:
    write(tmp_path / "train.parquet", [0, 1])
    write(tmp_path / f"{name}.parquet", [0, 1])
    assert sorted(set(opened(tmp_path).parts.tolist())) == [TRAIN, part]


def test_the_same_names_and_fingerprint_wherever_the_files_lie(tmp_path: Path) -> None:
    write(tmp_path / "a" / "data" / "train-00000-of-00001.parquet", [0, 1, 1])
    shutil.copytree(tmp_path / "a" / "data", tmp_path / "b" / "elsewhere")
    sources = [opened(tmp_path / "a"), opened(tmp_path / "a" / "data"), opened(tmp_path / "b" / "elsewhere")]
    assert len({source.names for source in sources}) == len({fingerprint(source) for source in sources}) == 1


def test_one_file(tmp_path: Path) -> None:
    file = write(tmp_path / "train-00000-of-00002.parquet", [1, 0])
    source = opened(file)
    assert source.names == ("train-00000-of-00002.parquet/000000", "train-00000-of-00002.parquet/000001")
    assert source.files() == [(file.name, file)]


@pytest.mark.parametrize("kind", [STRUCT, pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("image", ["image", "img"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label"])
def test_usual_columns(tmp_path: Path, kind: Any, image: str, label: str) -> None:
    source = opened(write(tmp_path / "x.parquet", [0, 1, 0], kind=kind, image=image, label=label, label_kind=pa.int8()))
    assert source.labels.tolist() == [0, 1, 0]
    assert source.labels.dtype == np.int64
    assert colours(source) == [0, 1, 2]


def test_named_columns_and_their_pack_of_their_own(tmp_path: Path) -> None:
    table = pq.read_table(write(tmp_path / "x.parquet", [0, 1, 0]))
    table = table.append_column("coarse_label", pa.array([1, 1, 0])).append_column("photo", table["image"])
    pq.write_table(table, tmp_path / "x.parquet")
    usual = opened(tmp_path)
    other = opened(tmp_path, label_column="coarse_label", image_column="photo", crop=False)
    assert other.labels.tolist() == [1, 1, 0]
    assert (usual.crop, other.crop) == (True, False)
    assert len({usual.decoding, other.decoding, opened(tmp_path, label_column="coarse_label").decoding}) == 3
    assert opened(tmp_path, label_column="label").decoding == usual.decoding


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_strings_are_classes_sorted(tmp_path: Path, kind: Any) -> None:
    write(tmp_path / "train.parquet", ["eel", "cat", "eel"], label_kind=kind)
    write(tmp_path / "test.parquet", ["dog", "cat"], label_kind=kind)
    (tmp_path / "classes.txt").write_text("x\ny\n")
    source = opened(tmp_path)
    assert source.classes == ("cat", "dog", "eel")
    assert source.labels.tolist() == [1, 0, 2, 0, 2]
    assert len(source.files()) == 2


def test_numbers_that_occur_are_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [102, 1, 7, 1])
    source = opened(tmp_path)
    assert source.classes == ("1", "7", "102")
    assert source.labels.tolist() == [2, 0, 1, 0]


def test_classes_txt_beside_the_files_or_above_within_the_path(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root / "data" / "train.parquet", [0, 2, 0])
    (root / "classes.txt").write_text("\ufeffcat\ndog \neel\n\n", encoding="utf-8")
    source = opened(root)
    assert source.classes == ("cat", "dog", "eel")
    assert source.labels.tolist() == [0, 2, 0]
    before = fingerprint(source)
    (root / "data" / "classes.txt").write_text("a\nb\nc\n")
    nearer = opened(root)
    assert nearer.classes == ("a", "b", "c")
    assert fingerprint(nearer) != before
    (root / "data" / "classes.txt").unlink()
    assert opened(root / "data").classes == ("0", "2")


def test_metadata_go_before_classes_txt(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1], classes=NAMES)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert opened(tmp_path).classes == tuple(NAMES)
    assert len(opened(tmp_path).files()) == 1


@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b'{"info": null}', b'{"info": {"features": {"label": {}}}}'])
def test_other_metadata_mean_nothing(tmp_path: Path, metadata: bytes) -> None:
    table = pq.read_table(write(tmp_path / "x.parquet", [0, 1]))
    pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), tmp_path / "x.parquet")
    assert opened(tmp_path).classes == ("0", "1")


def test_hidden_files_and_files_of_no_row_are_ignored(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", [])
    write(tmp_path / "train-1.parquet", [1, 0], start=5)
    write(tmp_path / ".cache" / "train-2.parquet", [1, 0])
    write(tmp_path / "._train-1.parquet", [1, 0])
    source = opened(tmp_path)
    assert source.names == ("train-1.parquet/000000", "train-1.parquet/000001")
    assert colours(source) == [5, 6]


# --- reading ---------------------------------------------------------------------------------------------------


class Counter:
    """Counts the row groups that are read, by (file, group)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[tuple[str, int]] = []
        images = Shard.images

        def counted(shard: Shard, group: int) -> Any:
            self.read.append((shard.name, group))
            return images(shard, group)

        monkeypatch.setattr(Shard, "images", counted)


@pytest.mark.parametrize("group", [1, 7, 90, 300])
def test_packing_reads_each_row_group_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for file in range(2):
        write(tmp_path / f"train-{file}.parquet", [0, 1] * 300, group=group, start=600 * file)
    source = opened(tmp_path)
    counter = Counter(monkeypatch)
    packed = pack(source, fingerprint(source), 8, tmp_path / "cache")
    groups = 2 * -(-600 // group)
    # A thread that falls behind may find its next group gone: it is read again, so a few more are right too.
    assert len(set(counter.read)) == groups <= len(counter.read) <= groups + 4
    found = packed.images[:, 0, 0, 0].astype(int) + 256 * packed.images[:, 0, 0, 1].astype(int)
    np.testing.assert_array_equal(found, np.arange(1200))


def test_few_row_groups_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train.parquet", [0, 1] * WINDOW * 2, images=[b"x"] * (WINDOW * 4), group=WINDOW)
    source = opened(tmp_path)
    counter = Counter(monkeypatch)
    for place in (0, 1, 0, 2, 0, 1):
        source._groups.content(place * WINDOW)
    assert [group for _, group in counter.read] == [0, 1, 2, 1]


def test_threads_in_any_order(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1] * 400, group=50)
    source = opened(tmp_path)
    order = np.random.default_rng(0).permutation(800)
    with ThreadPoolExecutor(8) as pool:
        pixels = list(pool.map(lambda index: source.image(int(index))[0, 0], order))
    assert [int(red) + 256 * int(green) for red, green, _ in pixels] == order.tolist()


def test_opening_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    whole = pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile, "read", lambda self, **options: read.append(options["columns"]) or whole(self, **options)
    )
    counter = Counter(monkeypatch)
    opened(write(tmp_path / "train.parquet", [0, 1]))
    assert (read, counter.read) == ([["label"]], [])


def test_the_catalog_and_sources_do_without_pyarrow() -> None:
    code = "import sys, coretune.data.source; from coretune.spec.catalog import load_catalog; load_catalog()"
    code += "; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- what is refused -------------------------------------------------------------------------------------------


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"absent is no folder or file; expected parquet files named as on the"):
        opened(tmp_path / "absent")
    with pytest.raises(UnfitError, match=r"no parquet file \(found nothing\); expected"):
        opened(tmp_path)
    (tmp_path / "a.csv").touch()
    with pytest.raises(UnfitError, match=r"no parquet file \(found a\.csv\); expected"):
        opened(tmp_path)
    write(tmp_path / "train.parquet", [])
    with pytest.raises(UnfitError, match="1 parquet files without a row; expected one image a row"):
        opened(tmp_path)
    with pytest.raises(UnfitError, match="no path is given; expected"):
        Parquet(None, ParquetParameters())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/train.parquet", "b/train.parquet"], r"in several folders \(a, b\): give the path of one of them"),
        (["train.parquet", "b/test.parquet"], r"in several folders \(\., b\)"),
        (["test.parquet", "val.parquet"], r"no part to train on, only test\.parquet, val\.parquet; expected"),
        (["train-test.parquet"], r"train-test\.parquet: its name says several parts \(train, test\); rename it"),
        (["train/test-0.parquet"], r"its name says several parts \(train, test\)"),
        (
            ["train-00000-of-00003.parquet", "train-00002-of-00003.parquet", "test-00000-of-00001.parquet"],
            r"1 of 3 files of train are not there \(train-00001-of-00003\); download",
        ),
        (["data/train-00000-of-00002-0a1b.parquet"], r"1 of 2 files of train are not there"),
    ],
)
def test_files_of_other_layouts(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        write(tmp_path / name, [0, 1])
    with pytest.raises(UnfitError, match=message):
        opened(tmp_path)


GOOD = pa.table({"image": pa.array([{"bytes": b"x", "path": ""}] * 2, STRUCT), "label": [0, 1]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("image"), r"no column image or img of images; its columns are label; name the right"),
        (
            lambda t: t.drop_columns("label"),
            r"no column label or labels or fine_label of labels; its columns are image",
        ),
        (lambda t: t.set_column(0, "image", [[[1], [2]]]), r"column image is list<.*>; expected the contents of image"),
        (lambda t: t.set_column(0, "image", [["a", "b"]]), r"column image is string; expected the contents"),
        (
            lambda t: t.set_column(0, "image", pa.array([{"path": "x"}] * 2)),
            r"column image is struct<path: string>; expected .* struct<bytes: binary, path: string>, or binary",
        ),
        (lambda t: t.set_column(1, "label", [[0.0, 1.0]]), r"column label is double; expected one label an image: int"),
        (lambda t: t.set_column(1, "label", [[[0], [1]]]), r"column label is list<.*>; expected one label an image"),
        (
            lambda t: t.set_column(1, "label", [[0, None]]),
            r"row 1: the label \(label\) is null; expected whole numbers",
        ),
        (lambda t: t.set_column(1, "label", [["a", None]]), r"row 1: the label \(label\) is null; expected strings"),
        (lambda t: t.set_column(1, "label", [["a", ""]]), r"row 1: label ; expected a name or a number"),
        (lambda t: t.set_column(1, "label", [[0, -1]]), r"row 1: label -1 \(the hub marks hidden .*; expected a name"),
        (lambda t: t.set_column(1, "label", [[0, -2]]), r"row 1: label -2; expected a name or a number of 0 or more"),
        (lambda t: t.set_column(1, "label", pa.array([0, 2**64 - 1], pa.uint64())), r"cannot be read as parquet: .*"),
        (lambda t: t.set_column(1, "label", [[3, 3]]), r"2 images of 1 classes; at least two are needed"),
    ],
)
def test_tables_of_other_columns(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    pq.write_table(change(GOOD), tmp_path / "train.parquet")
    with pytest.raises(UnfitError, match=message) as caught:
        opened(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_asked_columns_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1])
    with pytest.raises(UnfitError, match=r"no column photo of images; its columns are image, label; .* image_column"):
        opened(tmp_path, image_column="photo")
    with pytest.raises(UnfitError, match=r"no column y of labels; its columns are image, label; .* label_column"):
        opened(tmp_path, label_column="y")


@pytest.mark.parametrize("bad", [3, -1])
def test_labels_beyond_the_names(tmp_path: Path, bad: int) -> None:
    write(tmp_path / "train.parquet", [0, 1, bad], classes=NAMES)
    with pytest.raises(
        UnfitError, match=rf"train\.parquet: row 2: label {bad}.*; expected 0 to 2, for the 3 classes of"
    ):
        opened(tmp_path)
    write(tmp_path / "train.parquet", [0, 1, bad])
    (tmp_path / "classes.txt").write_text("a\nb\nc")
    with pytest.raises(UnfitError, match=rf"row 2: label {bad}.*for the 3 classes of .*classes\.txt"):
        opened(tmp_path)


@pytest.mark.parametrize("text", [b"a\nb\na\n", b"a\n\nb\n", b"", b"\xff\xfe\xfa\n"])
def test_classes_txt_that_names_no_classes(tmp_path: Path, text: bytes) -> None:
    write(tmp_path / "train.parquet", [0, 1])
    (tmp_path / "classes.txt").write_bytes(text)
    with pytest.raises(UnfitError, match=r"classes\.txt"):
        opened(tmp_path)


def test_shards_that_differ(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [0, 1], classes=NAMES)
    other = tmp_path / "b.parquet"
    write(other, [0, 1], classes=["cat", "dog", "ant"])
    with pytest.raises(
        UnfitError, match=r"b\.parquet: differs from .*a\.parquet in its classes .*: cat, dog, ant; expec"
    ):
        opened(tmp_path)
    write(other, [0, 1])
    with pytest.raises(UnfitError, match=r"in its classes \(Hugging Face metadata\): none; expected cat, dog, eel"):
        opened(tmp_path)
    write(other, ["cat", "dog"])
    with pytest.raises(UnfitError, match=r"in its kind of labels: strings; expected whole numbers"):
        opened(tmp_path)
    write(other, [0, 1], image="img", classes=NAMES)
    with pytest.raises(UnfitError, match=r"in its column of images: img; expected image"):
        opened(tmp_path)
    write(other, [0, 1], label="labels", classes=NAMES)
    with pytest.raises(UnfitError, match=r"in its column of labels: labels; expected label"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n",
            "a Git LFS pointer, not a parquet file",
        ),
        (b"\n<!DOCTYPE html><html></html>", "an HTML page, not a parquet file"),
        (b"just text that is long enough", "cannot be read as parquet: "),
        (b"PAR1", "a parquet file that is truncated|cannot be read as parquet"),
    ],
)
def test_files_that_are_no_parquet(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train.parquet").write_bytes(content)
    with pytest.raises(UnfitError, match=rf"train\.parquet: ({message})"):
        opened(tmp_path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, keep: float) -> None:
    file = write(tmp_path / "train.parquet", [0, 1] * 200)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UnfitError, match=r"train\.parquet: a parquet file that is truncated; download it again"):
        opened(tmp_path)


def test_a_corrupt_middle(tmp_path: Path) -> None:
    file = write(tmp_path / "train.parquet", [0, 1] * 200)
    content = bytearray(file.read_bytes())
    content[4:-2000] = bytes(len(content) - 2004)
    file.write_bytes(content)
    with pytest.raises(UnfitError, match=r"train\.parquet: cannot be read as parquet"):
        opened(tmp_path).image(0)


@pytest.mark.parametrize("kind", [STRUCT, pa.binary()])
def test_null_and_broken_images_are_all_named_when_they_are_packed(tmp_path: Path, kind: Any) -> None:
    images = [picture(0), None, b"", b"<html>", picture(4)]
    write(tmp_path / "train.parquet", [0, 1, 0, 1, 0], images=images, kind=kind)
    source = opened(tmp_path)
    packed = pack(source, fingerprint(source), 8, tmp_path / "cache")
    assert [item.reason for item in packed.unreadable] == [
        "train.parquet/000001: null; expected the content of an image file in column image",
        "train.parquet/000002: an empty file",
        "train.parquet/000003: an HTML page, not an image",
    ]


def test_a_null_struct_is_a_null_image(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([None, {"bytes": b"x"}], STRUCT), "label": [0, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UnfitError, match=r"^train\.parquet/000000: null; expected"):
        opened(tmp_path).image(0)
