from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from coretune.errors import StorageError
from coretune.results.files import append_line, explain, put_atomic, set_aside, stand_in


def test_content_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    put_atomic(path, b"old")
    put_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


class Killed(BaseException):
    """What a kill looks like from within."""


@pytest.mark.parametrize("error", [Killed(), OSError(errno.EIO, "Input/output error")])
def test_an_interrupted_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "file"
    put_atomic(path, b"old")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError if isinstance(error, OSError) else Killed):
        put_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_said_in_one_line_and_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    put_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"file: the disk is full: free space, or choose another place \(--out, -"):
        put_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        put_atomic(tmp_path / "file", b"")


def test_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    for write in (lambda: put_atomic(tmp_path / "a", b""), lambda: append_line(tmp_path / "a", "")):
        with pytest.raises(StorageError, match="read-only: choose another place"):
            write()


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        put_atomic(tmp_path / "file" / "inner", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder"):
        put_atomic(tmp_path / "folder", b"")


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def sync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    put_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_lines_are_appended(tmp_path: Path) -> None:
    append_line(tmp_path / "a" / "log", "one")
    append_line(tmp_path / "a" / "log", "zwölf")
    assert (tmp_path / "a" / "log").read_text(encoding="utf-8") == "one\nzwölf\n"


def test_setting_aside_keeps_the_content_under_a_new_name(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    names = set()
    for content in ("a", "b"):
        path.write_text(content)
        aside = set_aside(path)
        assert aside.read_text() == content
        assert aside.name.startswith("record.json.corrupt-")
        names.add(aside.name)
    assert len(names) == 2
    with pytest.raises(StorageError):
        set_aside(path)


def test_an_unknown_error_keeps_its_own_words(tmp_path: Path) -> None:
    assert explain(OSError(errno.ELOOP, "Too many levels"), tmp_path).endswith(": Too many levels")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer"),
        (b"<!DOCTYPE html>", "page"),
        (b"\xef\xbb\xbf \r\n<HTML>", "page"),
        (b"\x89PNG", None),
        (b"<?xml version='1.0'?><svg/>", None),
    ],
)
def test_what_lies_in_place_of_a_download_is_recognised(head: bytes, expected: str | None) -> None:
    assert stand_in(head) == expected
