"""`benchmarks/all.py`: verdicts, the table, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from support.scripts import load_script


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with made-up benchmarks beside it."""
    module = load_script("benchmarks/all.py", monkeypatch)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def write(folder: Path, name: str, ratio: float, goal: float, better: str = "lower") -> None:
    line = json.dumps({"name": name, "ratio": ratio, "goal": goal, "better": better, "rival": "a rival", "detail": {}})
    (folder / f"{name}.py").write_text(f"print('chatter')\nprint({line!r})\n")


def test_kept_promises_are_exit_code_0(bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "slow", 1.02, 1.03)
    write(tmp_path, "fast", 2.5, 2.0, "higher")
    assert bench.main([]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["benchmark", "ratio", "goal", "verdict", "seconds", "against"]
    assert [row.split()[:5] for row in rows] == [
        ["fast", "2.500", "≥", "2.000", "kept"],
        ["slow", "1.020", "≤", "1.030", "kept"],
    ]


def test_a_missed_or_broken_promise_is_exit_code_1(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "good", 1.0, 1.03)
    write(tmp_path, "missed", 1.04, 1.03)
    (tmp_path / "silent.py").write_text("print('no json')")
    (tmp_path / "crash.py").write_text("raise SystemExit(3)")
    assert bench.main(["good"]) == 0
    assert bench.main(["good", "missed"]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert bench.main(["silent"]) == 1
    assert bench.main(["crash"]) == 1
    assert "no result: exit code 3" in capsys.readouterr().out


def test_an_unknown_name_is_exit_code_2(bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "good", 1.0, 1.03)
    assert bench.main(["god"]) == 2
    assert "no such benchmark: god; there are good" in capsys.readouterr().err
