"""A real group of two workers: it executes one run after another, whatever happens to the one before."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from support.command import processes_below
from support.near import assert_near
from support.odd_method import ODD
from support.training import catalog, context, digits_job, digits_spec

from coretune.cluster.desk import News, Task
from coretune.cluster.local import cluster
from coretune.cluster.pool import GroupPool
from coretune.nets.weights import load_weights
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.spec.catalog import load_catalog
from coretune.spec.study import Resources

torch.set_num_threads(1)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

TWO = Resources(workers=2, cpus=0.5)


class Group:
    """A group and the directory that its runs are written to."""

    def __init__(self, ray: Any, host: Any, root: Path) -> None:
        self._ray = ray
        self.host = host
        self.store = ResultsStore(root)

    def start(self, job: Job) -> None:
        self._ray.get(self.host.start.remote(Task(job.spec.run_id, job, str(self.store.root))))

    def end_of(self, job: Job, patience_s: float = 240) -> News:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            news: News = self._ray.get(self.host.news.remote(job.spec.run_id, 1.0))
            if news.ended:
                return news
        raise TimeoutError("the run does not end")

    def run(self, job: Job) -> News:
        self.start(job)
        return self.end_of(job)

    def stop(self, job: Job) -> str | None:
        outcome: str | None = self._ray.get(self.host.stop.remote(job.spec.run_id))
        return outcome

    def log(self, job: Job) -> str:
        return (self.store.run_folder(job.spec.run_id) / "log.txt").read_text()

    @property
    def crews(self) -> int:
        found: int = self._ray.get(self.host.crews.remote())
        return found


def workers() -> list[psutil.Process]:
    """The processes of workers below this one."""
    return processes_below("RayTrainWorker")


def odd_job(train: dict[str, Any] | None = None, **what: Any) -> Job:
    """A run whose method fails as it is told."""
    method = load_catalog((ODD,)).ref("method", "odd", what)
    return digits_job(digits_spec(**{"epochs": 4, **(train or {})}).replace(method=method), plugins=(ODD,))


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """A warm group, which leaves nothing behind."""
    with cluster(TWO):
        import ray

        pool = GroupPool(ray, TWO, 2)
        with pool:
            host = ray.get_actor(pool.take(2))
            assert ray.get(host.up.remote(), timeout=280) is None
            yield Group(ray, host, tmp_path_factory.mktemp("results"))
            assert workers()
        states = {found["state"] for found in ray.util.placement_group_table().values()}
        assert states == {"REMOVED"}, states
        deadline = time.monotonic() + 30
        while workers() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not workers(), "no process stays"


def test_a_run_is_that_of_one_worker(group: Group, tmp_path: Path) -> None:
    # Ten images a class: five epochs of four steps, in fp32.
    spec = digits_spec("core_tuning", epochs=5, batch=25, contrast_batch=25)
    job = digits_job(spec.replace(data=spec.data.replace(labels_per_class=10)), keep_weights=True)
    assert group.run(job).outcome == "completed"
    alone = Execution(job, ResultsStore(tmp_path), catalog(), context())
    list(alone)
    run_id = job.spec.run_id
    states = [load_weights(store.weights_path(run_id))[0] for store in (group.store, ResultsStore(tmp_path))]
    assert_near(*states, rtol=1e-4, atol=1e-4)
    record = group.store.record(run_id)
    assert record is not None and alone.record is not None
    assert record.environment["workers"] == 2
    assert_near(record.metrics["last"], alone.record.metrics["last"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("what", "rank", "kind"), [("nan", -1, "diverged"), ("error", 1, "error"), ("error", 0, "error")]
)
def test_after_a_failing_run_the_same_workers_make_a_good_one(group: Group, what: str, rank: int, kind: str) -> None:
    before = group.crews, sorted(process.pid for process in workers())
    bad, good = odd_job(what=what, rank=rank), digits_job(digits_spec(seed=10 + rank))
    started = time.monotonic()
    assert group.run(bad).outcome == "failed"
    record = group.store.record(bad.spec.run_id)
    assert record is not None and record.cause is not None and record.cause.kind == kind
    assert group.run(good).outcome == "completed"
    assert (group.crews, sorted(process.pid for process in workers())) == before, "nothing was rebuilt"
    assert time.monotonic() - started < 200, "nobody waited for the collective timeout"


def test_a_killed_worker_is_replaced_and_its_run_goes_on_from_the_stored_state(group: Group, tmp_path: Path) -> None:
    recipe = {"epochs": 300, "evaluate_every": 50}
    job = odd_job(recipe, what="kill", rank=1, at=400, once=str(tmp_path / "once"))
    (tmp_path / "once").touch()
    long = odd_job(recipe, what="kill", rank=1, at=400, once=str(tmp_path / "later"))
    group.start(long)
    deadline = time.monotonic() + 100
    while not (group.store.run_folder(long.spec.run_id) / "metrics-0.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert group.stop(long) == "stopped"
    assert (group.store.state_folder(long.spec.run_id) / "state.pt").is_file()
    crews = group.crews
    news = group.run(long)
    assert news.lost is not None and "lost" in news.lost and news.dead is None
    assert group.store.record(long.spec.run_id) is None
    assert group.run(long).outcome == "completed"
    assert group.crews == crews + 1
    assert group.log(long).count("resume at epoch") == 2
    assert group.run(job).outcome == "completed"
    epochs = [group.store.epochs(each.spec.run_id) for each in (long, job)]
    assert epochs[0].keys() == epochs[1].keys() == {50, 100, 150, 200, 250, 300}
    one, other = ({key: value for key, value in each[300].items() if key != "seconds"} for each in epochs)
    assert one and other
    assert_near(one, other, rtol=1e-3, atol=1e-3)


def test_fifty_runs_leave_no_memory_behind(group: Group) -> None:
    used = []
    for number in range(50):
        assert group.run(digits_job(digits_spec(seed=1000 + number, epochs=1))).outcome == "completed"
        used.append(sum(process.memory_info().rss for process in workers()))
    assert used[-1] <= 1.1 * used[4], [round(each / 2**20) for each in used]


def test_torch_is_not_loaded_where_nothing_is_trained() -> None:
    script = "import sys; import coretune.study.grouped, coretune.cluster.pool; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
