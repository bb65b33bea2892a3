from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def three(tmp_path: Path, quick: dict[str, Any]) -> None:
    for name, content in (("good", json.dumps({**quick, "phase": "done"})), ("broken", "{"), ("fresh", None)):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        (folder / "study.yaml").write_text("name: x\n")
        if content is not None:
            (folder / "state.json").write_text(content)


def test_list(cli: Any, three: None) -> None:
    said = cli("study", "list")
    assert said.code == 0 and said.err == ""
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.startswith("results/")}
    assert (
        "done" in rows["results/good"]
        and "11/29" in rows["results/good"]
        and "2026-11-24 12:01:12" in rows["results/good"]
    )
    assert "unreadable" in rows["results/broken"] and "not begun" in rows["results/fresh"]
    assert "quickstart" in said.out and "scanned digits" in said.out


def test_list_as_json(cli: Any, three: None) -> None:
    value = json.loads(cli("study", "list", "--json").out)
    assert {entry["results"]: entry["phase"] for entry in value["results"]} == {
        "results/good": "done",
        "results/broken": "unreadable",
        "results/fresh": "not begun",
    }
    assert value["shipped"][0]["name"]


def test_a_study_that_was_killed_is_stopped(cli: Any, tmp_path: Path, quick: dict[str, Any]) -> None:
    import socket

    folder = tmp_path / "results" / "killed"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({**quick, "host": socket.gethostname(), "pid": 2**22 + 1}))
    assert "stopped" in cli("study", "list").out


def test_nothing_here(cli: Any) -> None:
    assert "no results below ./results" in cli("study", "list").out
