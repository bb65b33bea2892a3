"""What a study ran on: versions, revision, machine, data. No environment variables, so no secrets."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

import coretune
from coretune.results.times import now_iso

PACKAGES = ("coretune", "torch", "torchvision", "ray", "optuna", "numpy", "pandas", "scipy", "scikit-learn")
GIT_TIMEOUT_S = 5.0


def environment() -> dict[str, Any]:
    """Returns what may change a result within rounding, or explain how long it took.

    Versions come from the packages' metadata: nothing is imported. CUDA devices are named only where torch is loaded
    already.

    Returns:
        `versions` by package (None: not installed), `revision` of coretune's checkout (`-dirty` if changed; None
        outside of one), `platform`, `hostname`, `cpus` this process may use, `memory_gb` of the
        machine, `cuda_devices`.
    """
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "revision": own_revision(),
        "platform": platform.platform(),
        "hostname": socket.gethostname(),
        "cpus": usable_cpus(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "cuda_devices": cuda_devices(),
    }


def manifest(
    study_name: str,
    fingerprints: Mapping[str, str],
    *,
    plugins: Mapping[str, str] | None = None,
    checkpoints: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Returns the content of `manifest.json`.

    Args:
        study_name: Whose results these are.
        fingerprints: SHA-256 of each data set's source, by label.
        plugins: Version (hash of the source) of each plug-in file, by path.
        checkpoints: SHA-256 of each checkpoint file, by the backbone's label.
    """
    return {
        "schema_version": 1,
        "study": study_name,
        "written": now_iso(),
        "fingerprints": dict(sorted(fingerprints.items())),
        "plugins": dict(sorted((plugins or {}).items())),
        "checkpoints": dict(sorted((checkpoints or {}).items())),
        "environment": environment(),
    }


def own_revision() -> str | None:
    """Returns the commit of coretune's checkout, as `git_revision` does; None outside of one."""
    return git_revision(Path(coretune.__file__).parent.parent)


@lru_cache(maxsize=8)  # every record asks, and what is loaded is what was checked out when the process began
def git_revision(checkout: Path) -> str | None:
    """Returns the commit of a checkout, with `-dirty` where tracked files differ; None if it is none, or has none."""
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def cuda_devices() -> list[str]:
    """Returns the names of the CUDA devices, if torch is loaded; otherwise none: it is not loaded for this."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [str(torch.cuda.get_device_name(index)) for index in range(torch.cuda.device_count())]


@lru_cache(maxsize=1)
def _versions() -> Mapping[str, str | None]:
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def usable_cpus() -> int:
    """Returns the CPUs that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
