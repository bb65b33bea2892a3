"""How fast are leaderboard.csv and runs.csv rebuilt from 10,000 records?

    python benchmarks/leaderboard.py

Rival: what one writes in a notebook. `json.loads` of every record and evaluation, a pandas DataFrame, `groupby` for
mean, std, sem and rank, `scipy.stats.ttest_rel` per cell against the baseline, two `to_csv`. It checks nothing (no
schema, no statuses beyond completed, no ties in the signed-rank test, no intervals, no mean rows). Both run cold, each
time in a process of its own, interleaved, imports included; the ratio is that of the medians. The wall time of ours
has a goal of its own (3 s), and so has the rewrite by a process that has read the store before, as a study's has.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from coretune.report.write import Writer, write
from coretune.results.cellfile import CellFile, Choice, FinalEntry, TrialEntry
from coretune.results.record import Evaluation, Record
from coretune.results.store import ResultsStore
from coretune.spec.components import Ref
from coretune.spec.frozen import Frozen
from coretune.spec.run import BackboneSpec, DataSpec, EvalSpec, RunSpec, TrainSpec
from coretune.spec.study import Study

DATASETS, BACKBONES, METHODS = 5, 2, 5
TRIALS, FINALS = 194, 6
ROUNDS = 5
GOAL_RATIO, GOAL_SECONDS = 1.0, 3.0
EVALUATION = EvalSpec(evaluation=Ref(name="classification", version=1))
STAMP = "2026-11-01T10:00:00+00:00"


def make_store(root: Path) -> int:
    """Writes a finished study of 50 cells; returns the number of records. (Unsynced: only reading is measured.)"""
    draws = random.Random(0)
    labels = [[f"{kind}{i}" for i in range(n)] for kind, n in (("data", DATASETS), ("net", BACKBONES), ("m", METHODS))]
    study = Study.model_validate(
        {
            "name": "scale",
            "datasets": {label: {} for label in labels[0]},
            "backbones": {label: {} for label in labels[1]},
            "methods": {label: {} for label in labels[2]},
            "search": {"trials": TRIALS},
            "finals": {"seeds": FINALS},
        }
    )
    root.mkdir()
    (root / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    cells = [(dataset, backbone, method) for dataset in labels[0] for backbone in labels[1] for method in labels[2]]
    return sum(_make_cell(root, *cell, draws) for cell in cells)


def _make_cell(root: Path, dataset: str, backbone: str, method: str, draws: random.Random) -> int:
    key = f"{dataset}--{method}--{backbone}"
    trials = []
    for number in range(TRIALS):
        params = {"train.lr": draws.uniform(0.01, 0.3), "method.eta": draws.uniform(0.1, 10)}
        run_id = _make_run(root, dataset, backbone, method, params, draws.getrandbits(60), draws, final=False)
        trials.append(
            TrialEntry(number=number, params=params, runs=(run_id,), values=(70.0,), value=70.0, state="completed")
        )
    best = trials[0].params
    finals = [
        FinalEntry(index=i, seed=i, run_id=_make_run(root, dataset, backbone, method, best, i, draws, final=True))
        for i in range(FINALS)
    ]
    cell = CellFile(
        key=key,
        dataset=dataset,
        method=method,
        backbone=backbone,
        metric="top1",
        direction="max",
        trials=tuple(trials),
        choice=Choice(trial=0, params=best, value=70.0, rule=f"best validation top1 of {TRIALS} trials"),
        finals=tuple(finals),
        evaluation=EVALUATION.model_dump(mode="json"),
    )
    _put(root / "cells" / key / "search.json", cell)
    return TRIALS + FINALS


def _make_run(
    root: Path,
    dataset: str,
    backbone: str,
    method: str,
    params: dict[str, float],
    seed: int,
    draws: random.Random,
    *,
    final: bool,
) -> str:
    spec = RunSpec(
        data=DataSpec(
            dataset=Ref(name=dataset, version=1), fingerprint="0" * 64, image_size=16, validation=0.1, test=0.2
        ),
        backbone=BackboneSpec(arch=Ref(name=backbone, version=1), weights="run:" + "0" * 16),
        method=Ref(name=method, version=1, params={"eta": params["method.eta"]}),
        train=TrainSpec(lr=params["train.lr"], epochs=40, batch=50, contrast_batch=50),
        seed=seed,
    )
    scores = {"top1": draws.gauss(75, 3), "mean_per_class": draws.gauss(75, 3), "cross_entropy": draws.uniform(0.5, 1)}
    record = Record(
        run_id=spec.run_id,
        status="completed",
        spec=spec.canonical(),
        metrics={"last": scores, "best": {**scores, "epoch": 31.0}},
        timings={"train_s": 1.1, "evaluate_s": 0.1, "total_s": 1.2, "images_per_s": 5000.0},
        environment={"hostname": "node", "python": "3.11.9", "torch": "2.14.1", "device": "cpu", "threads": 1},
        started=STAMP,
        finished=STAMP,
    )
    folder = root / "runs" / spec.run_id
    _put(folder / "record.json", record)
    if final:
        eval_id = EVALUATION.eval_id(spec.run_id)
        evaluation = Evaluation(
            eval_id=eval_id, run_id=spec.run_id, spec=EVALUATION.model_dump(mode="json"), metrics=scores, created=STAMP
        )
        _put(folder / "evals" / f"{eval_id}.json", evaluation)
    return spec.run_id


def _put(path: Path, model: Frozen) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(model.model_dump_json(indent=1) + "\n")


def rival(root: Path) -> None:
    """The notebook's way, to `plain-leaderboard.csv` and `plain-runs.csv`."""
    import pandas
    from scipy.stats import ttest_rel

    records = [json.loads(path.read_text()) for path in root.glob("runs/*/record.json")]
    runs = pandas.json_normalize(records)
    runs.to_csv(root / "plain-runs.csv", index=False)
    scores = {path.parent.parent.name: json.loads(path.read_text()) for path in root.glob("runs/*/evals/*.json")}
    finals = runs[runs["run_id"].isin(scores)].copy()
    finals["score"] = [scores[run_id]["metrics"]["top1"] for run_id in finals["run_id"]]
    place = ["spec.data.dataset.name", "spec.backbone.arch.name"]
    table = finals.groupby([*place, "spec.method.name"])["score"].agg(["count", "mean", "std", "sem"])
    table["rank"] = table.groupby(place)["mean"].rank(ascending=False, method="min")
    wide = finals.pivot(index=[*place, "spec.seed"], columns="spec.method.name", values="score")
    for keys, group in wide.groupby(place):
        for method in group.columns[1:]:
            table.loc[(*keys, method), "p"] = ttest_rel(group[method], group["m0"]).pvalue
    table.to_csv(root / "plain-leaderboard.csv")


def timed(which: str, root: Path) -> float:
    """Returns the seconds that a fresh process takes for one way."""
    start = time.perf_counter()
    subprocess.run([sys.executable, __file__, which, str(root)], check=True)
    return time.perf_counter() - start


def measure(root: Path) -> dict[str, object]:
    """Measures both ways and the rewrite, and checks that they agree on every p and mean."""
    records = make_store(root)
    seconds: dict[str, list[float]] = {"coretune": [], "rival": []}
    for turn in range(ROUNDS):
        for which in ("coretune", "rival") if turn % 2 else ("rival", "coretune"):
            seconds[which].append(timed(which, root))
    writer = Writer(ResultsStore(root))
    writer.write()
    start = time.perf_counter()
    writer.write()
    rewrite = time.perf_counter() - start
    ours, plain = statistics.median(seconds["coretune"]), statistics.median(seconds["rival"])
    return {
        "name": "leaderboard",
        "ratio": round(ours / plain, 3),
        "goal": GOAL_RATIO,
        "better": "lower",
        "rival": "json.loads + pandas groupby + scipy.stats.ttest_rel, unchecked, in a fresh process",
        "detail": {
            "records": records,
            "seconds": round(ours, 3),
            "goal_seconds": GOAL_SECONDS,
            "rival_seconds": round(plain, 3),
            "rewrite_seconds": round(rewrite, 3),
            "rounds": {which: [round(value, 3) for value in found] for which, found in seconds.items()},
            "largest_difference": _largest_difference(root),
        },
    }


def _largest_difference(root: Path) -> float:
    """Returns the largest difference between the two tables' means, standard errors and p-values."""
    import pandas

    ours = (
        pandas.read_csv(root / "leaderboard.csv").query("kind == 'cell'").set_index(["dataset", "backbone", "method"])
    )
    plain = pandas.read_csv(root / "plain-leaderboard.csv").set_index(
        ["spec.data.dataset.name", "spec.backbone.arch.name", "spec.method.name"]
    )
    pairs = (("mean", "mean"), ("stderr", "sem"), ("p_paired_t", "p"), ("rank", "rank"))
    return max(float((ours[one] - plain[two].reindex(ours.index)).abs().max()) for one, two in pairs)


def main() -> None:
    """Measures; or, told by `measure`, runs one way once."""
    if len(sys.argv) == 3:
        root = Path(sys.argv[2])
        rival(root) if sys.argv[1] == "rival" else write(ResultsStore(root))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder) / "results")))


if __name__ == "__main__":
    main()
