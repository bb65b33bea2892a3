"""Does a large study cost its driver more than plain Optuna would: 10,000 recorded runs, 2,000 pending, 100 cells?

    python benchmarks/scale.py [--runs N] [--pending N] [--cells N] [--tuned N]

Two parts, in which coretune's engine does all that it does in a study, and only the training is replaced.

**Time**: a results directory with the recorded runs is taken up as a resume does it. Then all pending trials are asked
for, and recorded one after another, through the searcher and the scheduler that Ray Tune calls, with one epoch's report
each. The rival has a journal of the same kind with the same trials in as many Optuna studies, and only asks and tells.
Rounds of both take turns; the ratio is that of the medians of a round. A study's writer saves the searches every 2 s
beside the driver's own thread: what that takes with every cell changed is charged as its share of the time. Between
asking and recording a stand-in writes the records that workers would write. It does not sleep and is not timed: what a
run lasts costs both sides nothing.

**Memory**: a study under the real Tuner, in a process of its own, whose actors sleep for 0.1 s and write the record in
place of a training. `driver_kb_per_trial` is the slope of the driver's resident memory over finished trials, by least
squares, between the first fifth of them and the last one. It has a goal of its own (20 KB).
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

ROUNDS = 5
GOAL, GOAL_KB = 1.5, 20.0
SLOTS = 4
SLEEP_S = 0.1
STAMP = "2026-11-01T10:00:00+00:00"
ENVIRONMENT = {"hostname": "node", "python": "3.11.9", "torch": "2.14.1", "device": "cpu", "threads": 1}

STUDY = """
name: scale
datasets: {{digits: {{validation: 200, test: 600, labels_per_class: 5}}}}
backbones: {{{backbones}}}
methods: [core_tuning]
train: {{epochs: 4, batch: 50, contrast_batch: 50, lr: {{log_uniform: [0.003, 0.3], default: 0.03}}}}
search: {{sampler: tpe, trials: {trials}}}
finals: {{seeds: 1}}
keep: none
resources: {{slots: {slots}, cpus: 0.5}}
"""


def load(cells: int, trials: int) -> Any:
    """Returns a study of so many cells, with so many trials each."""
    from coretune.spec.load import resolve_study
    from coretune.spec.yamlfile import parse_yaml

    backbones = ", ".join(f"net{i}: {{arch: small_resnet, params: {{widths: [{8 + i}]}}}}" for i in range(cells))
    return resolve_study(parse_yaml(STUDY.format(backbones=backbones, trials=trials, slots=SLOTS)))


def record_of(spec: Any, score: float) -> Any:
    """Returns what a run leaves."""
    from coretune.results.record import Record

    metrics = {"top1": score, "mean_per_class": score, "cross_entropy": 1.0}
    return Record(
        run_id=spec.run_id,
        status="completed",
        spec=spec.canonical(),
        metrics={"last": metrics, "best": {**metrics, "epoch": 4.0}},
        timings={"train_s": 0.1, "evaluate_s": 0.01, "total_s": 0.11, "images_per_s": 5000.0},
        environment=ENVIRONMENT,
        started=STAMP,
        finished=STAMP,
    )


def finish(store: Any, job: Any, score: float) -> None:
    """Writes what a run leaves, in its worker's place."""
    from coretune.results.record import Evaluation

    for spec in job.all_evaluations:
        run_id = job.spec.run_id
        store.put_evaluation(
            Evaluation(
                eval_id=spec.eval_id(run_id),
                run_id=run_id,
                spec=spec.model_dump(mode="json", exclude_defaults=True),
                metrics={"top1": score},
                created=STAMP,
            )
        )
    store.put_record(record_of(job.spec, score))


# ---------------------------------------------------------------------------------------------------------------- time


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Attributes:
        runs: Recorded when the measurement begins.
        pending: Trials that are asked for, and recorded, while it lasts.
        cells: Searches.
    """

    runs: int
    pending: int
    cells: int


def write_earlier(study: Any, root: Path, size: Size) -> None:
    """Writes what an earlier session left: searches with their first trials, and the records of these. (Unsynced.)"""
    from coretune.results.cellfile import CellFile, TrialEntry
    from coretune.results.store import ResultsStore

    draws, store = random.Random(0), ResultsStore(root)
    for cell in study.cells:
        entries = []
        space = cell.cell.method.space
        for number in range(size.runs // size.cells):
            params = {path: item.at(draws.random()) for path, item in space.items()}
            (spec,) = study.trial_specs(cell, cell.cell.method.defaults if number == 0 else params)
            record = record_of(spec, draws.uniform(50, 90))
            folder = store.run_folder(spec.run_id)
            folder.mkdir(parents=True)
            (folder / "record.json").write_text(record.model_dump_json(indent=1) + "\n")
            params = dict(cell.cell.method.defaults) if number == 0 else params
            entries.append(TrialEntry(number=number, params=params, runs=(spec.run_id,), state="completed"))
        store.put_cell(
            CellFile(
                key=cell.cell.key,
                dataset=cell.cell.dataset.label,
                method=cell.cell.method.label,
                backbone=cell.cell.backbone.label,
                metric="top1",
                direction="max",
                space={path: item.to_dict() for path, item in space.items()},
                trials=tuple(entries),
            )
        )


class Ours:
    """Coretune's driver, called as Ray Tune calls it.

    Args:
        study: What is searched.
        root: Its results directory.
        slots: Runs at a time: all pending ones.
    """

    def __init__(self, study: Any, root: Path, slots: int) -> None:
        from coretune.results.store import ResultsStore
        from coretune.spec.study import Resources
        from coretune.study.adapters import CellScheduler, CellSearch
        from coretune.study.book import CellBook
        from coretune.study.events import EventLog
        from coretune.study.progress import Progress
        from coretune.study.trainable import WorkerOptions

        events = EventLog(root / "log.txt")
        self.book = CellBook(study, ResultsStore(root, repair=True), events)
        self._worker = ResultsStore(root)
        progress = Progress(self.book, events, results=str(root), slots=slots)
        options = WorkerOptions(results=str(root), resources=Resources())
        self._search = CellSearch(self.book, progress, options, slots)
        self._scheduler = CellScheduler(self.book, progress, self._search)
        self._configs: list[dict[str, Any]] = []
        self._draws = random.Random(1)
        self._bring_up(slots)

    def _bring_up(self, slots: int) -> None:
        """Lets every slot report once without a run, as when the actors have started."""
        names = [f"idle-{number}" for number in range(slots)]
        for name in names:
            self._search.suggest(name)
            self._search.keeps_idle(name)
        for name in names:
            self._search.on_trial_complete(name, {"run_id": None})

    def ask(self, count: int) -> float:
        """Asks for trials; returns the seconds."""
        begun = time.perf_counter()
        for _ in range(count):
            config = self._search.suggest(f"trial-{len(self._configs)}")
            if not isinstance(config, dict) or config["job"] is None:
                raise SystemExit(f"expected a run, got {config}")
            self._configs.append(config)
        return time.perf_counter() - begun

    def save(self) -> float:
        """Writes the searches' files as a study's writer does; returns the seconds."""
        begun = time.perf_counter()
        self.book.write_searches()
        return time.perf_counter() - begun

    def record(self, first: int, count: int) -> float:
        """Records the ends of runs; returns the seconds."""
        scores = [self._draws.uniform(50, 90) for _ in range(count)]
        ended = self._configs[first : first + count]
        for config, score in zip(ended, scores, strict=True):
            finish(self._worker, config["job"], score)
        begun = time.perf_counter()
        for number, (config, score) in enumerate(zip(ended, scores, strict=True), first):
            result = {"run_id": config["run_id"], "reports": [(4, {"top1": score})], "epoch": 4, "outcome": "completed"}
            self._scheduler.on_trial_complete(None, None, result)
            self._search.on_trial_complete(f"trial-{number}", result)
        return time.perf_counter() - begun


class Rival:
    """Plain Optuna: one study per cell in one journal of the kind that coretune has.

    Args:
        cells: Whose trials it has, too.
    """

    def __init__(self, cells: Sequence[Any]) -> None:
        import optuna

        from coretune.study.journal import MemoryJournal
        from coretune.study.optuna_cell import distribution

        storage = optuna.storages.JournalStorage(MemoryJournal())
        self._space = {path: distribution(item) for path, item in cells[0].resolved.cell.method.space.items()}
        self._studies, self._trials = [], []
        self._draws = random.Random(1)
        for number, cell in enumerate(cells):
            sampler = optuna.samplers.TPESampler(seed=number)
            study = optuna.create_study(storage=storage, study_name=cell.key, direction="maximize", sampler=sampler)
            study.add_trials(
                [
                    optuna.create_trial(
                        params={path: cell.resolved.cell.method.space[path].nearest(v) for path, v in t.params.items()},
                        distributions=self._space,
                        value=t.value,
                    )
                    for t in cell.trials
                ]
            )
            self._studies.append(study)

    def ask(self, count: int) -> float:
        """Asks for trials, of one study after another; returns the seconds."""
        begun = time.perf_counter()
        for _ in range(count):
            study = self._studies[len(self._trials) % len(self._studies)]
            self._trials.append((study, study.ask(self._space)))
        return time.perf_counter() - begun

    def record(self, first: int, count: int) -> float:
        """Tells the scores of trials; returns the seconds."""
        scores = [self._draws.uniform(50, 90) for _ in range(count)]
        begun = time.perf_counter()
        for (study, trial), score in zip(self._trials[first : first + count], scores, strict=True):
            study.tell(trial, score)
        return time.perf_counter() - begun


def measure_time(size: Size) -> dict[str, Any]:
    """Returns milliseconds per trial of both sides, by phase."""
    import optuna

    from coretune.study.resolved import resolve

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = resolve(load(size.cells, (size.runs + size.pending) // size.cells))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        write_earlier(study, root, size)
        begun = time.perf_counter()
        ours = Ours(study, root, size.pending)
        taken_up = time.perf_counter() - begun
        rival = Rival(ours.book.cells)
        memory = resident_kb()
        seconds: dict[str, list[float]] = {"ask": [], "rival_ask": [], "record": [], "rival_record": []}
        count = size.pending // ROUNDS
        saves = []
        for turn in range(ROUNDS):
            _take_turns(turn, seconds, "ask", lambda: ours.ask(count), lambda: rival.ask(count))
            saves.append(ours.save())
        for turn in range(ROUNDS):
            first = turn * count
            _take_turns(
                turn,
                seconds,
                "record",
                lambda first=first: ours.record(first, count),
                lambda first=first: rival.record(first, count),
            )
        settled = sum(trial.state == "completed" for cell in ours.book.cells for trial in cell.trials)
        if settled != size.runs + size.pending:
            raise SystemExit(f"expected {size.runs + size.pending} settled trials, got {settled}")
        ms = {what: round(statistics.median(found) / count * 1e3, 3) for what, found in seconds.items()}
        return {
            "ms_per_trial": ms,
            "save_s": round(statistics.median(saves), 4),
            "taken_up_s": round(taken_up, 1),
            "both_kb_per_trial": _per(memory, size.pending),
        }


def _take_turns(turn: int, seconds: dict[str, list[float]], what: str, ours: Any, rival: Any) -> None:
    pair = [(what, ours), (f"rival_{what}", rival)]
    for name, side in pair if turn % 2 else reversed(pair):
        seconds[name].append(side())


def _per(before: float, trials: int) -> float:
    gc.collect()
    return round((resident_kb() - before) / trials, 2)


def resident_kb() -> float:
    """Returns this process's resident memory."""
    return float(psutil.Process().memory_info().rss) / 1024


# -------------------------------------------------------------------------------------------------------------- memory


def tune(trials: int, root: Path) -> dict[str, Any]:
    """Runs a study under the real Tuner with sleeping actors; returns what the driver's memory and time came to."""
    from coretune.cluster.local import import_ray
    from coretune.study.engine import run_study

    import_ray(local=True)
    from coretune.study import tuner

    samples: list[tuple[int, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            samples.append((_done(root), resident_kb()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    try:
        with mock.patch.object(tuner, "RunTrainable", sleeper()):
            outcome = run_study(load(10, trials // 10), out=root, slots=SLOTS)
    finally:
        ended.set()
        watcher.join()
    if outcome.phase != "done":
        raise SystemExit(f"expected a study that is done, got {outcome}")
    # Until the end: then the tables are made, with libraries that are imported for it and once for all trials.
    under_way = [pair for pair in samples if trials / 5 <= pair[0] < trials]
    return {
        "tuned": trials,
        "seconds": round(time.perf_counter() - begun, 1),
        "driver_kb_per_trial": round(slope(under_way), 2),
        "driver_mb": round(samples[-1][1] / 1024),
    }


def sleeper() -> Any:
    """Returns the actor that sleeps in place of training."""
    from coretune.results.life import Life
    from coretune.results.store import ResultsStore
    from coretune.study.trainable import ReusedTrainable

    class Sleeper(ReusedTrainable):
        """Takes runs as `RunTrainable` does, and needs 0.1 s for each."""

        def setup(self, config: dict[str, Any]) -> None:
            """Takes the first run."""
            self._begin(config)

        def step(self) -> dict[str, Any]:
            """Sleeps, and leaves a record; without a run, waits a little."""
            if self._job is None:
                return self._wait()
            time.sleep(SLEEP_S)
            score = random.Random(self._job.spec.run_id).uniform(50, 90)
            finish(self._store, self._job, score)
            return {
                "run_id": self._job.spec.run_id,
                "life": Life(STAMP, SLEEP_S, ENVIRONMENT),
                "reports": [(4, {"top1": score, "mean_per_class": score, "cross_entropy": 1.0})],
                "epoch": 4,
                "images_per_s": 5000.0,
                "done": True,
                "outcome": "completed",
            }

        def _start(self, config: dict[str, Any]) -> None:
            self._job, self._store = config["job"], ResultsStore(config["options"].results)

        def _stop(self) -> None:
            self._job = None

    return Sleeper


def _done(root: Path) -> int:
    return sum(1 for _ in root.glob("runs/*/record.json"))


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Returns the rise of the second over the first, by least squares."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope


def measure_memory(trials: int) -> dict[str, Any]:
    """Returns what `tune` says, of a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        done = subprocess.run(
            [sys.executable, __file__, "--tune", str(root), "--tuned", str(trials)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure(size: Size, tuned: int) -> dict[str, Any]:
    """Measures both parts."""
    from coretune.study.writer import STATE_EVERY_S

    found = measure_time(size)
    ms = found["ms_per_trial"]
    ours = (ms["ask"] + ms["record"]) * (1 + found["save_s"] / STATE_EVERY_S)
    memory = measure_memory(tuned)
    return {
        "name": "scale",
        "ratio": round(ours / (ms["rival_ask"] + ms["rival_record"]), 3),
        "goal": GOAL,
        "better": "lower",
        "rival": "plain Optuna: ask and tell, one study per cell, in a journal of the same kind and size",
        "detail": {
            "runs": size.runs,
            "pending": size.pending,
            "cells": size.cells,
            **found,
            "tuner": memory,
            "driver_kb_per_trial": memory["driver_kb_per_trial"],
            "goal_kb_per_trial": GOAL_KB,
        },
    }


def main() -> None:
    """Measures and prints; or, told by `measure_memory`, tunes once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 10_000), ("pending", 2_000), ("cells", 100), ("tuned", 1_200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tune", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tune is not None:
        print(json.dumps(tune(options.tuned, options.tune)))
        return
    print(json.dumps(measure(Size(options.runs, options.pending, options.cells), options.tuned)))


if __name__ == "__main__":
    main()
