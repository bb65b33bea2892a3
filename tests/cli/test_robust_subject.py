"""`coretune robust eval` on results in an object store: what it finds is there for everybody, tables and all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.finals import make_finals
from support.s3 import BUCKET, s3_server

from coretune.results.remote import Remote
from coretune.results.remote_lock import RemoteLock
from coretune.results.store import ResultsStore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("torch_as_it_was")]

torch.set_num_threads(1)

FAST = ("--attack", "fgsm", "--eps", "16/255", "--limit", "10", "--median", "0")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Results of two cells in a bucket, seen from a machine with an empty cache."""
    with s3_server(tmp_path / "s3.log"):
        place = f"s3://{BUCKET}/tiny"
        monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "one"))
        make_finals(Path(place))
        monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "two"))
        yield place


def test_an_evaluation_is_written_to_the_store(
    cli: Any, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = json.loads((said := cli("robust", "eval", url, *FAST, "--json")).out)
    assert said.code == 0, said.err
    assert value["results"] == url and [each["label"] for each in value["evaluations"]] == ["attack", "transfer"]
    names = Remote(url).entries()
    for each in value["evaluations"]:
        assert f"runs/{each['run_id']}/evals/{each['eval_id']}.json" in names
    assert {"evaluations.csv", "leaderboard.csv", "runs.csv"} <= names.keys() and "driver.lock" not in names
    assert not [name for name in names if ".partial" in name]
    assert b"transfer_top1" in (Remote(url).get("evaluations.csv") or b"")
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "three"))
    again = json.loads(cli("robust", "eval", url, *FAST, "--json").out)
    assert all(each["recorded"] for each in again["evaluations"])
    named = cli("robust", "eval", url, "--run", value["run_id"][:8], *FAST, "--json")
    assert json.loads(named.out)["evaluations"] == again["evaluations"]


def test_a_study_that_runs_there_keeps_its_tables(cli: Any, url: str) -> None:
    with RemoteLock(Remote(url), settle_s=0.1):
        said = cli("robust", "eval", url, "--calibration")
    assert said.code == 0 and "its study is running" in said.err and "runs.csv" not in Remote(url).entries()
    assert sum("/evals/" in name for name in Remote(url).entries()) == 5


def test_what_is_not_there_is_said(cli: Any, url: str) -> None:
    said = cli("robust", "eval", f"s3://{BUCKET}/nothing", "--calibration")
    assert said.code == 2 and f"s3://{BUCKET}/nothing holds no results of a study" in said.err
    said = cli("robust", "eval", url, "--run", "ffff", "--calibration")
    assert said.code == 2 and "no run ffff" in said.err


def test_what_is_unfinished_stays_here_and_survives_a_look_at_the_store(url: str) -> None:
    store = ResultsStore(url, role="evaluator")
    store.mirror.refresh()
    run_id = store.run_ids()[0]
    kept = store.partial_evaluation(run_id, "abcd") / "0-8.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    store.mirror.refresh()
    assert store.record(run_id) is not None and kept.exists()
    store.mirror.publish_changed(f"runs/{run_id}")
    assert not [name for name in Remote(url).entries() if ".partial" in name]
