"""What a run of two workers waits for before it trains: on a warm group, against a `TorchTrainer` of its own.

Both execute the same kind of run (`coretune.runs.execute`) with its model to be built, its data packed and open in a
warm process, and are timed alike: from the request to the end of the first training step. The group is coretune's own,
driven as a study drives it. Each new trainer comes between two series of runs of the group, whose workers share the
machine with it and are idle meanwhile.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SERIES = 2
RUNS = 10
WORKERS = 2
GOAL = 50.0
GOAL_S = 0.2

STUDY = """
name: groups
datasets: {digits: {labels_per_class: 20, validation: 200, test: 600}}
backbones: {small_resnet: {params: {widths: [16, 32]}}}
methods: [core_tuning]
train: {epochs: 2, batch: 50, contrast_batch: 50, lr: 0.03}
search: none
finals: {seeds: 1}
resources: {workers: 2, cpus: 0.5}
"""


def job(seed: int) -> Any:
    """Returns the run with a seed."""
    from coretune.runs.job import Job
    from coretune.spec.load import resolve_study
    from coretune.spec.yamlfile import parse_yaml
    from coretune.study.resolved import resolve

    study = resolve(resolve_study(parse_yaml(STUDY)))
    return Job(study.run_spec(study.cells[0], {}, seed))


def warm_seconds(ray: Any, host: Any, root: Path, seeds: range) -> tuple[list[float], list[float]]:
    """Returns, for each run on a warm group, the seconds to its first step and to its record."""
    from coretune.cluster.desk import Task

    first, whole = [], []
    for number in seeds:
        wanted = job(number)
        run_id = wanted.spec.run_id
        begun = time.perf_counter()
        ray.get(host.start.remote(Task(run_id, wanted, str(root), True)))
        news = ray.get(host.news.remote(run_id, 60.0))
        first.append(time.perf_counter() - begun)
        while not news.ended:
            news = ray.get(host.news.remote(run_id, 60.0))
        whole.append(time.perf_counter() - begun)
        if news.outcome != "completed":
            raise SystemExit(f"expected a completed run, got {news}")
    return first, whole


def train_one(config: dict[str, Any]) -> None:
    """The training function of a trainer that executes one run: notes when its first step is done."""
    import torch
    import torch.distributed as dist

    from coretune.results.store import ResultsStore
    from coretune.runs.execute import Execution
    from coretune.runs.peers import Peers
    from coretune.runs.process import set_up
    from coretune.spec.catalog import load_catalog
    from coretune.tuning.context import Context
    from coretune.tuning.shard import Shard

    set_up(threads=1)
    rank = dist.get_rank()
    shard = Shard(rank, dist.get_world_size())
    context = Context(device=torch.device("cpu"), shard=shard)
    # Each worker writes to a folder of its own: nobody decides for the others where one run is all there is.
    store = ResultsStore(Path(config["root"]) / str(rank))
    for event in Execution(config["job"], store, load_catalog(), context, peers=Peers()):
        if rank == 0 and not Path(config["first"]).exists():
            Path(config["first"]).write_text(str(time.time()))
        del event


def cold_seconds(root: Path, seed: int) -> tuple[float, float]:
    """Returns the seconds to the first step and to the end of a run with a new `TorchTrainer`."""
    import ray.train
    import ray.train.torch

    from coretune.cluster.connection import ConnectionConfig

    noted = root / f"first-{seed}"
    config = {"job": job(seed), "root": str(root / f"cold-{seed}"), "first": str(noted)}
    begun = time.time()
    ray.train.torch.TorchTrainer(
        train_one,
        train_loop_config=config,
        torch_config=ConnectionConfig(backend="gloo"),
        scaling_config=ray.train.ScalingConfig(num_workers=WORKERS, resources_per_worker={"CPU": 0.5}),
        run_config=ray.train.RunConfig(name=f"cold-{seed}", storage_path=str(root / "train")),
    ).fit()
    return float(noted.read_text()) - begun, time.time() - begun


def measure(ray: Any, root: Path) -> dict[str, list[float]]:
    """Returns all seconds by what they are of."""
    from coretune.cluster.pool import GroupPool
    from coretune.spec.study import Resources

    found: dict[str, list[float]] = {key: [] for key in ("group_start", "warm", "warm_run", "cold", "cold_run")}
    with GroupPool(ray, Resources(workers=WORKERS, cpus=0.5), WORKERS) as pool:
        begun = time.perf_counter()
        host = ray.get_actor(pool.take(WORKERS))
        if (dead := ray.get(host.up.remote())) is not None:
            raise SystemExit(f"the group does not start: {dead}")
        found["group_start"].append(time.perf_counter() - begun)
        warm_seconds(ray, host, root / "warm", range(9000, 9002))  # opens the data, which packs them once
        for series in range(SERIES):
            first, whole = warm_seconds(ray, host, root / "warm", range(series * RUNS, (series + 1) * RUNS))
            found["warm"] += first
            found["warm_run"] += whole
            cold, cold_run = cold_seconds(root, 5000 + series)
            found["cold"].append(cold)
            found["cold_run"].append(cold_run)
    return found


def main() -> None:
    """Measures and prints."""
    import torch

    from coretune.cluster.local import cluster, import_ray
    from coretune.spec.study import Resources

    torch.set_num_threads(1)
    import_ray()
    with tempfile.TemporaryDirectory() as folder, cluster(Resources(workers=WORKERS, slots=2, cpus=0.5)):
        import ray

        found = measure(ray, Path(folder))
    warm, cold = statistics.median(found["warm"]), statistics.median(found["cold"])
    detail = {
        "workers": WORKERS,
        "runs": {"warm": len(found["warm"]), "cold": len(found["cold"])},
        "warm_start_s": round(warm, 4),
        "warm_start_goal_s": GOAL_S,
        "warm_start_kept": warm <= GOAL_S,
        "warm_start_worst_s": round(max(found["warm"]), 4),
        "warm_run_s": round(statistics.median(found["warm_run"]), 3),
        "cold_start_s": round(cold, 2),
        "cold_starts_s": [round(seconds, 2) for seconds in found["cold"]],
        "cold_run_s": round(statistics.median(found["cold_run"]), 2),
        "group_start_s": round(found["group_start"][0], 2),
    }
    result = {
        "name": "worker_groups",
        "ratio": round(cold / warm, 1),
        "goal": GOAL,
        "better": "higher",
        "rival": "a new TorchTrainer for each run",
        "detail": detail,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
