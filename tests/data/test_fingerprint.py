from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from coretune.data import fingerprint as module
from coretune.data.fingerprint import content_hash, fingerprint, hash_file
from coretune.data.sources.folder import Folder
from coretune.errors import UnfitError
from coretune.spec.catalog.datasets import FolderParameters


def opened(root: Path) -> Folder:
    return Folder(root, FolderParameters())


def age(root: Path, seconds: int = 100) -> None:
    """Makes all files older than the time in which a change may go unnoticed."""
    for path in root.rglob("*.png"):
        stamp = path.stat().st_mtime_ns - seconds * 10**9
        os.utime(path, ns=(stamp, stamp))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose contents were read."""
    seen: list[Path] = []
    original = module.hash_file
    monkeypatch.setattr(module, "hash_file", lambda path, *stop: (seen.append(path), original(path, *stop))[1])
    return seen


def test_it_is_the_hash_over_sorted_names_and_content_hashes(photos: Path) -> None:
    total = hashlib.sha256()
    for path in sorted(photos.rglob("*.png")):
        name = path.relative_to(photos).as_posix()
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).hexdigest().encode() + b"\n")
    assert fingerprint(opened(photos)) == total.hexdigest()


def test_it_does_not_depend_on_where_the_data_lie(photos: Path) -> None:
    first = fingerprint(opened(photos))
    moved = photos.rename(photos.with_name("elsewhere"))
    assert fingerprint(opened(moved)) == first


@pytest.mark.parametrize("change", ["content", "name", "class", "added", "removed"])
def test_every_change_of_the_images_changes_it(photos: Path, change: str) -> None:
    first = fingerprint(opened(photos))
    image = photos / "cat" / "0.png"
    if change == "content":
        image.write_bytes(image.read_bytes() + b"\0")
    elif change == "name":
        image.rename(image.with_name("zero.png"))
    elif change == "class":
        image.rename(photos / "dog" / "9.png")
    elif change == "added":
        (photos / "cat" / "9.png").write_bytes(image.read_bytes())
    else:
        image.unlink()
    assert fingerprint(opened(photos)) != first


def test_other_files_do_not_change_it(photos: Path) -> None:
    first = fingerprint(opened(photos))
    (photos / "cat" / ".DS_Store").write_bytes(b"x")
    (photos / "README.txt").write_text("notes")
    assert fingerprint(opened(photos)) == first


def test_contents_are_read_once(photos: Path, cache: Path, reads: list[Path]) -> None:
    age(photos)
    first = fingerprint(opened(photos), cache)
    assert len(reads) == 8
    assert fingerprint(opened(photos), cache) == first
    assert len(reads) == 8
    (photos / "cat" / "0.png").write_bytes((photos / "cat" / "1.png").read_bytes())
    assert fingerprint(opened(photos), cache) != first
    assert len(reads) == 9


def test_a_file_that_just_changed_is_not_remembered(photos: Path, cache: Path) -> None:
    """Two writes within one tick of the clock, of the same size: the second must be seen."""
    image = photos / "cat" / "0.png"
    first = fingerprint(opened(photos), cache)
    stamp = image.stat().st_mtime_ns
    image.write_bytes(image.read_bytes()[:-1] + b"\0")
    os.utime(image, ns=(stamp, stamp))
    assert fingerprint(opened(photos), cache) != first


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"a": 1}', b'{"a": [1, 2, "zz"]}'])
def test_a_corrupt_memory_is_made_again(photos: Path, cache: Path, reads: list[Path], damage: bytes) -> None:
    age(photos)
    first = fingerprint(opened(photos), cache)
    (memory,) = (cache / "fingerprints").iterdir()
    good = memory.read_bytes()
    memory.write_bytes(damage)
    assert fingerprint(opened(photos), cache) == first
    assert len(reads) == 16
    assert memory.read_bytes() == good


def test_a_memory_that_cannot_be_written_costs_time_only(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert fingerprint(opened(photos), tmp_path / "file") == fingerprint(opened(photos))


def test_a_file_that_vanished_is_named(photos: Path) -> None:
    source = opened(photos)
    (photos / "dog" / "2.png").unlink()
    with pytest.raises(UnfitError, match=r"dog/2\.png: cannot be read: No such file"):
        fingerprint(source)


def test_names_that_are_not_unicode(photos: Path) -> None:
    strange = os.fsencode(photos / "cat") + b"/\xff\xfe.png"
    with open(strange, "wb") as file:
        file.write((photos / "cat" / "0.png").read_bytes())
    source = opened(photos)
    assert len(source.names) == 9
    assert np.bincount(source.labels).tolist() == [5, 4]
    assert len(fingerprint(source)) == 64


def make_sparse(root: Path, size: int) -> Path:
    """Makes two classes of two files each that read as `size` zeros and take no room on the disk."""
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        os.truncate(root / name, size)
    return root


def test_an_interruption_ends_the_reading_of_large_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = opened(make_sparse(tmp_path / "large", 64 * 10**9))
    began: list[float] = []

    def interrupt() -> None:
        time.sleep(0.5)
        began.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    caplog.set_level(logging.INFO, "coretune.data")
    driver = threading.Thread(target=interrupt)
    driver.start()
    with pytest.raises(KeyboardInterrupt):
        fingerprint(source)
    assert time.monotonic() - began[0] < 5  # hashing one of them takes a minute
    driver.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]
    assert caplog.messages == [f"reading 4 files (256.0 GB) below {tmp_path / 'large'}, to know them by content"]


def test_what_was_read_before_an_interruption_is_remembered(
    photos: Path, cache: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    age(photos)
    counted = module.hash_file

    def interrupted(path: Path, *stop: threading.Event) -> str:
        if path.name == "3.png" and path.parent.name == "dog":
            raise KeyboardInterrupt
        return counted(path, *stop)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "hash_file", interrupted)
        fingerprint(opened(photos), cache)
    assert len(reads) == 7
    fingerprint(opened(photos), cache)
    assert len(reads) == 8


def test_few_and_small_files_are_read_without_a_word(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "coretune.data")
    fingerprint(opened(photos))
    assert not caplog.messages


def test_many_files_are_said(photos: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY_FILES", 7)
    caplog.set_level(logging.INFO, "coretune.data")
    fingerprint(opened(photos))
    assert caplog.messages == [f"reading 8 files (0.0 GB) below {photos}, to know them by content"]


def test_a_hash_that_nobody_wants_any_more_ends(photos: Path) -> None:
    stop = threading.Event()
    image = photos / "cat" / "0.png"
    assert hash_file(image, stop) == hashlib.sha256(image.read_bytes()).hexdigest()
    stop.set()
    with pytest.raises(CancelledError):
        hash_file(image, stop)


def test_a_file_is_hashed_again_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = content_hash(file)
    assert first == hash_file(file)
    with monkeypatch.context() as patched:
        patched.setattr(module, "hash_file", None)
        assert content_hash(file) == first
    file.write_bytes(b"other")
    assert content_hash(file) == hash_file(file) != first
    with pytest.raises(UnfitError, match="absent: cannot be read"):
        content_hash(tmp_path / "absent")
