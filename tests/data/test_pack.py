from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from coretune.data import pack as module
from coretune.data.fingerprint import fingerprint
from coretune.data.pack import Packed, pack
from coretune.data.resize import square
from coretune.data.sources.folder import Folder
from coretune.errors import StorageError, UnfitError
from coretune.spec.catalog.datasets import FolderParameters

PRINT = "ab" * 32


@dataclass(frozen=True)
class Fields:
    """A source of n flat images; notes in a file who decodes what."""

    n: int = 100
    log: Path | None = None
    pause: float = 0.0
    broken: tuple[int, ...] = ()
    crop: bool = True
    decoding: str = "fields/1"
    classes: tuple[str, ...] = ("even", "odd")

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.arange(self.n, dtype=np.int64) % 2

    @property
    def parts(self) -> NDArray[np.int8]:
        return np.full(self.n, -1, dtype=np.int8)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"i{i}" for i in range(self.n))

    def files(self) -> list[tuple[str, Path]]:
        return []

    def image(self, index: int) -> NDArray[np.uint8]:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{os.getpid()} {index}\n")
        time.sleep(self.pause)
        if index in self.broken:
            raise UnfitError(f"i{index}: truncated")
        return np.full((8, 8, 3), index % 256, dtype=np.uint8)


def check(packed: Packed, n: int = 100, size: int = 8) -> None:
    assert packed.images.shape == (n, size, size, 3)
    np.testing.assert_array_equal(packed.images[:, 0, 0, 0], np.arange(n) % 256)
    assert (packed.images == packed.images[:, :1, :1, :1]).all()
    np.testing.assert_array_equal(packed.labels, np.arange(n) % 2)
    assert packed.names[3] == "i3"
    assert packed.fingerprint == PRINT


def folder_of(cache: Path) -> Path:
    (found,) = (path for path in (cache / "packs").iterdir() if path.is_dir())
    return found


def decoded(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_images_are_decoded_resized_and_mapped(photos: Path, cache: Path) -> None:
    source = Folder(photos, FolderParameters())
    packed = pack(source, fingerprint(source), 12, cache)
    for index in range(8):
        np.testing.assert_array_equal(packed.images[index], square(source.image(index), 12, crop=True))
    assert isinstance(packed.images, np.memmap)
    assert not packed.images.flags.writeable
    assert packed.classes == ("cat", "dog")
    assert (packed.labels.tolist(), packed.parts.tolist()) == ([0] * 4 + [1] * 4, [-1] * 8)
    assert packed.names == source.names


def test_a_valid_pack_is_used_without_decoding(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(3):
        check(pack(Fields(log=log), PRINT, 8, cache))
    assert decoded(log) == 100


@pytest.mark.parametrize("change", ["fingerprint", "size", "crop", "decoding"])
def test_another_transform_or_source_is_another_pack(cache: Path, change: str) -> None:
    source = Fields(n=6)
    pack(source, PRINT, 8, cache)
    if change == "crop":
        source = replace(source, crop=False)
    if change == "decoding":
        source = replace(source, decoding="fields/2")
    pack(source, "cd" * 32 if change == "fingerprint" else PRINT, 9 if change == "size" else 8, cache)
    assert len([path for path in (cache / "packs").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize(
    "damage",
    ["truncated", "longer", "no images", "no meta", "half meta", "foreign meta", "labels", "classes", "a file"],
)
def test_a_damaged_or_foreign_pack_is_made_again(cache: Path, tmp_path: Path, damage: str) -> None:
    log = tmp_path / "log"
    check(pack(Fields(log=log), PRINT, 8, cache))
    folder = folder_of(cache)
    images, meta = folder / "images.u8", folder / "pack.json"
    if damage == "truncated":
        os.truncate(images, images.stat().st_size - 1)
    elif damage == "longer":
        os.truncate(images, images.stat().st_size + 192)
    elif damage == "no images":
        images.unlink()
    elif damage == "no meta":
        meta.unlink()
    elif damage == "half meta":
        meta.write_bytes(meta.read_bytes()[:50])
    elif damage == "foreign meta":
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "fingerprint": "cd" * 32}))
    elif damage == "labels":
        np.save(folder / "labels.npy", np.zeros(99, dtype=np.int64))
    elif damage == "classes":
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "classes": ["one"]}))
    else:
        shutil.rmtree(folder)
        folder.write_text("not a folder")
    check(pack(Fields(log=log), PRINT, 8, cache))
    assert decoded(log) == 200
    assert not any(path.name.endswith(".tmp") for path in (cache / "packs").iterdir())


def test_all_unreadable_images_are_listed_and_nothing_is_left(cache: Path) -> None:
    with pytest.raises(UnfitError) as caught:
        pack(Fields(broken=(3, 40, 99)), PRINT, 8, cache)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 100 images cannot be read; repair or remove them:"
    assert lines[1:] == ["  i3: truncated", "  i40: truncated", "  i99: truncated"]
    assert [path.suffix for path in (cache / "packs").iterdir()] == [".lock"]


def test_corrupt_files_of_a_folder_are_listed_by_name_and_reason(photos: Path, cache: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "dog" / "1.jpg")
    content = (photos / "dog" / "1.jpg").read_bytes()
    (photos / "dog" / "1.jpg").write_bytes(content[: len(content) // 2])
    (photos / "cat" / "2.png").write_bytes(b"<html>404</html>")
    source = Folder(photos, FolderParameters())
    with pytest.raises(UnfitError, match=r"(?s)2 of 9 .*cat/2\.png: an HTML page.*dog/1\.jpg: .*truncated"):
        pack(source, fingerprint(source), 8, cache)


CHILD = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from test_pack import Fields, PRINT, check
from coretune.data.pack import pack
check(pack(Fields(log=Path({log!r}), pause={pause}), PRINT, 8, Path({cache!r})))
print("packed")
"""


def child(cache: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    code = CHILD.format(tests=str(Path(__file__).parent), log=str(log), pause=pause, cache=str(cache))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_make_one_pack(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [child(cache, log, 0.003) for _ in range(2)]
    for process in children:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, "packed"), err
    assert decoded(log) == 100
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 1


def test_a_kill_leaves_nothing_that_counts(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = child(cache, log, 0.05)
    deadline = time.monotonic() + 60
    while decoded(log) < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert any(path.name.endswith(".tmp") for path in (cache / "packs").iterdir())
    check(pack(Fields(), PRINT, 8, cache))
    assert not any(path.name.endswith(".tmp") for path in (cache / "packs").iterdir())


def test_a_full_disk_is_said_and_cleaned_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "pwrite", full)
    with pytest.raises(StorageError, match=r"packed images \(0 MB\): No space left on device; .*CORETUNE_CACHE"):
        pack(Fields(), PRINT, 8, cache)
    assert [path.suffix for path in (cache / "packs").iterdir()] == [".lock"]
    monkeypatch.undo()
    check(pack(Fields(), PRINT, 8, cache))


def test_a_cache_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write the packed images"):
        pack(Fields(), PRINT, 8, tmp_path / "file")


def test_a_short_write_goes_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(module.os, "pwrite", lambda fd, content, offset: write(fd, content[:50], offset))
    check(pack(Fields(), PRINT, 8, cache))
