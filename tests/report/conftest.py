"""Synthetic results directories: real files, written through the store, of runs that nobody trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from coretune.report.leaderboard import Leaderboard, build
from coretune.results.cellfile import CellFile, Choice, FinalEntry, TrialEntry
from coretune.results.record import Cause, Evaluation, Record
from coretune.results.store import ResultsStore
from coretune.spec.cells import final_seed, search_seed
from coretune.spec.components import Ref
from coretune.spec.run import BackboneSpec, DataSpec, EvalSpec, RunSpec, TrainSpec
from coretune.spec.study import Study

Score = float | Literal["failed", "not evaluated", "unfinished"]


class StoreBuilder:
    """Writes a study, its cells, records and evaluations."""

    def __init__(self, root: Path) -> None:
        self.store = ResultsStore(root)
        self.metric: Literal["top1", "mean_per_class", "cross_entropy", "miou"] = "top1"
        self.weights: Literal["last", "best"] = "last"
        self.seed = 0

    @property
    def direction(self) -> Literal["max", "min"]:
        return "min" if self.metric == "cross_entropy" else "max"

    def study(
        self,
        methods: Sequence[str] = ("ce", "core_tuning"),
        datasets: Sequence[str] = ("digits",),
        backbones: Sequence[str] = ("net",),
        **keys: Any,
    ) -> None:
        """Writes study.yaml as the engine does: the resolved study."""
        study = Study(
            name="synthetic",
            datasets={label: {} for label in datasets},
            backbones={label: {} for label in backbones},
            methods={label: {} for label in methods},
            objective={"metric": self.metric},
            **{"finals": {"seeds": 6}, **keys},
        )
        self.store.root.mkdir(parents=True, exist_ok=True)
        (self.store.root / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))

    def spec(self, dataset: str, method: str, backbone: str, params: Mapping[str, Any], seed: int) -> RunSpec:
        own = {path.partition(".")[2]: value for path, value in params.items() if path.startswith("method.")}
        train = {path.partition(".")[2]: value for path, value in params.items() if path.startswith("train.")}
        return RunSpec(
            data=DataSpec(
                dataset=Ref(name=dataset, version=1), fingerprint="0" * 64, image_size=16, validation=0.1, test=0.2
            ),
            backbone=BackboneSpec(arch=Ref(name=backbone, version=1)),
            method=Ref(name=method, version=1, params=own),
            train=TrainSpec(**train),
            seed=seed,
        )

    def record(self, spec: RunSpec, status: Literal["completed", "pruned", "failed"] = "completed", **more: Any) -> str:
        failed = {"cause": Cause(kind="diverged", message="the loss is nan", epoch=3)} if status == "failed" else {}
        values: dict[str, Any] = {
            "metrics": {"last": {"top1": 70.0, "cross_entropy": 1.0}, "best": {"top1": 72.0, "epoch": 4.0}},
            "timings": {"total_s": 12.5},
            "environment": {"hostname": "node-1"},
            **failed,
            **more,
        }
        self.store.put_record(
            Record(
                run_id=spec.run_id,
                status=status,
                spec=spec.canonical(),
                started="2026-11-01T10:00:00+00:00",
                finished="2026-11-01T10:00:13+00:00",
                **values,
            )
        )
        return spec.run_id

    def evaluate(self, run_id: str, score: float, spec: EvalSpec | None = None) -> None:
        spec = spec or self.evaluation
        self.store.put_evaluation(
            Evaluation(
                eval_id=spec.eval_id(run_id),
                run_id=run_id,
                spec=spec.model_dump(mode="json"),
                metrics={self.metric: score, "other": 1.0},
                created="2026-11-01T10:00:14+00:00",
            )
        )

    @property
    def evaluation(self) -> EvalSpec:
        return EvalSpec(evaluation=Ref(name="classification", version=1), weights=self.weights)

    def cell(
        self,
        dataset: str,
        method: str,
        scores: Sequence[Score] | None = (),
        *,
        backbone: str = "net",
        params: Mapping[str, Any] | None = None,
        trials: int = 2,
        space: Mapping[str, dict[str, Any]] | None = None,
    ) -> CellFile:
        """Writes a cell: its trials, and a final run per score. No scores at all (None): it is still searching."""
        key = f"{dataset}--{method}--{backbone}"
        params = {"train.lr": 0.03} if params is None else params
        entries = []
        for number in range(trials):
            tried = {**params, "train.lr": 0.01 * (number + 1)}
            run_id = self.record(self.spec(dataset, method, backbone, tried, search_seed(0, key, 0)))
            entries.append(TrialEntry(number=number, params=tried, runs=(run_id,), value=70.0, state="completed"))
        finals = [self.final(dataset, method, backbone, params, *item) for item in enumerate(scores or ())]
        chosen = Choice(
            trial=0, params=dict(params), value=70.0, rule=f"best validation {self.metric} of {trials} trials"
        )
        cell = CellFile(
            key=key,
            dataset=dataset,
            method=method,
            backbone=backbone,
            metric=self.metric,
            direction=self.direction,
            space=dict(space or {}),
            trials=tuple(entries),
            choice=chosen if scores is not None else None,
            finals=tuple(finals),
            evaluation=self.evaluation.model_dump(mode="json") if scores is not None else {},
        )
        self.store.put_cell(cell)
        return cell

    def final(
        self, dataset: str, method: str, backbone: str, params: Mapping[str, Any], index: int, score: Score
    ) -> FinalEntry:
        spec = self.spec(dataset, method, backbone, params, final_seed(self.seed, index))
        if score != "unfinished":
            self.record(spec, "failed" if score == "failed" else "completed")
        if isinstance(score, int | float):
            self.evaluate(spec.run_id, score)
        return FinalEntry(index=index, seed=spec.seed, run_id=spec.run_id)


@pytest.fixture
def builder(tmp_path: Path) -> StoreBuilder:
    """A builder of one results directory."""
    return StoreBuilder(tmp_path / "results")


@pytest.fixture
def make_builder(tmp_path: Path) -> Callable[[str], StoreBuilder]:
    """Returns a builder for each name."""
    return lambda name: StoreBuilder(tmp_path / name)


@pytest.fixture
def leaderboard(builder: StoreBuilder) -> Leaderboard:
    """Two data sets, one of them without the final runs of Core-tuning."""
    builder.study(datasets=["digits", "shapes"])
    builder.cell("digits", "ce", [100 / 3, 200 / 7, 31.1])
    builder.cell("digits", "core_tuning", [100 / 3 + 0.1, 29.0, 35.0], params={"train.lr": 1 / 30, "method.eta": 0.1})
    builder.cell("shapes", "ce", [50.0, 51.0, 52.0])
    builder.cell("shapes", "core_tuning", None)
    return build(builder.store)
