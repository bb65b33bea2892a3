"""A study whose results are in an object store, from the first run to the leaderboard, on two machines' caches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import coretune, write_study
from support.s3 import BUCKET, s3_server

from coretune.results.remote import Remote

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    with s3_server(tmp_path / "s3.log"):
        yield f"s3://{BUCKET}"


def recorded(url: str) -> dict[str, int]:
    return {name: entry.written for name, entry in Remote(url).entries("runs").items() if name.endswith("record.json")}


def test_a_study_is_run_stopped_and_resumed_elsewhere(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/tiny"
    write_study(tmp_path)
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "one"))
    options = ("--set", "train.epochs=40", "--out", url)
    first = coretune("study", "run", "tiny.yaml", "--time-limit", "6s", *options, folder=tmp_path)
    assert first.returncode == 130, first.stderr
    assert f"coretune study resume {url}" in first.stderr
    before = recorded(url)
    assert len(before) < 10 and "driver.lock" not in Remote(url).entries()
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "two"))
    second = coretune("study", "resume", url, folder=tmp_path)
    assert second.returncode == 0, second.stderr
    after = recorded(url)
    assert len(after) == 10 and {name: after[name] for name in before} == before
    names = Remote(url).entries()
    assert {"study.yaml", "manifest.json", "state.json", "leaderboard.csv", "runs.csv", "log.txt"} <= names.keys()
    assert not [name for name in names if "/state/" in name or ".tmp" in name or "probe" in name]
    assert sum(name.endswith("model.safetensors") for name in names) == 4
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "three"))
    status = coretune("study", "status", url, "--json", folder=tmp_path)
    assert json.loads(status.stdout)["phase"] == "done" and json.loads(status.stdout)["results"] == url
    shown = coretune("leaderboard", "show", url, "--json", folder=tmp_path)
    assert len(json.loads(shown.stdout)["rows"]) == 2, shown.stderr
    everything = b"".join(Remote(url).get(name) or b"" for name in names if not name.endswith(".safetensors"))
    assert b"secret-of-the-test" not in everything


def test_what_is_refused(bucket: str, tmp_path: Path) -> None:
    write_study(tmp_path)
    said = coretune("study", "status", f"{bucket}/nothing", folder=tmp_path)
    assert said.returncode == 2 and f"{bucket}/nothing holds no results of a study" in said.stderr
    said = coretune("study", "run", "tiny.yaml", "--out", "s3://no-such-bucket/x", folder=tmp_path)
    assert said.returncode == 3 and "s3://no-such-bucket/x" in said.stderr and len(said.stderr.splitlines()) <= 2
    said = coretune("study", "watch", f"{bucket}/tiny", folder=tmp_path)
    assert said.returncode == 2 and "watch follows files on disk" in said.stderr
