from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from coretune.errors import RequestError, StorageError
from coretune_cli.places import all_results, find_results, find_run, newest_results, read_state, read_state_json


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, Any]) -> Path:
    """Two results directories below ./results, `new` newer than `old`, and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    for age, name in ((1000, "new"), (2000, "old")):
        folder = tmp_path / "results" / name
        (folder / "runs" / f"{name}".encode().hex().ljust(16, "0")).mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({**quick, "study": name}))
        os.utime(folder / "state.json", (2_000_000_000 - age, 2_000_000_000 - age))
    (tmp_path / "results" / "notes").mkdir()
    return tmp_path


def test_newest_first(here: Path) -> None:
    assert [folder.name for folder in all_results()] == ["new", "old"]
    assert newest_results() == Path("results/new")
    assert find_results(None) == (Path("results/new"), True)


def test_by_path_and_by_name(here: Path) -> None:
    assert find_results("results/old") == (Path("results/old"), False)
    assert find_results("old") == (Path("results/old"), False)
    assert find_results(str(here / "results" / "new")) == (here / "results" / "new", False)


def test_no_results_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="no results below"):
        find_results(None)
    with pytest.raises(RequestError, match="nothing"):
        find_results("x")


def test_wrong_directories(here: Path) -> None:
    with pytest.raises(RequestError, match="did you mean results/old"):
        find_results("odl")
    with pytest.raises(RequestError, match="holds no results"):
        find_results("results/notes")


def test_single_runs_will_do_where_they_are_asked_for(singles: Path) -> None:
    assert find_results("results/tune", single_runs=True) == (Path("results/tune"), False)
    assert find_results(None, single_runs=True) == (Path("results/new"), True)


@pytest.fixture
def singles(here: Path) -> Path:
    """Runs of `coretune.tune`, written last of all."""
    folder = here / "results" / "tune"
    for run_id in ("a" * 16, "b" * 16):
        (folder / "runs" / run_id).mkdir(parents=True)
    os.utime(folder / "runs" / ("a" * 16), (2_000_000_000, 2_000_000_000))
    (folder / "manifest.json").write_text('{"study": "tune"}')
    os.utime(folder, (2_000_000_000, 2_000_000_000))
    return folder


def test_single_runs_are_no_study(singles: Path) -> None:
    assert newest_results() == Path("results/new")
    assert [folder.name for folder in all_results()] == ["new", "old"]
    for words in ("tune", "results/tune"):
        with pytest.raises(
            RequestError, match=r"results/tune holds single runs, no study .*study show a{16} --out results/tune$"
        ):
            find_results(words)
    assert find_run("aaaa").results == find_run("aaaa", Path("results/tune")).results == Path("results/tune")


def test_single_runs_alone(singles: Path) -> None:
    for name in ("new", "old"):
        shutil.rmtree(singles.parent / name)
    with pytest.raises(RequestError, match=r"no results below \./results \(results/tune holds single runs, no study\)"):
        find_results(None)


def test_find_run(here: Path) -> None:
    run_id = b"old".hex().ljust(16, "0")
    place = find_run(run_id[:5])
    assert (place.results, place.run_id) == (Path("results/old"), run_id)
    assert find_run(str(place.folder)).run_id == run_id
    assert find_run(run_id, Path("results/old")).folder == place.folder


def test_find_run_refuses(here: Path) -> None:
    with pytest.raises(RequestError, match="neither a results directory nor a run id"):
        find_run("nonsense")
    with pytest.raises(RequestError, match="neither"):
        find_run("abc")
    with pytest.raises(RequestError, match="no run ffff0000 in results/new, results/old"):
        find_run("ffff0000")
    with pytest.raises(RequestError, match="neither"):
        find_run("../../etc")
    (here / "results/old/runs/6e65ffffffffffff").mkdir()
    with pytest.raises(RequestError, match="begins 2 run ids"):
        find_run("6e65")


def test_read_state(here: Path) -> None:
    assert read_state(Path("results/new")).study == "new"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"phase": 1, "schema_version": 9}', b"[" * 100_000]
)
def test_a_state_that_cannot_be_read(here: Path, content: bytes) -> None:
    path = here / "results" / "new" / "state.json"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"not readable .*study resume") as caught:
        read_state_json(path.parent)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_study_that_has_not_begun(here: Path) -> None:
    (here / "results" / "new" / "state.json").unlink()
    with pytest.raises(RequestError, match="has not begun"):
        read_state(here / "results" / "new")
