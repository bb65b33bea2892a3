from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from coretune.results.manifest import cuda_devices, environment, git_revision, manifest


def test_it_is_plain_json_and_names_what_matters() -> None:
    said = manifest("quickstart", {"digits": "ab" * 32}, plugins={"/a.py": "file-1"}, checkpoints={"net": "cd" * 32})
    found = json.loads(json.dumps(said))
    assert found["study"] == "quickstart"
    assert found["fingerprints"] == {"digits": "ab" * 32}
    assert found["plugins"] == {"/a.py": "file-1"}
    assert found["checkpoints"] == {"net": "cd" * 32}
    versions = found["environment"]["versions"]
    assert versions["numpy"] and versions["python"].startswith("3.")
    assert found["environment"]["cpus"] >= 1
    assert found["environment"]["memory_gb"] > 0


def test_it_holds_no_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell-anyone")
    assert "do-not-tell-anyone" not in json.dumps(manifest("x", {}))


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from coretune.results.manifest import environment; environment();"
        "print([name for name in ('torch', 'ray', 'pandas', 'numpy', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_devices_are_named_only_where_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert cuda_devices() == []
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda index: f"GPU {index}"
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    assert environment()["cuda_devices"] == ["GPU 0", "GPU 1"]
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))  # type: ignore[arg-type]
    assert cuda_devices() == []


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_revision_of_a_checkout(tmp_path: Path) -> None:
    git_revision.cache_clear()
    assert git_revision(tmp_path) is None
    git_revision.cache_clear()
    git(tmp_path, "init", "-q")
    assert git_revision(tmp_path) is None, "no commit yet"
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "one")
    git_revision.cache_clear()
    assert git_revision(tmp_path) == git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    git_revision.cache_clear()
    assert git_revision(tmp_path) == git(tmp_path, "rev-parse", "HEAD") + "-dirty"


def test_no_git_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    git_revision.cache_clear()
    assert git_revision(tmp_path) is None
