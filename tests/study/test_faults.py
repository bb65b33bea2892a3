"""What a study comes to when processes, nodes and networks fail under it: to what it comes to undisturbed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.numpy import load_file
from support.command import coretune, records, wait_until, write_study
from support.network import Network
from support.ray_nodes import Nodes, ray_nodes

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(700)]

STUDY = """
name: tiny
seed: 3
datasets: {digits: {validation: 200, test: 300, labels_per_class: 5}}
backbones: {plain: {arch: small_resnet, params: {widths: [8, 16]}}}
methods: [ce, core_tuning]
train: {epochs: 120, batch: 50, contrast_batch: 50, evaluate_every: 30}
search: none
finals: {seeds: 6}
"""
GROUPED = STUDY.replace("seeds: 6", "seeds: 1") + "resources: {workers: 2, collective_timeout_s: 60}\n"
PATIENCE_S = 420
LEAVE_S = 60
SEED = 20261129
WORKER = "RayTrainWorker"
OURS = (WORKER, "GroupHost", "Trainable", "TrainController", "PlacementGroupCleaner")
RAYS = "_AutoscalingCoordinatorActor"
"""Ray starts it on a cluster for the first Train run of anybody, and all share it."""

Outcome = Mapping[str, tuple[Any, ...]]


def outcome(results: Path) -> Outcome:
    """What the runs of a study came to, by their ids, weights to the bit: all but times and places."""
    found = {}
    for path in results.glob("runs/*/record.json"):
        record = json.loads(path.read_text())
        evaluations = {each.stem: json.loads(each.read_text())["metrics"] for each in path.parent.glob("evals/*.json")}
        weights = load_file(path.parent / "model.safetensors")
        bits = hashlib.sha256(b"".join(weights[name].tobytes() for name in sorted(weights))).hexdigest()
        found[path.parent.name] = (record["status"], record["metrics"], evaluations, bits)
    return found


class Study:
    """A study on a cluster, driven from its head.

    Attributes:
        results: Its directory.
        driver: Its present driver.
    """

    def __init__(self, nodes: Nodes, folder: Path, text: str) -> None:
        self.results = folder / "results" / "tiny"
        self._folder = folder
        folder.mkdir(exist_ok=True)
        write_study(folder, text)
        self.run(nodes, "run", "tiny.yaml")

    def run(self, nodes: Nodes, *words: str) -> None:
        """Starts a driver."""
        self.driver = nodes.coretune(self._folder, "study", *words, "--address", nodes.address)

    def resume(self, nodes: Nodes) -> None:
        """Starts another driver, once the one before has ended."""
        self.run(nodes, "resume", str(self.results))

    def until(self, condition: Callable[[], object], timeout: float = 120) -> None:
        """Waits for something that comes true while the driver lives."""
        wait_until(lambda: bool(condition()) or self.driver.poll() is not None, timeout)
        assert self.driver.poll() is None, "".join(self.driver.communicate()) + self.log()

    def ends(self, code: int = 0) -> str:
        """Waits for the driver's end, and returns what it said."""
        try:
            said = "".join(self.driver.communicate(timeout=PATIENCE_S))
        except subprocess.TimeoutExpired:
            self.driver.kill()
            said = "".join(self.driver.communicate())
        assert self.driver.returncode == code, said + self.log()
        return said

    def kill(self) -> None:
        """Kills the driver."""
        self.driver.kill()
        self.driver.communicate()

    def training(self) -> bool:
        """Whether a run is under way that has reported something."""
        begun = {path.parent.name for path in self.results.glob("runs/*/metrics-*.jsonl")}
        return bool(begun - records(self.results))

    def resumed(self) -> int:
        """How often a run went on from a state."""
        return sum(path.read_text().count("resume at epoch") for path in self.results.glob("runs/*/log.txt"))

    def times(self) -> dict[str, int]:
        """When each record was written."""
        return {path.parent.name: path.stat().st_mtime_ns for path in self.results.glob("runs/*/record.json")}

    def log(self) -> str:
        """What the study's log says."""
        return (self.results / "log.txt").read_text()


def leaves_nothing(nodes: Nodes, numbers: Sequence[int] = (0, 1), but: str = RAYS) -> None:
    """Waits until nothing of a study is on a cluster."""
    deadline = time.monotonic() + LEAVE_S
    while True:
        processes = [
            each.cmdline()[0]
            for number in numbers
            for word in OURS
            if word != but
            for each in nodes.below(number, word)
        ]
        left = [*(user for user in nodes.users() if user not in (RAYS, but)), *processes]
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the study comes to on one machine, with runs of one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = coretune("study", "run", str(write_study(folder, STUDY)), folder=folder)
    assert done.returncode == 0, done.stderr
    found = outcome(folder / "results" / "tiny")
    assert len(found) == 12 and {status for status, *_ in found.values()} == {"completed"}
    return found


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes of one CPU each: a group of two workers is on both."""
    with ray_nodes(cpus=1) as made:
        made.add(cpus=1)
        yield made


@pytest.fixture(scope="module")
def together(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the study comes to with runs of two workers on two nodes."""
    study = Study(nodes, tmp_path_factory.mktemp("together"), GROUPED)
    study.until(study.training)
    assert [len(nodes.below(number, WORKER)) for number in (0, 1)] == [1, 1]
    study.ends()
    leaves_nothing(nodes)
    return outcome(study.results)


def test_a_group_on_two_nodes_comes_to_what_one_worker_does(together: Outcome, undisturbed: Outcome) -> None:
    assert len(together) == 2
    for run, (status, metrics, _, _) in together.items():
        assert status == "completed"
        assert abs(metrics["last"]["top1"] - undisturbed[run][1]["last"]["top1"]) < 3, "within seed noise"


def test_stops_and_kills_of_a_worker_and_of_the_driver_change_nothing(
    nodes: Nodes, together: Outcome, tmp_path: Path
) -> None:
    study = Study(nodes, tmp_path, GROUPED)
    study.until(study.training)
    study.driver.send_signal(signal.SIGINT)
    study.ends(130)
    leaves_nothing(nodes)
    before = study.times()

    study.resume(nodes)
    study.until(lambda: study.resumed() == 1)
    (worker,) = nodes.below(1, WORKER)
    worker.kill()
    study.until(lambda: study.resumed() == 2)
    study.kill()
    leaves_nothing(nodes)

    study.resume(nodes)
    study.ends()
    assert study.resumed() == 3, "each time it went on from the state that the stop had stored"
    assert outcome(study.results) == together
    assert before.items() <= study.times().items(), "no record was made twice"
    leaves_nothing(nodes)


def test_a_node_that_is_lost_with_the_last_run_costs_no_run(nodes: Nodes, undisturbed: Outcome, tmp_path: Path) -> None:
    """First the run hangs, until it is the only one. It is the last test on these nodes."""
    study = Study(nodes, tmp_path, STUDY)
    study.until(lambda: len(records(study.results)) >= 2 and len(nodes.below(1, "Trainable")) == 1)
    (trainer,) = nodes.below(1, "Trainable")
    trainer.suspend()
    study.until(lambda: len(records(study.results)) == len(undisturbed) - 1)
    (raylet,) = nodes.below(1, "raylet/raylet")
    raylet.kill()
    trainer.kill()
    before = study.times()
    study.ends()
    assert outcome(study.results) == undisturbed
    assert before.items() <= study.times().items(), "no record was made twice"
    leaves_nothing(nodes)


def test_a_restarted_head_and_a_resume_come_to_the_same(undisturbed: Outcome, tmp_path: Path) -> None:
    with ray_nodes(cpus=1) as first:
        first.add(cpus=1)
        study = Study(first, tmp_path, STUDY)
        study.until(lambda: len(records(study.results)) >= 3 and study.training())
        trainers = first.below(1, "Trainable")
        first.end(0)
        assert "what is recorded is safe, run the study again" in study.ends(3)
        assert not (study.results / "driver.lock").exists()
        before = study.times()
        with ray_nodes(cpus=1) as second:
            second.add(cpus=1)
            study.resume(second)
            study.ends()
            assert outcome(study.results) == undisturbed
            assert before.items() <= study.times().items(), "no record was made twice"
            leaves_nothing(second)
        assert psutil.wait_procs(trainers, timeout=90)[1] == [], "the other node's processes have gone with the head"


def test_a_network_that_is_cut_for_half_a_minute_costs_no_run(undisturbed: Outcome, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with Network(2) as network, ray_nodes(cpus=1, network=network) as apart:
        apart.add(cpus=1)
        study = Study(apart, tmp_path, STUDY)
        study.until(lambda: len(records(study.results)) >= 2 and len(apart.below(1, "Trainable")) == 1)
        before = study.times()
        with network.cut(1):
            time.sleep(30)
        study.ends()
        assert outcome(study.results) == undisturbed
        assert before.items() <= study.times().items(), "no record was made twice"
        leaves_nothing(apart)


def test_a_cut_network_under_a_group_costs_it_no_run(together: Outcome, tmp_path: Path) -> None:
    """Ray gives the node up some time afterwards; the run waits until somebody has started it again."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with Network(2) as network, ray_nodes(cpus=1, network=network) as apart:
        last = apart.add(cpus=1)
        study = Study(apart, tmp_path, GROUPED)
        study.until(study.training)
        with network.cut(1):
            time.sleep(30)
        wait_until(lambda: study.driver.poll() is not None or apart.alive() < 2)
        if study.driver.poll() is None:
            apart.end(last)
            last = apart.add(cpus=1, machine=1)
        study.ends()
        assert outcome(study.results) == together
        leaves_nothing(apart, [0, last])


@pytest.mark.parametrize("grouped", [False, True], ids=["slots", "group"])
def test_kills_at_random_moments_change_nothing(
    grouped: bool, undisturbed: Outcome, together: Outcome, tmp_path: Path
) -> None:
    """A process that trains, on either node; the driver; a whole node, in whose place another one comes."""
    chance = random.Random(SEED)
    victims = ["trainer", "driver", "node", "trainer"]
    chance.shuffle(victims)
    seen: dict[str, int] = {}
    with ray_nodes(cpus=1) as changing:
        last = changing.add(cpus=1)
        study = Study(changing, tmp_path, GROUPED if grouped else STUDY)
        for victim in victims:
            study.until(study.training)
            time.sleep(chance.uniform(0, 3))
            assert study.driver.poll() is None, "the study has ended before all kills"
            assert seen.items() <= study.times().items(), "no record was made twice"
            seen = study.times()
            if victim == "driver":
                study.kill()
                study.resume(changing)
            elif victim == "node":
                changing.end(last)
                last = changing.add(cpus=1)
            else:
                trainers = changing.below(chance.choice([0, last]), WORKER if grouped else "Trainable")
                for each in trainers:
                    each.kill()
        study.ends()
        assert outcome(study.results) == (together if grouped else undisturbed)
        assert seen.items() <= study.times().items(), "no record was made twice"
        # Ray Train's own, detached, outlives a driver that is killed while its groups start.
        leaves_nothing(changing, [0, last], but="PlacementGroupCleaner")


def test_a_group_that_loses_a_node_for_good_goes_on_with_the_worker_that_is_left(
    undisturbed: Outcome, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    text = GROUPED.replace("workers: 2,", "workers: 2, min_workers: 1,")
    with Network(2) as network, ray_nodes(cpus=1, network=network) as apart:
        number = apart.add(cpus=1)
        study = Study(apart, tmp_path, text)
        study.until(study.training)
        apart.end(number)
        study.ends()
        found = outcome(study.results)
        assert found.keys() <= undisturbed.keys() and len(found) == 2
        for run, (status, metrics, *_) in found.items():
            assert status == "completed"
            assert abs(metrics["last"]["top1"] - undisturbed[run][1]["last"]["top1"]) < 3, "within seed noise"
        environments = [
            json.loads(path.read_text())["environment"] for path in study.results.glob("runs/*/record.json")
        ]
        assert any("workers" not in environment for environment in environments), "one worker ended what two began"
        leaves_nothing(apart, [0])
