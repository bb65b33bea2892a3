from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from coretune_cli import doctor
from coretune_cli.doctor import Check

GIB = 1 << 30


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for torch with two GPUs, one of them full."""
    module: Any = ModuleType("torch")
    module.version = SimpleNamespace(cuda="13.2")
    names = ["GPU A", "GPU B"]
    module.cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        mem_get_info=lambda index: ((20 - 19 * index) * GIB, 24 * GIB),
        get_device_properties=lambda index: SimpleNamespace(name=names[index]),
    )
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(doctor, "IMPORTS", {})  # torchvision would be half imported
    return module


def test_devices(torch: Any) -> None:
    free, full = doctor.check_torch()
    assert (free.name, free.state, free.found) == ("cuda:0", "ok", "GPU A, 20.0 GiB free of 24.0 GiB")
    assert full.state == "warn" and "nvidia-smi" in full.remedy
    torch.cuda.is_available = lambda: False
    assert doctor.check_torch()[0].found.startswith("CPU only")


def test_a_broken_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (check,) = doctor.check_torch()
    assert check.state == "fail" and "pip install" in check.remedy


def test_this_installation_is_fit() -> None:
    checks = doctor.check_packages()
    names = {check.name: check for check in checks}
    assert {"Python", "coretune", "torch", "torchvision", "ray", "optuna", "other packages"} <= set(names)
    assert all(check.state == "ok" for check in checks), checks


def test_versions() -> None:
    assert doctor.check_version("pytest", ">=1").state == "ok"
    old = doctor.check_version("pytest", ">=1000")
    assert old.state == "fail" and old.remedy == 'pip install "pytest>=1000"'
    assert "not installed" in doctor.check_version("no-such-package-here", ">=1").found
    assert doctor.check_python(">=3.99").state == "fail"
    assert doctor.check_packages("no-such-package-here")[0].state == "fail"


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (doctor.check_cores(0.5), "warn"),
        (doctor.check_cores(2), "ok"),
        (doctor.check_memory(16 * GIB, 8 * GIB), "ok"),
        (doctor.check_memory(16 * GIB, 3 * GIB), "warn"),
        (doctor.check_memory(GIB, GIB), "fail"),
    ],
)
def test_judgements(check: Check, state: str) -> None:
    assert check.state == state
    assert bool(check.remedy) == (state != "ok")


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "file" / "x"))
    results, cache, home, _ = doctor.check_folders(tmp_path / "new")
    assert results.state in ("ok", "warn") and home.state in ("ok", "warn")
    assert cache.state == "fail" and cache.remedy == "set CORETUNE_CACHE to another place"
    for free, state in ((0.1, "fail"), (2.0, "warn"), (50.0, "ok")):
        usage = SimpleNamespace(free=int(free * GIB))
        monkeypatch.setattr("shutil.disk_usage", lambda path, usage=usage: usage)
        check = doctor.check_folder("results", tmp_path, "go elsewhere", "it may not fit")
        assert check.state == state and ("go elsewhere" in check.remedy) == (state != "ok")
        temporary = doctor.check_temporary(tmp_path.relative_to(tmp_path))
        assert temporary.state == ("fail" if free < 0.5 else "ok")
    assert doctor.check_shared_memory(tmp_path / "absent") == []
    assert doctor.check_home(tmp_path / "file")[0].state == "warn"


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_rays_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    for place, says in (("file", "cannot be written: "), (f"/tmp/{'x' * 60}", "26 bytes too long")):
        monkeypatch.setenv(variable, place)
        check = doctor.check_folders(tmp_path)[-1]
        assert check.state == "fail" and says in check.found and "RAY_TMPDIR" in check.remedy


@pytest.mark.parametrize("name", ["ray", "torchvision", "optuna"])
def test_what_cannot_be_imported_is_unfit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Installed in the right version, as its metadata say."""
    others = [Check("torch", "ok", "2.13"), Check("absent", "fail", "not installed")]
    monkeypatch.setitem(sys.modules, name, None)
    (broken, *same) = doctor.check_imports([Check(name, "ok", "9.9"), *others])
    assert (broken.name, broken.state, same) == (name, "fail", others)
    assert broken.found.startswith("9.9, but it cannot be imported: ") and "pip install" in broken.remedy


def test_an_import_may_raise_anything() -> None:
    def load() -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    check = doctor.check_import(Check("torchvision", "ok", "0.28"), load)
    assert check.found.endswith(": operator torchvision::nms does not exist")
    assert check.remedy.endswith("torch torchvision")
    assert doctor.check_import(check, lambda: None) is check


@pytest.mark.parametrize(("soft", "state"), [(100, "fail"), (1024, "warn"), (65536, "ok")])
def test_open_files(monkeypatch: pytest.MonkeyPatch, soft: int, state: str) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (soft, soft))
    assert doctor.check_open_files()[0].state == state


def test_the_command(cli: Any, torch: Any) -> None:
    said = cli("doctor", "--json")
    value = json.loads(said.out)
    assert said.code == (0 if value["fit"] else 3)
    assert {"Python", "cores", "memory", "results", "cache", "home", "temporary", "cuda:1"} <= {
        check["name"] for check in value["checks"]
    }


def test_unfit_is_three(cli: Any, torch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = cli("doctor", "--out", "file/results")
    assert said.code == 3
    assert "not fit for a study: results" in said.out and "→ choose another place with --out" in said.out
