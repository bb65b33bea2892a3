from __future__ import annotations

from pathlib import Path

import pytest
from support.control_group import GIB, named

from coretune.results.control_group import cpu_limit, memory_limit


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
