"""What a cluster gets from this process: coretune itself and plug-in files, in one small archive. Never data.

The archive has the content of coretune's wheel. Ray unpacks it on each node, once, and puts it before all else on the
import path. As a wheel under `py_modules` it would be installed by `pip --target`, which no `uv` environment has, and
which fetches coretune's requirements a second time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import coretune
from coretune.data.roots import CACHE_VARIABLE, DATA_VARIABLE, cache_root
from coretune.errors import UnfitError
from coretune.results.files import put_atomic
from coretune.results.remote import ENDPOINT, GCS_ENDPOINT, REGION
from coretune.spec.shipped import FOLDER, INDEX, local_copy

PACKAGES = ("coretune", "coretune_cli", "coretune_studies")
VARIABLES = (CACHE_VARIABLE, DATA_VARIABLE, *ENDPOINT, *REGION, GCS_ENDPOINT)
"""Variables of this process that hold on the nodes too: they say where things are. Ray shows them to everybody."""
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray sets in the driver of a job: it has a runtime environment already, and takes no second one."""
KEPT = 8
LIMIT = 64 * 1024 * 1024
_DATE = (1980, 1, 1, 0, 0, 0)  # the same content is the same archive


def runtime_env(plugins: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Returns what Ray shall prepare on each node for a study, and the archive's size in bytes; nothing in a job.

    Args:
        plugins: Paths of plug-in files.

    Raises:
        StorageError: The archive cannot be written.
        UnfitError: It would be larger than 64 MiB.
    """
    if os.environ.get(JOB_VARIABLE):
        return {}, 0
    path = archive(plugins)
    said = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    return {"working_dir": str(path), **({"env_vars": said} if said else {})}, path.stat().st_size


def archive(plugins: Sequence[str], extra: Mapping[str, bytes] | None = None, *, cache: Path | None = None) -> Path:
    """Returns an archive of coretune and a study's files, made once for the same content.

    Args:
        plugins: Paths of plug-in files.
        extra: Further files, by their names in the archive.
        cache: Root of the caches.

    Raises:
        StorageError: It cannot be written.
        UnfitError: It would be larger than 64 MiB.
    """
    files = {**dict(_coretune()), **dict(_metadata()), **_plugins(plugins), **(extra or {})}
    if (size := sum(map(len, files.values()))) > LIMIT:
        raise UnfitError(f"coretune and the study's files are {size / 2**20:.0f} MiB, more than the 64 that go along")
    content = _zipped(files)
    folder = (cache or cache_root()) / "shipped"
    path = folder / f"coretune-{coretune.__version__}-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    if not path.is_file():
        put_atomic(path, content)
        for old in sorted(folder.glob("coretune-*.zip"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    return path


def _coretune() -> Iterator[tuple[str, bytes]]:
    """Yields coretune's own files as they are imported here, by their names in a wheel."""
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations or ()) if found is not None else ():
            for path in sorted(Path(place).rglob("*")):
                if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts:
                    yield f"{package}/{path.relative_to(place).as_posix()}", path.read_bytes()


def _metadata() -> Iterator[tuple[str, bytes]]:
    """Yields what makes the package an installed one, with its version, where the archive is unpacked."""
    folder = f"coretune-{coretune.__version__}.dist-info"
    yield f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: coretune\nVersion: {coretune.__version__}\n".encode()
    yield f"{folder}/WHEEL", b"Wheel-Version: 1.0\nGenerator: coretune\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def _plugins(paths: Sequence[str]) -> dict[str, bytes]:
    """Returns plug-in files and their index, as `coretune.spec.shipped` reads it."""
    if not paths:
        return {}
    names = {path: f"{number}/{Path(path).name}" for number, path in enumerate(dict.fromkeys(paths))}
    files = {f"{FOLDER}/{name}": Path(local_copy(path)).read_bytes() for path, name in names.items()}
    return {f"{FOLDER}/__init__.py": b"", f"{FOLDER}/{INDEX}": json.dumps(names).encode(), **files}


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(files):
            about = zipfile.ZipInfo(name, _DATE)
            about.compress_type = zipfile.ZIP_DEFLATED
            about.external_attr = 0o644 << 16
            file.writestr(about, files[name])
    return buffer.getvalue()
