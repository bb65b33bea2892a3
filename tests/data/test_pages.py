"""A pack in memory: one copy for all processes, and of a large one only what is asked for."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.flat_images import PRINT, Fields

from coretune.data import pages
from coretune.data.pack import Packed, pack
from coretune.results.control_group import memory_limit

SIDE, N = 64, 3000
BYTES = N * SIDE * SIDE * 3


@pytest.fixture
def packed(cache: Path) -> Packed:
    return pack(Fields(n=N), PRINT, SIDE, cache, processes=0)


CHILD = """
import re, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.flat_images import PRINT, Fields
from coretune.data.pack import pack

def kilobytes(what):
    return int(re.search(rf"^{{what}}: *([0-9]+) kB", Path("/proc/self/smaps_rollup").read_text(), re.M).group(1))

images = pack(Fields(n={n}), PRINT, {side}, Path({cache!r})).images
print("mapped", flush=True)
sys.stdin.readline()
before = kilobytes("Pss"), kilobytes("Rss")
print("measured", flush=True)
sys.stdin.readline()
images.max()
print("read", flush=True)
sys.stdin.readline()
print(kilobytes("Pss") - before[0], kilobytes("Rss") - before[1], flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not say it (smaps_rollup)")
def test_a_further_process_costs_no_memory(packed: Packed, cache: Path) -> None:
    code = CHILD.format(tests=str(Path(__file__).parents[1]), n=N, side=SIDE, cache=str(cache))
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    def said() -> list[str]:
        found = []
        for child in children:
            assert child.stdout is not None
            found.append(child.stdout.readline().strip())
        return found

    def go_on() -> None:
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()

    for word in ("mapped", "measured", "read"):
        assert said() == [word] * 3
        go_on()
    numbers = [[int(value) * 1024 for value in line.split()] for line in said()]
    go_on()
    for child in children:
        child.communicate(timeout=60)
    proportional, resident = zip(*numbers, strict=True)
    assert min(resident) > 0.95 * BYTES, "each process has all images in memory"
    assert 0.9 * BYTES < sum(proportional) < 1.15 * BYTES, "and all three together have one copy of them"
    assert max(proportional) < 0.5 * BYTES


def in_memory(path: Path) -> int:
    """Returns the bytes of a file that are in memory, asked from the kernel without reading any."""
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    flags = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped)), flags) == 0
    return int(np.frombuffer(flags, dtype=np.uint8).sum()) * mmap.PAGESIZE


@pytest.fixture
def on_disk(packed: Packed) -> Path:
    """The file of a pack, no byte of which is in memory."""
    path = Path(str(packed.images.filename))  # type: ignore[attr-defined]
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(path):
        pytest.skip(f"the file system below {path} keeps its files in memory")
    return path


def test_of_a_large_pack_only_what_is_asked_for_is_read(
    on_disk: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pack(Fields(n=N), PRINT, SIDE, cache).images
    chosen = np.random.default_rng(0).permutation(N)[:100]
    monkeypatch.setattr(pages, "memory", lambda: BYTES)
    pages.fetch(images, chosen)
    found = np.take(images, chosen, axis=0)
    np.testing.assert_array_equal(found[:, 5, 5, 0], chosen % 256)
    wanted = 100 * (SIDE * SIDE * 3 + 2 * mmap.PAGESIZE)  # an image begins and ends within a page
    assert 100 * SIDE * SIDE * 3 <= in_memory(on_disk) <= wanted


def test_a_pack_that_fits_into_memory_is_left_to_the_kernel(
    on_disk: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pack(Fields(n=N), PRINT, SIDE, cache).images
    monkeypatch.setattr(pages, "memory", lambda: 2 * BYTES)
    pages.fetch(images, np.arange(100))
    assert in_memory(on_disk) == 0
    monkeypatch.setattr(pages, "memory", lambda: 0)
    pages.fetch(np.zeros((4, 2, 2, 3), dtype=np.uint8), np.arange(4))


def test_the_memory_is_the_smaller_of_machine_and_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for text, expected in (("max\n", real), ("1000000\n", 1_000_000), ("9223372036854771712\n", real)):
        (tmp_path / "memory.max").write_text(text)
        monkeypatch.setattr(pages, "memory_limit", lambda: memory_limit(tmp_path))
        pages.memory.cache_clear()
        assert pages.memory() == expected
    pages.memory.cache_clear()
