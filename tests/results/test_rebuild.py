from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coretune.results.rebuild import read_params, rebuild_trials
from coretune.results.record import Cause, Record
from coretune.spec.cells import Cell, search_seed
from coretune.spec.load import resolve_study
from coretune.spec.run import RunSpec
from coretune.spec.yamlfile import parse_yaml

TEXT = """
name: x
datasets: {digits: {labels_per_class: 5, subset_seed: per_seed}}
backbones: {small: {arch: small_resnet}}
methods:
  ce:
  core_tuning:
    scope: {choice: [own, all]}
    projection_dim: {choice: [64, 128, 256]}
    gamma: {choice: [1, 0.5]}
train:
  lr: {log_uniform: [1e-3, 1]}
  epochs: {int: [1, 9]}
  nesterov: {choice: [true, false]}
"""
LOADED = resolve_study(parse_yaml(TEXT))
CE, CORE = LOADED.cells
SEEDS = [search_seed(0, CORE.setting, repeat) for repeat in range(2)]


def spec_of(params: Mapping[str, Any], seed: int, cell: Cell = CORE, weights: str = "random") -> RunSpec:
    return cell.spec(LOADED.catalog, params, fingerprint="0" * 64, weights=weights, seed=seed, subset_seed=seed % 1000)


def record(params: Mapping[str, Any], seed: int, minute: int = 0, score: float = 50.0, **changes: Any) -> Record:
    spec = spec_of(params, seed, **{key: changes.pop(key) for key in ("cell", "weights") if key in changes})
    time = f"2026-01-01T00:{minute:02}:00.000+00:00"
    said = {"status": "completed", "metrics": {"last": {"top1": score}}, "started": time, "finished": time, **changes}
    return Record.model_validate({"run_id": spec.run_id, "spec": spec.canonical(), **said})


def rebuild(records: list[Record], seeds: list[int] = SEEDS[:1]) -> Any:
    return rebuild_trials(
        records,
        CORE,
        LOADED.catalog,
        specs_of=lambda params: [spec_of(params, seed) for seed in seeds],
        score=lambda item: item.metrics["last"]["top1"],
    )


PARAMS = st.fixed_dictionaries(
    {
        "method.eta": st.floats(1e-3, 3) | st.just(0.1),
        "method.temperature": st.floats(0.03, 0.5) | st.just(0.07),
        "method.alpha": st.floats(0.1, 4) | st.just(1.0),
        "method.scope": st.sampled_from(["own", "all"]),
        "method.projection_dim": st.sampled_from([64, 128, 256]),
        "method.gamma": st.sampled_from([1, 0.5]),
        "train.lr": st.floats(1e-3, 1) | st.just(0.01),
        "train.epochs": st.integers(1, 9),
        "train.nesterov": st.booleans(),
    }
)


@given(PARAMS)
def test_a_configuration_comes_back_from_its_record(params: dict[str, Any]) -> None:
    (trial,) = rebuild([record(params, SEEDS[0])])
    assert trial.params == params
    assert {path: type(value) for path, value in trial.params.items()} == {path: type(params[path]) for path in params}
    assert (trial.number, trial.state, trial.value) == (0, "completed", 50.0)
    assert trial.runs == (spec_of(params, SEEDS[0]).run_id,)


def test_trials_come_in_the_order_of_their_start_the_default_first() -> None:
    late, early = {"train.epochs": 2}, {"train.epochs": 3}
    default = record({}, SEEDS[0], minute=5, score=3.0)
    trials = rebuild(
        [record(late, SEEDS[0], minute=9, score=1.0), default, record(early, SEEDS[0], minute=1, score=2.0)]
    )
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert [trial.value for trial in trials] == [3.0, 2.0, 1.0]
    assert trials[0].params == CORE.method.defaults


def test_repeats_belong_to_one_trial() -> None:
    (trial,) = rebuild([record({}, SEEDS[1], score=10.0), record({}, SEEDS[0], score=20.0, minute=3)], SEEDS)
    assert trial.values == (20.0, 10.0)
    assert (trial.value, trial.state) == (15.0, "completed")
    (trial,) = rebuild([record({}, SEEDS[1], score=10.0)], SEEDS)
    assert (trial.value, trial.state, trial.values) == (None, "running", (10.0,))
    assert trial.runs == tuple(spec_of({}, seed).run_id for seed in SEEDS)


def test_how_a_trial_ended() -> None:
    failed = {"status": "failed", "cause": Cause(kind="diverged", message="nan"), "metrics": {}}
    lost = {"status": "failed", "cause": Cause(kind="environment", message="lost"), "metrics": {}}
    for changes, state in (({"status": "pruned"}, "pruned"), (failed, "failed"), (lost, "running")):
        (trial,) = rebuild([record({}, SEEDS[0], **changes)])
        assert (trial.state, trial.value) == (state, None)


def test_runs_of_others_are_left_out() -> None:
    theirs = [
        record({}, 12345),  # a final run, or another cell's
        record({}, SEEDS[0], cell=CE),
        record({}, SEEDS[0], weights="run:0123456789abcdef"),
        record({"train.epochs": 50}, SEEDS[0]),  # outside of the space
        record({}, SEEDS[0]).replace(spec={"seed": SEEDS[0]}),
        record({}, SEEDS[0]).replace(spec={}),
    ]
    other = record({}, SEEDS[0])
    theirs.append(other.replace(spec={**other.spec, "method": {**other.spec["method"], "version": 99}}))
    assert rebuild(theirs) == ()


def test_read_params_of_another_method_is_nothing() -> None:
    assert read_params(record({}, 1, cell=CE), CORE, LOADED.catalog) is None
