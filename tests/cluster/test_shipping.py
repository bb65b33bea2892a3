from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import coretune
from coretune.cluster import shipping
from coretune.cluster.shipping import JOB_VARIABLE, archive, runtime_env
from coretune.errors import UnfitError

PLUGIN = """
from coretune.spec.components import Component
COMPONENTS = [Component(kind="method", name="mine", target=":Mine", summary="mine")]
class Mine: pass
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "laptop" / "mine.py"
    path.parent.mkdir()
    path.write_text(PLUGIN)
    return path


def test_the_same_content_is_the_same_archive_made_once(tmp_path: Path, plugin: Path) -> None:
    first = archive([str(plugin)], cache=tmp_path)
    made = first.stat().st_mtime_ns
    assert archive([str(plugin)], cache=tmp_path) == first and first.stat().st_mtime_ns == made
    plugin.write_text(PLUGIN + "# changed\n")
    assert archive([str(plugin)], cache=tmp_path) != first
    assert first.stat().st_size < 2 * 2**20


def test_old_archives_go(tmp_path: Path, plugin: Path) -> None:
    for number in range(shipping.KEPT + 3):
        plugin.write_text(PLUGIN + f"# {number}\n")
        archive([str(plugin)], cache=tmp_path)
    assert len(list((tmp_path / "shipped").iterdir())) == shipping.KEPT


def test_it_holds_coretune_as_it_is_imported_here_and_no_compiled_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(archive([], {"study.yaml": b"name: x\n"}, cache=tmp_path)) as file:
        names = file.namelist()
        assert file.read("coretune/__init__.py") == Path(str(coretune.__file__)).read_bytes()
        assert file.read("study.yaml") == b"name: x\n"
    assert "coretune_cli/main.py" in names and "coretune_studies/quickstart.yaml" in names
    assert not [name for name in names if name.endswith(".pyc") or "coretune_shipped" in name]


def test_unpacked_elsewhere_it_is_a_coretune_that_finds_its_plug_ins(tmp_path: Path, plugin: Path) -> None:
    """As on a node: the plug-in is asked for by the path that it had on the laptop, where nothing is any more."""
    node = tmp_path / "node"
    with zipfile.ZipFile(archive([str(plugin)], cache=tmp_path)) as file:
        file.extractall(node)
    plugin.unlink()
    code = (
        "import json, sys, importlib.metadata, coretune\n"
        "from coretune.spec.catalog import load_catalog, plugin_version\n"
        "component = load_catalog((sys.argv[1],)).get('method', 'mine')\n"
        "print(json.dumps([coretune.__file__, component.load().__name__, component.version,\n"
        "    plugin_version(sys.argv[1]), importlib.metadata.version('coretune')]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(node)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(plugin)], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    place, name, version, again, installed = json.loads(done.stdout)
    assert place == str(node / "coretune" / "__init__.py") and name == "Mine"
    assert version == again and version.startswith("file-") and installed == coretune.__version__


def test_the_runtime_environment_says_where_data_are_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path))
    monkeypatch.setenv("CORETUNE_DATA", "/data")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s" * 40)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s" * 40)
    said, size = runtime_env([])
    assert said.keys() == {"working_dir", "env_vars"} and size == Path(said["working_dir"]).stat().st_size
    assert said["env_vars"] == {"CORETUNE_CACHE": str(tmp_path), "CORETUNE_DATA": "/data"}
    assert "s" * 40 not in json.dumps(said)
    content = b"".join(Path(said["working_dir"]).read_bytes() for _ in range(1))
    assert b"s" * 40 not in content


def test_the_driver_of_a_job_ships_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    assert runtime_env([]) == ({}, 0)


def test_data_do_not_go_along(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="MiB, more than the 64 that go along"):
        archive([], {"images.npy": b"x" * (65 * 2**20)}, cache=tmp_path)
