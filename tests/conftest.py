"""What all tests share: real data where they are, caches that belong to the test session, few threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.crew import Crew

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("coretune", deadline=None)  # a busy machine is no defect of what is tested
settings.load_profile("coretune")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes run the tests, four of short ones where there are the cores; nodes and GPUs are one process's."""
    marker = config.getoption("markexpr")
    if marker in ("nodes", "gpu"):
        return 0
    return 2 if marker == "slow" else min(4, max(2, os.cpu_count() or 1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images for tests; the test is skipped where it is absent."""
    folder = Path(os.environ.get("CORETUNE_TEST_DATA") or SHARED)
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder} (CORETUNE_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True, scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packs and fingerprints of this session lie in a folder of its own, never in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["CORETUNE_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """Four processes that train together."""
    from support.crew import Crew

    made = Crew(4, tmp_path_factory.mktemp("crew"))
    yield made
    made.close()
