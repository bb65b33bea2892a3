"""Studies on a cluster of two nodes, one of which does not see everything; with a token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.command import TINY, records, wait_until
from support.ray_nodes import Nodes, ray_nodes

pytestmark = pytest.mark.nodes

PLUGIN = """
from coretune.spec.components import Component
from coretune.tuning.methods.cross_entropy import CrossEntropy


class Mine(CrossEntropy):
    pass


COMPONENTS = [Component(kind="method", name="mine", target=":Mine", summary="CE-tuning by another name")]
"""


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the second node does not see: an empty one lies in its place there."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def nodes(hidden: Path) -> Iterator[Nodes]:
    if os.geteuid() != 0:
        pytest.skip("a node that does not see a folder needs root (unshare --mount)")
    with ray_nodes(cpus=1) as made:
        made.add(cpus=1, hiding=hidden)
        yield made


def coretune(nodes: Nodes, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from coretune_cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env=nodes.environment(**environment),
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_study_runs_on_both_nodes_with_a_plug_in_that_only_one_has(
    nodes: Nodes, hidden: Path, tmp_path: Path
) -> None:
    (hidden / "mine.py").write_text(PLUGIN)
    text = TINY.replace("methods: [ce, core_tuning]", "methods: [ce, mine]\nplugins: [./mine.py]")
    (hidden / "tiny.yaml").write_text(text)
    out = tmp_path / "out"
    done = coretune(
        nodes, tmp_path, "study", "run", str(hidden / "tiny.yaml"), "--address", nodes.address, "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    assert len(records(out)) == 10
    log = (out / "log.txt").read_text()
    assert "2 slots on 2 CPUs" in log
    assert "coretune and 1 plug-in file for its nodes" in log and "2 nodes looked at" in log
    assert nodes.token is not None
    assert nodes.token not in log and not list(out.glob(".probe-*"))


def test_results_that_a_node_does_not_see_are_refused_before_training(
    nodes: Nodes, hidden: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    out = hidden / "out"
    done = coretune(nodes, tmp_path, "study", "run", "tiny.yaml", "--address", nodes.address, "--out", str(out))
    assert done.returncode == 3
    assert f"the results directory {out} is not shared by all nodes: " in done.stderr
    assert "there is no such folder" in done.stderr and "--out" in done.stderr
    assert not records(out) and not list(out.glob(".probe-*"))


def test_data_that_a_node_lacks_are_named_by_node(nodes: Nodes, hidden: Path, tmp_path: Path) -> None:
    from PIL import Image

    for label in ("cat", "dog"):
        (hidden / "images" / label).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (16, 16), (20 * number, 90, 60)).save(hidden / "images" / label / f"{number}.png")
    text = TINY.replace(
        "datasets: {digits: {validation: 200, test: 300, labels_per_class: 5}}",
        f"datasets: {{mine: {{dataset: folder, path: {hidden}/images, validation: 4, test: 4}}}}",
    )
    (tmp_path / "tiny.yaml").write_text(text)
    done = coretune(
        nodes, tmp_path, "study", "run", "tiny.yaml", "--address", nodes.address, "--set", "train.batch=4",
        "--set", "train.contrast_batch=4",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "lacks data set mine" in line]
    assert str(hidden / "images") in line
    assert not records(tmp_path / "results" / "tiny")


@pytest.mark.parametrize(
    ("token", "says"),
    [({"RAY_AUTH_TOKEN": ""}, "wants a token and none is here"), ({"RAY_AUTH_TOKEN": "x" * 40}, "refuses our token")],
)
def test_a_missing_or_wrong_token_is_one_line(nodes: Nodes, tmp_path: Path, token: dict[str, str], says: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = coretune(nodes, tmp_path, "study", "run", "tiny.yaml", "--address", nodes.address, **token)
    assert done.returncode == 3
    (line,) = [line for line in done.stderr.splitlines() if "token" in line]
    assert says in line and "x" * 40 not in done.stderr
    assert not records(tmp_path / "results" / "tiny")


def test_status_shows_both_nodes_and_what_a_study_would_get(nodes: Nodes, tmp_path: Path) -> None:
    study = tmp_path / "tiny.yaml"
    study.write_text(TINY + "resources: {cpus: 0.5}\n")
    done = coretune(nodes, tmp_path, "cluster", "status", "--address", nodes.address, "--study", str(study), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [(node["cpus"], node["head"], node["problem"]) for node in said["nodes"]] == [(1, True, ""), (1, False, "")]
    assert all(0 < node["memory_free"] < node["memory"] for node in said["nodes"])
    assert said["study"]["slots"] == 4 and said["drivers"] == []
    done = coretune(nodes, tmp_path, "cluster", "status", "--address", nodes.address)
    assert done.returncode == 0 and "· head" in done.stdout and "nothing else uses the cluster" in done.stdout


def test_a_study_is_submitted_stopped_continued_and_told_apart(nodes: Nodes, hidden: Path, tmp_path: Path) -> None:
    """The driver is the cluster's: what this process hears of the study it hears over HTTP."""
    (hidden / "mine.py").write_text(PLUGIN)
    text = TINY.replace("methods: [ce, core_tuning]", "methods: [ce, mine]\nplugins: [./mine.py]")
    (hidden / "tiny.yaml").write_text(text)
    out = tmp_path / "out"
    given = (
        "study", "submit", str(hidden / "tiny.yaml"), "--address", nodes.dashboard, "--out", str(out), "--set",
        "train.epochs=60",
    )  # fmt: skip
    first = coretune(nodes, tmp_path, *given, "--json")
    assert first.returncode == 0, first.stderr
    job = json.loads(first.stdout)["job"]
    second = coretune(nodes, tmp_path, *given)
    assert second.returncode == 3 and f"job {job} is writing {out} already" in second.stderr
    wait_until(lambda: bool(records(out)), timeout=200)

    def busy() -> dict[str, Any]:
        said: dict[str, Any] = json.loads(
            coretune(nodes, tmp_path, "cluster", "status", "--address", nodes.address, "--json").stdout
        )
        return said

    wait_until(lambda: sum(node["actors"].get("slot", 0) for node in busy()["nodes"]) == 2)
    drivers = busy()["drivers"]
    assert any("study run " in each["command"] and "study.yaml" in each["command"] for each in drivers), drivers
    assert coretune(nodes, tmp_path, "study", "stop", job, "--address", nodes.dashboard).returncode == 0
    ended = coretune(nodes, tmp_path, "study", "logs", job, "--address", nodes.dashboard)
    assert ended.returncode == 130, ended.stdout
    before = {run: (out / "runs" / run / "record.json").stat().st_mtime_ns for run in records(out)}
    again = coretune(nodes, tmp_path, *given)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"it continues {job}" in again.stderr and "leaderboard.csv" in again.stdout
    assert len(records(out)) == 10
    assert before == {run: (out / "runs" / run / "record.json").stat().st_mtime_ns for run in before}
    listed = coretune(nodes, tmp_path, "study", "status", "--address", nodes.dashboard, "--json")
    assert [item["status"] for item in json.loads(listed.stdout)] == ["STOPPED", "SUCCEEDED"]
    assert nodes.token is not None and nodes.token not in listed.stdout + again.stdout


def test_one_model_is_trained_attacked_and_timed_by_a_node(nodes: Nodes, tmp_path: Path) -> None:
    """The same command line there: results, files, output and exit codes are as here."""
    at = ("--address", nodes.address)
    small = ("--arch", "small_resnet", "--set", "arch.widths=[8]", "--set", "data.labels_per_class=5")
    done = coretune(nodes, tmp_path, "tune", "digits", *small, "--epochs", "2", "--batch", "50", *at, "--json")
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "results" / "tune" / "runs").glob("*/record.json")
    assert json.loads(done.stdout)["run_id"] == record.parent.name and "small_resnet on" in done.stderr
    attack = ("--attack", "fgsm", "--eps", "8/255", "--limit", "40", "--median", "0", "--csv", "robust.csv")
    done = coretune(nodes, tmp_path, "robust", "eval", "results/tune", "--run", record.parent.name, *attack, *at)
    assert done.returncode == 0, done.stderr
    assert "fgsm" in done.stdout and (tmp_path / "robust.csv").is_file()
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = coretune(nodes, tmp_path, "study", "plan", "tiny.yaml", "--cost", *at)
    assert done.returncode == 0 and "on 2 slots" in done.stdout, done.stdout + done.stderr
    done = coretune(nodes, tmp_path, "data", "pack", "digits", "--size", "8", *at)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, "one line a node"
    assert done.stderr.count("on node ") == 2 and "with 1 CPU" in done.stderr
    done = coretune(nodes, tmp_path, "tune", "nothing-of-the-kind", *at)
    assert done.returncode == 2 and "nothing-of-the-kind" in done.stderr


def test_a_command_on_a_node_stores_its_state_when_it_is_interrupted_or_its_driver_killed(
    nodes: Nodes, tmp_path: Path
) -> None:
    words = ("pretrain", "digits", "--arch", "small_resnet", "--set", "arch.widths=[8]", "--epochs", "300")
    given = (*words, "--set", "train.evaluate_every=1", "--address", nodes.address)

    def epochs() -> int:
        return sum(len(path.read_text().splitlines()) for path in tmp_path.glob("results/*/runs/*/metrics-*.jsonl"))

    for number, interrupted in ((signal.SIGINT, True), (signal.SIGKILL, False)):
        driver, before = nodes.coretune(tmp_path, *given), epochs()
        wait_until(lambda before=before, driver=driver: epochs() > before + 1 or driver.poll() is not None)
        assert driver.poll() is None, driver.communicate()
        (there,) = [each for node in (0, 1) for each in nodes.below(node, "pretrain digits")]
        driver.send_signal(number)
        said = "".join(driver.communicate(timeout=90))
        assert psutil.wait_procs([there], timeout=30)[1] == []
        assert (driver.returncode == 130 and "the same command goes on" in said) == interrupted, said
        assert list(tmp_path.glob("results/*/runs/*/state/state.pt"))
    assert nodes.users() == []


def test_a_folder_that_the_node_does_not_see_is_refused(nodes: Nodes, hidden: Path, tmp_path: Path) -> None:
    busy = coretune(nodes, hidden, "data", "pack", "digits", "--address", nodes.address)
    assert busy.returncode == 3 and f"the folder {hidden} is not shared by all nodes" in busy.stderr
