from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from coretune.results.cellfile import CellFile
from coretune.results.record import Cause, Record
from coretune.results.store import ResultsStore
from coretune.study.missing import Missing, MissingCell

SHIPPED = Path(__file__).resolve().parents[2] / "studies" / "quickstart.yaml"


@dataclass(frozen=True)
class Outcome:
    phase: str
    failed_runs: int
    results: Path
    reason: str | None = None
    missing: tuple[MissingCell, ...] = ()


@dataclass
class Engine:
    """Stands in for `coretune.study.engine`, whose import alone takes seconds: notes what it was asked for."""

    phase: str = "done"
    failed_runs: int = 0
    calls: list[dict[str, Any]] = field(default_factory=list)
    raises: Exception | None = None

    def run_study(self, loaded: Any, **options: Any) -> Outcome:
        self.calls.append({"loaded": loaded, **options})
        if self.raises is not None:
            raise self.raises
        store = ResultsStore(options["out"])
        keys = {"dataset": "digits", "method": "ce", "backbone": "moco_small", "metric": "top1", "direction": "max"}
        store.put_cell(CellFile.model_validate({"key": "digits--ce--moco_small", **keys}))
        if self.failed_runs:
            cause = Cause(kind="diverged", message="the loss is not finite", epoch=3, step=41)
            store.put_record(Record(run_id="f" * 16, status="failed", cause=cause, spec={}, started="", finished=""))
        with options["observe"](lambda: {"phase": self.phase, "study": loaded.study.name}):
            pass
        lacks = (Missing("data set", "dtd", "nothing at /data/dtd\nmore of it", "unpack dtd.tar.gz"),)
        missing = (MissingCell(loaded.cells[0], lacks),) if self.phase == "incomplete" else ()
        return Outcome(self.phase, self.failed_runs, options["out"], "the time limit is reached", missing)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    stand_in = Engine()
    module = ModuleType("coretune.study.engine")
    module.run_study = stand_in.run_study  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "coretune.study.engine", module)
    return stand_in


def test_run_passes_everything_on(cli: Any, engine: Engine) -> None:
    options = [
        "--set",
        "train.epochs=5",
        "--set",
        "seed=3",
        "--only",
        "method=ce",
        "--time-limit",
        "1h30m",
        "--slots",
        "2",
    ]
    said = cli("study", "run", str(SHIPPED), *options, "--out", "here", "--address", "auto", "--retry-failed")
    assert said.code == 0
    (call,) = engine.calls
    assert call["loaded"].study.train["epochs"] == 5 and call["loaded"].study.seed == 3
    assert {key: call[key] for key in call if key not in ("loaded", "observe", "on_abort")} == {
        "out": Path("here"),
        "slots": 2,
        "time_limit_s": 5400.0,
        "only": {"method": "ce"},
        "retry_failed": True,
        "address": "auto",
    }


def test_run_of_a_shipped_study_by_name(cli: Any, engine: Engine) -> None:
    said = cli("study", "run", "quickstart")
    assert said.code == 0
    assert engine.calls[0]["out"] == Path("results/quickstart")
    assert "ce" in said.out and "±" in said.out
    assert "results/quickstart/leaderboard.csv" in said.err and "±" not in said.err


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_study(cli: Any, engine: Engine) -> None:
    Path("quickstart").mkdir()
    assert cli("study", "run", "quickstart").code == 0


def test_resume_of_a_results_directory(cli: Any, engine: Engine) -> None:
    Path("results/mine").mkdir(parents=True)
    Path("results/mine/study.yaml").write_text(SHIPPED.read_text())
    assert cli("study", "resume", "results/mine").code == 0
    assert cli("study", "run", "results/mine").code == 0
    said = cli("study", "resume")
    assert said.code == 0 and "resuming results/mine" in said.err
    assert [call["out"] for call in engine.calls] == [Path("results/mine")] * 3


def test_a_directory_without_a_study(cli: Any, engine: Engine) -> None:
    Path("empty").mkdir()
    said = cli("study", "resume", "empty")
    assert said.code == 2 and "without study.yaml" in said.err and not engine.calls


@pytest.mark.parametrize(
    ("phase", "failed", "code", "says"),
    [
        ("done", 0, 0, "leaderboard.csv"),
        ("done", 1, 1, "coretune study show ffffffffffffffff --out results/quickstart"),
        ("failed", 1, 1, "study status results/quickstart"),
        ("incomplete", 0, 1, "data set dtd is missing: nothing at /data/dtd; to get it: unpack dtd.tar.gz\n"),
        ("incomplete", 0, 1, "1 cell missing; once what they lack is there: coretune study resume results/quickstart"),
        ("interrupted", 0, 130, "(the time limit is reached); go on with: coretune study resume results/quickstart"),
        ("interrupted", 2, 130, "diverged: the loss is not finite"),
    ],
)
def test_outcomes(cli: Any, engine: Engine, phase: str, failed: int, code: int, says: str) -> None:
    engine.phase, engine.failed_runs = phase, failed
    said = cli("study", "run", "quickstart")
    assert said.code == code and says in said.err


def test_run_as_json(cli: Any, engine: Engine) -> None:
    engine.phase = "interrupted"
    said = cli("study", "run", "quickstart", "--json")
    value = json.loads(said.out)
    assert value["phase"] == "interrupted" and value["leaderboard"]["rows"][0]["method"] == "ce"
    assert value["missing"] == []
    engine.phase = "incomplete"
    (told,) = json.loads(cli("study", "run", "quickstart", "--json").out)["missing"]
    assert (told["label"], told["cells"]) == ("dtd", 1)


@pytest.mark.parametrize(
    ("phase", "shown"), [("done", True), ("failed", True), ("incomplete", False), ("interrupted", False)]
)
def test_planned_contrasts_follow_the_leaderboard_of_a_study_that_ended(
    cli: Any, engine: Engine, phase: str, shown: bool
) -> None:
    engine.phase = phase
    Path("mine").mkdir()
    text = SHIPPED.read_text().replace("methods: [ce, core_tuning]", "methods: {ce: {}, core_tuning: {}}")
    Path("mine/study.yaml").write_text(text + "contrasts: {pairs: [[core_tuning, ce]]}\n")
    said = cli("study", "run", "mine")
    assert ("planned contrasts" in said.out) is shown and "mean ± s.e." in said.out
    assert said.out.find("planned contrasts") > said.out.find("mean ± s.e.") or not shown
    assert ("contrasts" in json.loads(cli("study", "run", "mine", "--json").out)) is shown


def test_the_address_of_the_environment(cli: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    cli("study", "run", "quickstart")
    assert engine.calls[0]["address"] == "10.0.0.1:6379"


def test_errors_of_the_engine(cli: Any, engine: Engine) -> None:
    from coretune.errors import LockedError

    engine.raises = LockedError("results/quickstart is being written by pid 7 on node-1")
    said = cli("study", "run", "quickstart")
    assert (
        said.code == 3
        and said.err.splitlines()[-1] == "coretune: results/quickstart is being written by pid 7 on node-1"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x00\xff\x80binary", "not UTF-8"),
        (b"a: &a\n  b: *a\n", "YAML alias"),
        (b"x" * 10_000_000, "10.0 MB"),
        (b"name: x\ndatasets: [digitz]\nbackbones: [small_resnet]\nmethods: [ce]\n", "digits"),
    ],
)
def test_bad_study_files(cli: Any, engine: Engine, content: bytes, says: str) -> None:
    Path("study.yaml").write_bytes(content)
    said = cli("study", "run", "study.yaml")
    assert said.code == 2 and says in said.err and "study.yaml" in said.err and not engine.calls


def test_the_stand_in_is_asked_as_the_engine_is() -> None:
    """The real engine's signature, read without importing Ray."""
    import ast

    source = Path(__file__).resolve().parents[2] / "coretune" / "study" / "engine.py"
    functions = {node.name: node for node in ast.parse(source.read_text()).body if isinstance(node, ast.FunctionDef)}
    names = {argument.arg for argument in functions["run_study"].args.kwonlyargs}
    assert {"out", "slots", "time_limit_s", "only", "retry_failed", "address", "observe", "on_abort"} <= names
