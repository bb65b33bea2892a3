from __future__ import annotations

import errno
from pathlib import Path

import pytest

from coretune_cli.machine import cores, cpu_limit, existing, memory, memory_limit, write_problem

GIB = 1 << 30


def named(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "garbage here\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_cpu_limit(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    assert cpu_limit(named(tmp_path, files)) == limit


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (
            {
                "memory.max": f"{4 * GIB}\n",
                "memory.current": f"{3 * GIB}\n",
                "memory.stat": f"anon 5\ninactive_file {GIB}\n",
            },
            (4 * GIB, 2 * GIB),
        ),
        ({"memory.max": "max\n", "memory.current": "5\n"}, None),
        ({"memory/memory.limit_in_bytes": f"{GIB}\n", "memory/memory.usage_in_bytes": "7\n"}, (GIB, 7)),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"memory.max": f"{GIB}\n"}, (GIB, 0)),
    ],
)
def test_memory_limit(tmp_path: Path, files: dict[str, str], limit: tuple[int, int] | None) -> None:
    assert memory_limit(named(tmp_path, files)) == limit


def test_a_limit_of_the_group_counts(tmp_path: Path) -> None:
    named(tmp_path, {"cpu.max": "50000 100000\n", "memory.max": f"{GIB // 64}\n", "memory.current": "0\n"})
    assert cores(tmp_path) == 0.5
    assert memory(tmp_path) == (GIB // 64, GIB // 64)


def test_existing(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path


def test_write_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_problem(tmp_path / "not" / "yet") is None
    assert list(tmp_path.iterdir()) == []

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert write_problem(tmp_path) == f"{tmp_path}: No space left on device"
    (tmp_path / "file").write_text("")
    monkeypatch.undo()
    assert "file" in str(write_problem(tmp_path / "file"))
