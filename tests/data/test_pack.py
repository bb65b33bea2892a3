from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.flat_images import PRINT, Fields, check_fields, decoded

from coretune.data import blocks, packing, partial
from coretune.data.fingerprint import fingerprint
from coretune.data.pack import pack
from coretune.data.packing import Packing, worthwhile
from coretune.data.resize import square
from coretune.data.sources.folder import Folder
from coretune.errors import StorageError
from coretune.spec.catalog.datasets import FolderParameters


def folder_of(cache: Path) -> Path:
    (found,) = (path for path in (cache / "packs").iterdir() if path.is_dir())
    return found


def remains(cache: Path) -> list[str]:
    return [path.name for path in (cache / "packs").iterdir() if path.name.startswith(".")]


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
        check_fields(pack(Fields(log=log), PRINT, 8, cache))
    assert len(decoded(log)) == 100


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
    [
        "truncated",
        "longer",
        "no images",
        "no meta",
        "half meta",
        "foreign meta",
        "labels",
        "classes",
        "left out",
        "a file",
    ],
)
def test_a_damaged_or_foreign_pack_is_made_again(cache: Path, tmp_path: Path, damage: str) -> None:
    log = tmp_path / "log"
    check_fields(pack(Fields(log=log), PRINT, 8, cache))
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
    elif damage == "left out":
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "unreadable": [[3, 1, "no"]], "decoder": "1"}))
    elif damage == "classes":
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "classes": ["one"]}))
    else:
        shutil.rmtree(folder)
        folder.write_text("not a folder")
    check_fields(pack(Fields(log=log), PRINT, 8, cache))
    assert len(decoded(log)) == 200
    assert remains(cache) == []


@pytest.mark.parametrize("processes", [0, 2])
def test_unreadable_images_are_named_and_not_tried_again(cache: Path, tmp_path: Path, processes: int) -> None:
    for _ in range(2):
        packed = pack(Fields(broken=(3, 40, 99), log=tmp_path / "log"), PRINT, 8, cache, processes=processes)
        assert [(item.image, item.label, item.reason) for item in packed.unreadable] == [
            (3, 1, "i3: truncated"),
            (40, 0, "i40: truncated"),
            (99, 1, "i99: truncated"),
        ]
        assert np.flatnonzero(packed.labels == -2).tolist() == [3, 40, 99]
        assert not packed.images[[3, 40, 99]].any() and packed.images[98].all()
    assert len(decoded(tmp_path / "log")) == 100


def test_an_unfinished_pack_remembers_what_cannot_be_read(cache: Path, tmp_path: Path) -> None:
    source = Fields(broken=(3, 40, 99), log=tmp_path / "log")
    with pytest.raises(KeyboardInterrupt):
        pack(source, PRINT, 8, cache, _interrupt_at_64)
    assert [item.image for item in pack(source, PRINT, 8, cache).unreadable] == [3, 40, 99]
    assert len(decoded(tmp_path / "log")) == 100


def test_corrupt_files_of_a_folder_are_listed_by_name_and_reason(photos: Path, cache: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photos / "dog" / "1.jpg")
    content = (photos / "dog" / "1.jpg").read_bytes()
    (photos / "dog" / "1.jpg").write_bytes(content[: len(content) // 2])
    (photos / "cat" / "2.png").write_bytes(b"<html>404</html>")
    source = Folder(photos, FolderParameters())
    reasons = [item.reason for item in pack(source, fingerprint(source), 8, cache).unreadable]
    assert reasons[0] == "cat/2.png: an HTML page, not an image"
    assert reasons[1].startswith("dog/1.jpg: ") and "truncated" in reasons[1]


CHILD = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from support.flat_images import Fields, PRINT, check_fields
from coretune.data.pack import pack
check_fields(pack(Fields(log=Path({log!r}), pause={pause}), PRINT, 8, Path({cache!r}), processes={processes}))
print("packed")
"""


def child(cache: Path, log: Path, pause: float, processes: int | None = None) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    code = CHILD.format(tests=tests, log=str(log), pause=pause, cache=str(cache), processes=processes)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(said: Path, images: int) -> None:
    deadline = time.monotonic() + 60
    while len(decoded(said)) < images and time.monotonic() < deadline:
        time.sleep(0.005)


def test_two_processes_at_once_make_one_pack(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [child(cache, log, 0.003) for _ in range(2)]
    for process in children:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, "packed"), err
    assert len(decoded(log)) == 100
    assert len({process for process, _ in decoded(log)}) == 1


@pytest.mark.parametrize("processes", [0, 2])
def test_a_killed_packing_goes_on(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    log, again = tmp_path / "log", tmp_path / "again"
    process = child(cache, log, 0.1, processes)
    marks = None
    deadline = time.monotonic() + 60
    while not (marks and marks[0].stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
        marks = list(cache.glob("packs/.*.partial/blocks.jsonl"))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)  # ends once its children have let go of the pipe
    assert marks is not None
    done = [json.loads(line)["block"] for line in marks[0].read_bytes().splitlines()]
    assert done
    check_fields(pack(Fields(log=again), PRINT, 8, cache))
    expected = [index for index in range(100) if index // blocks.BLOCK not in done]
    assert [index for _, index in decoded(again)] == expected
    assert remains(cache) == []
    assert sorted(path.name for path in folder_of(cache).iterdir()) == [
        "images.u8",
        "labels.npy",
        "pack.json",
        "parts.npy",
    ]


def test_children_end_with_a_killed_parent_and_then_free_its_lock(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = child(cache, log, 0.05, 2)
    wait_until(log, 70)
    children = {number for number, _ in decoded(log)} - {process.pid}
    assert children
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(alive(number) for number in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(alive(number) for number in children)
    check_fields(pack(Fields(), PRINT, 8, cache))


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("change", ["fingerprint", "transform", "block", "version", "truncated", "no head", "no marks"])
def test_a_foreign_or_damaged_unfinished_pack_is_made_anew(cache: Path, tmp_path: Path, change: str) -> None:
    class Enough(Exception):
        pass

    def stop(now: Packing) -> None:
        if now.done >= 64:
            raise Enough

    with pytest.raises(Enough):
        pack(Fields(), PRINT, 8, cache, stop)
    (begun,) = cache.glob("packs/.*.partial")
    head = json.loads((begun / "partial.json").read_text())
    if change == "truncated":
        os.truncate(begun / "images.u8", 100)
    elif change == "no head":
        (begun / "partial.json").unlink()
    elif change == "no marks":
        (begun / "blocks.jsonl").unlink()
    else:
        changed = {"fingerprint": {"fingerprint": "cd" * 32}, "transform": {"transform": {"size": 9}}}
        others = {"block": {"block": 16}, "version": {"partial": "coretune partial pack 0"}}
        (begun / "partial.json").write_text(json.dumps({**head, **{**changed, **others}[change]}))
    log = tmp_path / "log"
    check_fields(pack(Fields(log=log), PRINT, 8, cache))
    assert len(decoded(log)) == 100
    assert remains(cache) == []


def test_an_interrupted_packing_goes_on_and_its_progress_counts_what_was_there(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def interrupt(now: Packing) -> None:
        if now.done == 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(Fields(log=log), PRINT, 8, cache, interrupt)
    seen: list[Packing] = []
    check_fields(pack(Fields(log=log), PRINT, 8, cache, seen.append))
    assert [index for _, index in decoded(log)] == list(range(100))
    assert [(now.done, now.total) for now in seen] == [(64, 100), (96, 100), (100, 100)]
    assert seen[0].images_per_s == 0 and seen[-1].images_per_s > 0


def test_a_torn_mark_counts_for_nothing(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(Fields(), PRINT, 8, cache, _interrupt_at_64)
    (marks,) = cache.glob("packs/.*.partial/blocks.jsonl")
    lines = marks.read_bytes()
    marks.write_bytes(lines[:-1] + b"\x00")
    log = tmp_path / "log"
    check_fields(pack(Fields(log=log), PRINT, 8, cache))
    assert [index for _, index in decoded(log)] == list(range(32, 100))


def _interrupt_at_64(now: Packing) -> None:
    if now.done == 64:
        raise KeyboardInterrupt


def test_what_nobody_goes_on_with_is_removed(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(Fields(), PRINT, 8, cache, _interrupt_at_64)
    pack(Fields(), "cd" * 32, 8, cache)
    (begun,) = cache.glob("packs/.*.partial")
    old = time.time() - partial.ABANDONED_S - 60
    for path in (*begun.iterdir(), begun):
        os.utime(path, (old, old))
    pack(Fields(), "ef" * 32, 8, cache)
    assert remains(cache) == []


def test_a_full_disk_is_said_and_cleaned_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for processes in (0, 2):
        monkeypatch.setattr(blocks.os, "pwrite", full)
        with pytest.raises(StorageError, match=r"packed images \(0 MB\): No space left on device; .*CORETUNE_CACHE"):
            pack(Fields(), PRINT, 8, cache, processes=processes)
        assert [path.suffix for path in (cache / "packs").iterdir()] == [".lock"]
    monkeypatch.undo()
    check_fields(pack(Fields(), PRINT, 8, cache))


def test_a_disk_that_is_too_small_is_said_before_anything_is_decoded(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(StorageError, match="No space left on device"):
        pack(Fields(log=tmp_path / "log"), PRINT, 8, cache)
    assert decoded(tmp_path / "log") == []
    assert [path.suffix for path in (cache / "packs").iterdir()] == [".lock"]


def test_a_fault_of_the_machine_stops_and_is_no_unreadable_image(cache: Path, photos: Path) -> None:
    source = Folder(photos, FolderParameters())
    found = fingerprint(source)
    (photos / "dog" / "1.png").rename(photos / "gone.png")
    with pytest.raises(StorageError, match=r"^dog/1\.png: No such file or directory$"):
        pack(source, found, 8, cache)
    (photos / "gone.png").rename(photos / "dog" / "1.png")
    assert len(pack(source, found, 8, cache).names) == 8


def test_a_cache_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write the packed images"):
        pack(Fields(), PRINT, 8, tmp_path / "file")


def test_a_short_write_goes_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(blocks.os, "pwrite", lambda fd, content, offset: write(fd, content[:50], offset))
    check_fields(pack(Fields(), PRINT, 8, cache))


def test_processes_are_started_where_they_save_time() -> None:
    assert [worthwhile(seconds, 8) for seconds in (0.0, 1.9, 2.0, 2.5, 600.0)] == [0, 0, 2, 3, 8]
    assert [worthwhile(600.0, cpus) for cpus in (1, 2)] == [0, 2]


def test_a_large_set_gets_processes_and_a_small_one_none(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "usable_cpus", lambda: 2)
    slow, fast = tmp_path / "slow", tmp_path / "fast"
    source = Fields(n=640, log=slow, here=os.getpid(), others=2, alone=64, pause=0.005)
    check_fields(pack(source, PRINT, 8, cache), n=640)
    assert len({process for process, _ in decoded(slow)}) == 3
    assert sorted(index for _, index in decoded(slow)) == list(range(640))
    check_fields(pack(Fields(log=fast), PRINT, 8, tmp_path / "other"))
    assert {process for process, _ in decoded(fast)} == {os.getpid()}
