"""What is installed works: built, installed and run away from the checkout, with this environment's other packages."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import coretune

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("coretune", "cli", "studies", "tests", "pyproject.toml", "README.md", "LICENSE")
OUTSIDE = ("PYTHON", "RAY_", "TUNE_", "COVERAGE", "VIRTUAL_ENV")

WHERE = """
from importlib.util import find_spec
for name in ("coretune", "coretune_cli", "coretune_studies", "torch"):
    print(find_spec(name).submodule_search_locations[0])
"""

pytestmark = pytest.mark.slow


def call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command as a user of a fresh shell would."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OUTSIDE)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


@dataclass(frozen=True)
class Built:
    """What a release consists of."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Builds an sdist of a copy of the tree, and a wheel of that sdist, with what is installed here."""
    pytest.importorskip("build")
    pytest.importorskip("setuptools")
    tree, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, tree / name)
    call([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(tree)], target)
    (sdist,), (wheel,) = target.glob("*.tar.gz"), target.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def scripts(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the wheel into a new environment that sees this one's other packages; returns its bin folder."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    install = ["install", "--no-deps", "--no-index", "--no-compile", str(built.wheel)]
    call([sys.executable, "-m", "pip", "--python", str(python), *install], home)
    # After the installation, which must not find coretune here. A folder that a .pth file names comes behind the
    # environment's own, and its .pth files, such as that of an editable coretune, are not read.
    (here,) = home.glob("lib/python*/site-packages")
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (here / "others.pth").write_text("".join(f"{path}\n" for path in sorted(others)))
    return home / "bin"


def names(archive: Path) -> list[str]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            return file.namelist()
    with tarfile.open(archive) as file:
        return [name.partition("/")[2] for name in file.getnames()]


def test_the_wheel_holds_the_packages_and_nothing_else(built: Built) -> None:
    found = names(built.wheel)
    tops = {name.partition("/")[0] for name in found}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"coretune", "coretune_cli", "coretune_studies"}
    assert "coretune/py.typed" in found
    assert not [name for name in found if Path(name).name.startswith("test")]
    for package, folder in (("coretune", "coretune"), ("coretune_cli", "cli"), ("coretune_studies", "studies")):
        sources = [path for suffix in ("py", "yaml", "json") for path in (ROOT / folder).rglob(f"*.{suffix}")]
        wanted = {f"{package}/{path.relative_to(ROOT / folder)}" for path in sources}
        assert wanted and wanted - set(found) == set()


def test_the_sdist_suffices_for_the_wheel(built: Built) -> None:
    found = names(built.sdist)
    for name in ("pyproject.toml", "README.md", "LICENSE", "coretune/py.typed", "cli/main.py"):
        assert name in found, name
    assert {f"studies/{path.name}" for path in (ROOT / "studies").glob("*.yaml")} <= set(found)
    assert not [name for name in found if name.startswith("tests/")]


def test_coretune_comes_from_the_wheel(scripts: Path, tmp_path: Path) -> None:
    *ours, torch = call([str(scripts / "python"), "-c", WHERE], tmp_path).stdout.split()
    assert all(Path(path).is_relative_to(scripts.parent) for path in ours), ours
    assert not Path(torch).is_relative_to(scripts.parent), "one torch installation is enough"


def test_version_and_help(scripts: Path, tmp_path: Path) -> None:
    assert call([str(scripts / "coretune"), "--version"], tmp_path).stdout == f"coretune {coretune.__version__}\n"
    assert "study" in call([str(scripts / "coretune"), "--help"], tmp_path).stdout


def test_the_quickstart_without_a_checkout(scripts: Path, tmp_path: Path) -> None:
    command = str(scripts / "coretune")
    assert "core_tuning" in call([command, "study", "plan", "quickstart"], tmp_path).stdout
    assert not list(tmp_path.iterdir()), "a plan writes nothing"
    said = call([command, "study", "run", "quickstart", "--set", "preset=smoke"], tmp_path)
    assert "±" in said.stdout and "Traceback" not in said.stderr
    with (tmp_path / "results" / "quickstart" / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"ce", "core_tuning"} <= {row["method"] for row in rows}
    assert all(row["n"] == "2" and 0 <= float(row["mean"]) <= 100 for row in rows)
