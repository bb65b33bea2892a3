"""Whole studies under Ray, driven as a user drives them."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.command import TINY, coretune, processes_below, records, start, wait_until, write_study

pytestmark = pytest.mark.slow

RUNS = 2 * (3 + 2)
STABLE = ("dataset", "method", "backbone", "n", "mean", "std", "diff", "p_paired_t", "params", "run_ids", "values")


def leaderboard(results: Path) -> list[dict[str, str]]:
    with (results / "leaderboard.csv").open(newline="") as file:
        return [{key: row[key] for key in STABLE} for row in csv.DictReader(file)]


def times(results: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in results.glob("runs/*/record.json")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the tiny study, run without a disturbance."""
    folder = tmp_path_factory.mktemp("undisturbed")
    text = TINY + "contrasts: {pairs: [[core_tuning, ce]]}\n"
    done = coretune("study", "run", str(write_study(folder, text)), folder=folder)
    assert done.returncode == 0, done.stderr
    assert "core_tuning − ce" in done.stdout and "before any test score was there" in " ".join(done.stdout.split())
    return folder / "results" / "tiny"


def test_a_study_leaves_what_the_design_says(undisturbed: Path) -> None:
    assert len(records(undisturbed)) == RUNS
    for name in ("study.yaml", "manifest.json", "state.json", "leaderboard.csv", "runs.csv", "optuna.journal"):
        assert (undisturbed / name).is_file(), name
    assert json.loads((undisturbed / "state.json").read_text())["phase"] == "done"
    rows = leaderboard(undisturbed)
    assert [row["n"] for row in rows] == ["2"] * 4
    finals = {run for row in rows if row["dataset"] == "digits" for run in json.loads(row["run_ids"])}
    evaluated = {path.parent.parent.name for path in undisturbed.glob("runs/*/evals/*.json")}
    assert evaluated == finals, "only final runs see the test part"
    weights = {path.parent.name for path in undisturbed.glob("runs/*/model.safetensors")}
    assert weights == finals
    assert not list(undisturbed.glob("runs/*/state")), "no state of a finished run stays"


def test_what_was_planned_is_older_than_every_record(undisturbed: Path) -> None:
    (entry,) = json.loads((undisturbed / "planned.json").read_text())["entries"]
    assert entry["test_scores"] == 0 and entry["plan"]["contrasts.pairs"] == [["core_tuning", "ce"]]
    started = [json.loads(path.read_text())["started"] for path in undisturbed.glob("runs/*/record.json")]
    assert entry["date"] < min(started)
    with (undisturbed / "contrasts.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["n"], row["first"], row["second"]) == ("2", "core_tuning", "ce") and row["verdict"] != "incomplete"


def test_a_second_run_trains_nothing(undisturbed: Path) -> None:
    before = times(undisturbed)
    folder = undisturbed.parent.parent
    again = coretune("study", "run", "tiny.yaml", folder=folder)
    assert again.returncode == 0, again.stderr
    assert times(undisturbed) == before


def test_the_journal_opens_in_optuna(undisturbed: Path, tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    copy = tmp_path / "optuna.journal"
    copy.write_bytes((undisturbed / "optuna.journal").read_bytes())
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(copy)))
    studies = optuna.get_all_study_names(storage)
    assert studies == ["digits--ce--plain", "digits--core_tuning--plain"]
    assert len(optuna.load_study(study_name=studies[0], storage=storage).trials) == 3


@pytest.mark.timeout(900)  # four starts of Ray
def test_kills_at_random_moments_lose_nothing(undisturbed: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path)
    results = tmp_path / "results" / "tiny"
    draw = random.Random(0)  # other moments, of all that can be killed: test_faults.py
    seen: dict[str, int] = {}
    for _ in range(3):
        process = start(["study", "run", str(study)], tmp_path)
        goal = len(seen) + draw.randint(1, 3)
        wait_until(lambda goal=goal, p=process: len(records(results)) >= goal or p.poll() is not None)  # type: ignore[misc]
        process.kill()
        process.communicate()
        now = times(results)
        assert seen.items() <= now.items(), "a record was lost or made twice"
        seen = now
    done = coretune("study", "run", str(study), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert seen.items() <= times(results).items()
    assert leaderboard(results) == leaderboard(undisturbed)


def workers() -> list[psutil.Process]:
    """The Tune actors that train, below this process."""
    return processes_below("Trainable")


def test_a_killed_actor_is_replaced(undisturbed: Path, tmp_path: Path) -> None:
    process = start(["study", "run", str(write_study(tmp_path))], tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: len(records(results)) >= 2 and bool(workers()))
    workers()[0].kill()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert leaderboard(results) == leaderboard(undisturbed)


LONG = {"train.epochs=2000", "train.evaluate_every=50", "search=none", "finals.seeds=1"}


def long_study(folder: Path) -> list[str]:
    return ["study", "run", str(write_study(folder)), *(part for item in sorted(LONG) for part in ("--set", item))]


def test_ctrl_c_stores_the_state_and_a_resume_goes_on(tmp_path: Path) -> None:
    process = start(long_study(tmp_path), tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: bool(list(results.glob("runs/*/metrics-*.jsonl"))))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "resume" in err
    assert list(results.glob("runs/*/state/state.pt"))
    assert (results / "leaderboard.csv").is_file()
    assert json.loads((results / "state.json").read_text())["phase"] == "interrupted"
    again = start(["study", "resume", str(results)], tmp_path)
    wait_until(lambda: any("resume at epoch" in path.read_text() for path in results.glob("runs/*/log.txt")))
    again.send_signal(signal.SIGINT)
    _, err = again.communicate(timeout=60)
    assert again.returncode in (0, 130), err


def test_a_second_driver_is_refused_with_pid_and_host(tmp_path: Path) -> None:
    process = start(long_study(tmp_path), tmp_path)
    results = tmp_path / "results" / "tiny"
    try:
        wait_until(lambda: (results / "state.json").is_file())
        second = coretune("study", "run", str(tmp_path / "tiny.yaml"), folder=tmp_path)
        assert second.returncode == 3
        assert str(process.pid) in second.stderr and os.uname().nodename in second.stderr
    finally:
        process.kill()
        process.communicate()


def test_a_diverging_run_fails_and_the_others_go_on(tmp_path: Path) -> None:
    sets = ("train.lr={choice: [0.05, 1e30], default: 0.05}", "search.sampler=grid", "finals.seeds=1", "methods=[ce]")
    arguments = [part for item in sets for part in ("--set", item)]
    done = coretune("study", "run", str(write_study(tmp_path)), *arguments, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    found: list[dict[str, Any]] = [
        json.loads(path.read_text()) for path in (tmp_path / "results/tiny").glob("runs/*/record.json")
    ]
    failed = [record for record in found if record["status"] == "failed"]
    assert len(failed) == 1 and len(found) == 3
    assert failed[0]["cause"]["kind"] == "diverged" and failed[0]["cause"]["epoch"] >= 1
    assert "learning rate" in failed[0]["cause"]["message"] or "train.lr" in failed[0]["cause"]["message"]


def test_pruned_runs_leave_no_state_and_say_when_they_ran(tmp_path: Path) -> None:
    sets = ("search.pruner=median", "search.trials=9", "train.evaluate_every=1", "finals.seeds=1", "methods=[ce]")
    arguments = [part for item in sets for part in ("--set", item)]
    done = coretune("study", "run", str(write_study(tmp_path)), *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results" / "tiny"
    found = [json.loads(path.read_text()) for path in results.glob("runs/*/record.json")]
    pruned = [record for record in found if record["status"] == "pruned"]
    assert pruned, "with nine trials of widely different learning rates some are given up"
    assert not list(results.glob("runs/*/state"))
    for record in pruned:
        assert record["timings"]["total_s"] > 0 and record["environment"]["hostname"]
        assert record["started"] < record["finished"]
        assert "pruned" in (results / "runs" / record["run_id"] / "log.txt").read_text().splitlines()[-1]


def raylets() -> list[psutil.Process]:
    return processes_below("raylet/raylet")


def test_a_dead_cluster_ends_the_study_and_loses_nothing(tmp_path: Path) -> None:
    process = start(long_study(tmp_path), tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: bool(list(results.glob("runs/*/metrics-*.jsonl"))))
    trainers = workers()
    (raylet,) = raylets()
    raylet.kill()
    out, err = process.communicate(timeout=150)
    assert process.returncode == 3, err
    assert "Ray" in err and "run the study again" in err and "Traceback" not in err
    assert out == ""
    assert not [p for p in trainers if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_a_folder_with_the_packages_name_is_not_taken_for_it(undisturbed: Path, tmp_path: Path) -> None:
    """As where a checkout named coretune is seen from its parent."""
    (tmp_path / "coretune" / "results").mkdir(parents=True)
    command = [str(Path(sys.executable).with_name("coretune")), "study", "run", str(write_study(tmp_path))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert leaderboard(tmp_path / "results" / "tiny") == leaderboard(undisturbed)


def test_processes_that_never_start_end_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "torchvision.py").write_text("raise ImportError('torchvision is broken here')")
    (broken / "torch.py").write_text("raise ImportError('torch is broken here')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    process = start(["study", "run", str(write_study(tmp_path))], tmp_path)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 3, err
    assert "processes that are to train do not start" in err and "torch is broken here" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_stores_the_state_like_ctrl_c(tmp_path: Path, number: signal.Signals) -> None:
    process = start(long_study(tmp_path), tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: bool(list(results.glob("runs/*/metrics-*.jsonl"))))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "resume" in err and "SIGTERM received" not in err
    assert list(results.glob("runs/*/state/state.pt"))
    assert json.loads((results / "state.json").read_text())["phase"] == "interrupted"


def test_a_termination_of_the_whole_process_group_leaves_ray_time_to_store_the_state(tmp_path: Path) -> None:
    """As `timeout` and batch systems send it."""
    process = start(long_study(tmp_path), tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: bool(list(results.glob("runs/*/metrics-*.jsonl"))))
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert list(results.glob("runs/*/state/state.pt"))
    assert (results / "leaderboard.csv").is_file() and not (results / "driver.lock").exists()
    assert json.loads((results / "state.json").read_text())["phase"] == "interrupted"
    assert not [each for each in below if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_kill_of_the_whole_process_group_leaves_no_process(tmp_path: Path) -> None:
    """But two agents of Ray, which compute nothing and look for their cluster for a minute before they end, too."""
    process = start(long_study(tmp_path), tmp_path)
    results = tmp_path / "results" / "tiny"
    wait_until(lambda: bool(list(results.glob("runs/*/metrics-*.jsonl"))))
    below = [each for each in psutil.Process(process.pid).children(recursive=True) if "Agent" not in each.name()]
    assert {"raylet", "gcs_server"} < {each.name() for each in below}
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert psutil.wait_procs(below, timeout=30)[1] == []


def test_the_driver_needs_no_torch(tmp_path: Path) -> None:
    """To import it takes seconds, just when the first runs want the processor."""
    code = (
        "import sys; sys.argv[1:] = ['study', 'run', 'tiny.yaml', '--set', 'search=none', '--set', 'finals.seeds=1',"
        " '--set', 'methods=[ce]'];"
        "from coretune_cli.main import main; code = main();"
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    write_study(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "False"


ASKING = """
name: tiny
seed: 3
datasets: {digits: {image_size: 8, validation: 50, test: 60, labels_per_class: 4}}
backbones: {plain: {arch: small_resnet, params: {widths: [4, 8]}}}
methods: [ce]
train: {epochs: 3, batch: 20, contrast_batch: 20}
search: none
finals: {seeds: 2}
evaluations:
  geometry: {per_class: 3}
  geometry_train: {evaluation: geometry, split: labelled, per_class: 3}
"""


def table_of(results: Path) -> list[dict[str, str]]:
    with (results / "runs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_s_evaluations_are_made_and_another_one_costs_no_training(tmp_path: Path) -> None:
    study, results = write_study(tmp_path, ASKING), tmp_path / "results" / "tiny"
    done = coretune("study", "run", str(study), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for row in table_of(results):
        assert row["role"] == "final" and float(row["geometry.samples"]) == float(row["geometry_train.samples"]) == 30
        assert row["geometry.scatter_ratio"] != row["geometry_train.scatter_ratio"]
    before, board = times(results), leaderboard(results)

    study.write_text(ASKING + "  on_validation: {evaluation: classification, split: validation}\n")
    plan = coretune("study", "plan", str(study), folder=tmp_path)
    assert "2 recorded, 2 of them to evaluate, 0 to train" in plan.stdout
    more = coretune("study", "run", str(study), folder=tmp_path)
    assert more.returncode == 0, more.stderr
    assert times(results) == before, "no record was written again"
    assert leaderboard(results) == board
    for row in table_of(results):
        assert float(row["on_validation.top1"]) == pytest.approx(float(row["validation.last.top1"]))
        assert len(list((results / "runs" / row["run_id"] / "evals").glob("*.json"))) == 4
    resumed = coretune("study", "resume", str(results), folder=tmp_path)
    assert resumed.returncode == 0 and "starting Ray" not in resumed.stderr
