"""What the study engine costs: 96 runs of about a second each on two slots, against two warm processes in a loop.

Both sides execute the same kind of run (`coretune.runs.execute`, records and all) and are measured alike: from the
first run's start to the last one's end, by their records. The loop is run before and after the engine, half of the
runs each, so that a machine that changes its speed changes it for both. Beside them, on fewer runs, the obvious way:
Ray Tune with OptunaSearch, a function trainable, no actor reuse.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

RUNS = 96
OBVIOUS_RUNS = 8
SLOTS = 2
RUN_SECONDS = 1.0
GOAL = 1.10

STUDY = """
name: overhead
datasets: {{digits: {{labels_per_class: 5, validation: 200, test: 600}}}}
backbones: {{small_resnet: {{params: {{widths: [16, 32, 64]}}}}}}
methods: [ce]
train: {{epochs: {epochs}, batch: 50, contrast_batch: 50, evaluate_every: {epochs}, lr: {{log_uniform: [0.01, 0.1]}}}}
search: {{sampler: random, trials: {trials}}}
finals: {{seeds: 1}}
resources: {{slots: 2}}
"""


def jobs(epochs: int, seeds: Sequence[int]) -> list[object]:
    """Returns runs like the engine's, one per seed."""
    from coretune.runs.job import Job
    from coretune.spec.load import resolve_study
    from coretune.spec.yamlfile import parse_yaml
    from coretune.study.resolved import resolve

    study = resolve(resolve_study(parse_yaml(STUDY.format(epochs=epochs, trials=1))))
    return [Job(study.run_spec(study.cells[0], {"train.lr": 0.03}, seed)) for seed in seeds]


def execute(root: Path, epochs: int, seeds: Sequence[int]) -> None:
    """Executes runs one after another in this process."""
    from coretune.spec.study import Resources
    from coretune.study.trainable import WorkerOptions, start

    options = WorkerOptions(results=str(root), resources=Resources())
    for job in jobs(epochs, seeds):
        for _ in start(job, options):  # type: ignore[arg-type]
            pass


def worker(root: Path, epochs: int, seeds: Sequence[int], ready: object, go: object) -> None:
    """One warm process of the rival."""
    import torch

    torch.set_num_threads(1)
    execute(root / "warm-up", epochs, [10_000 + seeds[0]])
    ready.release()  # type: ignore[attr-defined]
    go.wait()  # type: ignore[attr-defined]
    execute(root, epochs, seeds)


def loop_seconds(epochs: int, seeds: Sequence[int]) -> float:
    """Returns the seconds that two warm processes take for some runs."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Semaphore(0), context.Event()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        parts = [seeds[slot::SLOTS] for slot in range(SLOTS)]
        processes = [context.Process(target=worker, args=(root, epochs, part, ready, go)) for part in parts]
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        go.set()
        for process in processes:
            process.join()
        return span(root, len(seeds))


def engine_seconds(epochs: int) -> tuple[float, float]:
    """Returns the seconds that the engine takes for all runs, and those until its first run starts."""
    from coretune.spec.load import resolve_study
    from coretune.spec.yamlfile import parse_yaml
    from coretune.study.engine import run_study

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        begun = time.time()
        run_study(resolve_study(parse_yaml(STUDY.format(epochs=epochs, trials=RUNS - 1))), out=root)
        return span(root, RUNS), first_start(root) - begun


def obvious_seconds_per_run(epochs: int) -> float:
    """Returns the seconds per run and slot of Tune + OptunaSearch with a function trainable."""
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    with tempfile.TemporaryDirectory() as folder:

        def trainable(config: dict[str, float]) -> None:
            import torch

            torch.set_num_threads(1)
            execute(Path(folder) / "results", epochs, [int(config["seed"] * 1e6)])
            tune.report({"top1": 0.0})

        ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
        begun = time.time()
        tune.Tuner(
            trainable,
            param_space={"seed": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(search_alg=OptunaSearch(metric="top1", mode="max"), num_samples=OBVIOUS_RUNS),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        seconds = time.time() - begun
        ray.shutdown()
    return seconds * SLOTS / OBVIOUS_RUNS


def span(root: Path, runs: int) -> float:
    """Returns the seconds from the first run's start to the last one's end."""
    records = [json.loads(path.read_text()) for path in root.glob("runs/*/record.json")]
    if len(records) != runs or any(record["status"] != "completed" for record in records):
        raise SystemExit(f"expected {runs} completed runs, got {len(records)}")
    return max(map(end, records)) - first_start(root)


def first_start(root: Path) -> float:
    """Returns when the first run started, in seconds since 1970."""
    records = [json.loads(path.read_text()) for path in root.glob("runs/*/record.json")]
    return min(datetime.fromisoformat(record["started"]).timestamp() for record in records)


def end(record: dict[str, str]) -> float:
    """Returns when a run ended, in seconds since 1970."""
    return datetime.fromisoformat(record["finished"]).timestamp()


def calibrate() -> int:
    """Returns the epochs that make a run take about a second on two busy cores."""
    trial = 20
    seconds = loop_seconds(trial, range(8)) * SLOTS / 8
    return max(1, round(trial * RUN_SECONDS / seconds))


def main() -> None:
    """Measures and prints."""
    epochs = calibrate()
    before = loop_seconds(epochs, range(RUNS // 2))
    engine, startup = engine_seconds(epochs)
    after = loop_seconds(epochs, range(RUNS // 2, RUNS))
    obvious = obvious_seconds_per_run(epochs)
    loop = before + after
    detail = {
        "runs": RUNS,
        "epochs_per_run": epochs,
        "engine_s": round(engine, 2),
        "loop_s": round(loop, 2),
        "loop_halves_s": [round(before, 2), round(after, 2)],
        "engine_startup_s": round(startup, 2),
        "seconds_per_run": round(loop * SLOTS / RUNS, 3),
        "obvious_way_ratio": round(obvious / (loop * SLOTS / RUNS), 2),
    }
    result = {
        "name": "study_overhead",
        "ratio": round(engine / loop, 3),
        "goal": GOAL,
        "better": "lower",
        "rival": "two warm processes executing the same runs in a loop",
        "detail": detail,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
