from __future__ import annotations

import errno
import json
import multiprocessing.connection
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

import coretune
from coretune.errors import DeadClusterError, LockedError, Problem, RequestError, RunError, StorageError, StudyError
from coretune_cli.main import explain, main, make_app, without_debug

HEAVY = ("torch", "torchvision", "ray", "pandas", "optuna", "numpy", "scipy", "sklearn", "pyarrow", "matplotlib")
LIGHT = {
    "help": ["--help"],
    "version": ["--version"],
    "study help": ["study", "run", "--help"],
    "status": ["study", "status"],
    "list": ["study", "list"],
}
PROBE = """
import json, sys
from coretune_cli.main import main
code = main(sys.argv[1:])
sys.stdout.flush()
print(json.dumps([code, sorted(name.partition(".")[0] for name in sys.modules)]), file=sys.stderr)
"""


@pytest.fixture
def results(tmp_path: Path, quick: dict[str, Any]) -> Path:
    folder = tmp_path / "results" / "quickstart"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({**quick, "phase": "done"}))
    return tmp_path


@pytest.mark.parametrize("name", LIGHT)
def test_answers_without_the_heavy_packages(name: str, results: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *LIGHT[name]], cwd=results, capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code == 0 and done.stdout
    assert not set(HEAVY) & set(modules)
    if name in ("help", "version"):
        assert "pydantic" not in modules


def test_help_names_every_command(cli: Any) -> None:
    assert all(word in cli("--help").out for word in ("study", "leaderboard", "doctor"))
    said = cli("study", "--help").out
    assert all(word in said for word in ("run", "resume", "plan", "status", "watch", "list", "show", "schema", "logs"))


def test_every_command_and_option_is_described() -> None:
    def walk(command: Any, path: str) -> None:
        assert command.help, path
        for param in command.params:
            assert getattr(param, "help", None), f"{path} {param.name}"
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}")

    walk(get_command(make_app()), "coretune")


def test_every_table_can_be_json() -> None:
    study = get_command(make_app()).commands["study"].commands  # type: ignore[attr-defined]
    board = get_command(make_app()).commands["leaderboard"].commands  # type: ignore[attr-defined]
    tables = [study[name] for name in ("run", "resume", "plan", "status", "watch", "list", "show", "schema")]
    for command in [*tables, board["show"], board["contrasts"], get_command(make_app()).commands["doctor"]]:  # type: ignore[attr-defined]
        assert any("--json" in param.opts for param in command.params), command.name


def test_version(cli: Any) -> None:
    said = cli("--version")
    assert (said.code, said.out, said.err) == (0, f"coretune {coretune.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["study", "run", "quickstart", "--slot", "3"], "--slots"),
        (["study", "runn"], "'run'"),
        (["studdy"], "'study'"),
        (["study", "run"], "STUDY"),
        (["study", "run", "quickstart", "--slots", "0"], "coretune: --slots: must be at least 1, got '0'\n"),
        (["study", "run", "quickstart", "--slots", "two"], "coretune: --slots: must be a whole number, got 'two'\n"),
        (["study", "logs", "abcd", "-n", "-1"], "coretune: --lines: must be at least 0, got '-1'\n"),
        (["leaderboard", "export", "-f", "xml"], "coretune: --format: must be one of csv, md, tex, json, got 'xml'\n"),
        (["study", "run", "quickstart", "--time-limit", "90"], "90s or 90m"),
        (["study", "run", "quickstart", "--only", "seed=3"], "dataset=LABEL"),
        (["study", "run", "quickstart", "--only", "dataset=cifar"], "digits"),
        (["study", "run", "nowhere.yaml"], "nowhere.yaml"),
        (["study", "run", "quickstart", "--set", "train.epoch=3"], "epochs"),
        (["study", "status"], "no results"),
        (["study", "show", "0123abcd"], "no run 0123abcd"),
        (["leaderboard", "show", "nowhere"], "no such results directory"),
    ],
)
def test_a_wrong_request_is_answered_in_two_lines(cli: Any, words: list[str], says: str) -> None:
    said = cli(*words)
    assert said.code == 2
    assert said.out == ""
    assert says in said.err and said.err.startswith("coretune: ")
    assert len(said.err.splitlines()) <= 2 and "Traceback" not in said.err


def test_no_command_is_answered_with_help(cli: Any) -> None:
    assert cli().code == 2
    assert "Usage" in cli("study").out + cli("study").err


@pytest.mark.parametrize(
    "words", [["--debug", "study", "status"], ["study", "status", "--debug"], ["study", "--debug", "status"]]
)
def test_debug_shows_the_traceback_wherever_it_stands(cli: Any, words: list[str]) -> None:
    said = cli(*words)
    assert said.code == 2 and "Traceback" in said.err and "RequestError" in said.err


def test_debug_by_the_environment(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORETUNE_DEBUG", "1")
    assert "Traceback" in cli("study", "status").err
    monkeypatch.setenv("CORETUNE_DEBUG", "0")
    assert "Traceback" not in cli("study", "status").err


def test_debug_after_two_dashes_is_an_argument() -> None:
    assert without_debug(["a", "--debug", "--", "--debug"]) == (["a", "--", "--debug"], True)
    assert without_debug(["a", "--", "--debug"]) == (["a", "--", "--debug"], False)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (RequestError("wrong"), 2, "coretune: wrong"),
        (StudyError([Problem("a", "b", 3, "f"), Problem("c", "d", 4, "f")]), 2, "coretune: f:3: a: b\nf:4: c: d"),
        (LockedError("pid 3 on h"), 3, "coretune: pid 3 on h"),
        (StorageError("full"), 3, "coretune: full"),
        (RunError("nan"), 1, "coretune: nan"),
        (ModuleNotFoundError("No module named 'x'", name="x"), 3, "coretune: cannot import x"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), 3, "coretune: /tmp/x: No space left on device"),
        (typer.Abort(), 130, ""),
        (ValueError("odd"), 1, "coretune: internal error, ValueError: odd"),
    ],
)
def test_errors_have_messages_and_codes(error: Exception, code: int, says: str) -> None:
    message, found = explain(error)
    assert found == code and message.startswith(says)


def test_a_dead_cluster_is_told_and_not_waited_for(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> int:
        raise DeadClusterError("Ray has not answered for 30 s")

    ended: list[int] = []
    monkeypatch.setattr("coretune_cli.main.run", fail)
    monkeypatch.setattr("coretune_cli.main.os._exit", ended.append)
    said = cli("study", "run", "x.yaml")
    assert (said.code, said.err) == (3, "coretune: Ray has not answered for 30 s\n")
    assert ended == [3]


def test_an_interrupt_is_130(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coretune_cli.status.read_state_json", interrupted)
    monkeypatch.setattr("coretune_cli.status.find_results", lambda words: (Path("x"), False))
    assert main(["study", "status"]) == 130


@pytest.mark.parametrize(
    "words", ["study schema", "study schema --json", "study status", "--help", "study run --help", "", "--version"]
)
def test_a_reader_who_goes_away_is_no_error(words: str, results: Path) -> None:
    command = f"{sys.executable} -m coretune_cli.main {words} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=results, capture_output=True, text=True, check=True)
    assert done.stderr in ("", "results/quickstart, the newest results\nthe driver ended (done)\n")
    assert done.stdout.strip() == "0"


def test_a_pipe_that_breaks_elsewhere_is_an_error(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost, not the reader of our output."""

    def send(*_: Any, **__: Any) -> None:
        left, right = socket.socketpair()
        right.close()
        with left:
            multiprocessing.connection.Connection(os.dup(left.fileno())).send_bytes(b"x")

    monkeypatch.setattr("coretune_cli.status.find_results", send)
    said = cli("study", "status")
    assert said.code == 3 and said.err == "coretune: system: Broken pipe\n"


def test_a_terminal_without_unicode_gets_question_marks(results: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "coretune_cli.main", "study", "status"],
        cwd=results,
        capture_output=True,
        env=environment,
    )
    assert done.returncode == 0 and b"core_tuning" in done.stdout


def test_colour_only_on_a_terminal(results: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coretune_cli.main", "study", "status"], cwd=results, capture_output=True, text=True
    )
    assert not re.search("\x1b", done.stdout + done.stderr)
