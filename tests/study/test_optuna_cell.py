from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from coretune.errors import RequestError
from coretune.results.cellfile import TrialEntry
from coretune.spec.space import Space
from coretune.spec.study import SearchOptions
from coretune.study.journal import MemoryJournal
from coretune.study.optuna_cell import (
    MAX_GRID,
    OptunaCell,
    distribution,
    first_trials,
    grid,
    make_pruner,
    make_sampler,
    sobol_point,
)

SPACE = {
    "train.lr": Space("log_uniform", 0.003, 0.3),
    "method.eta": Space("uniform", 0.0, 1.0),
    "method.projection_dim": Space("int", 2, 9),
    "method.scope": Space("choice", options=("own", "all")),
}
DEFAULTS = {"train.lr": 0.03, "method.eta": 0.1, "method.projection_dim": 4, "method.scope": "own"}
OPTUNA_STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


pytestmark = pytest.mark.filterwarnings("ignore:WilcoxonPruner is experimental")


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def cell(
    name: str = "a", *, seed: int = 0, directions: Sequence[str] = ("max",), epochs: int = 9, **options: Any
) -> OptunaCell:
    storage = optuna.storages.JournalStorage(MemoryJournal())
    chosen = SearchOptions.model_validate({"sampler": "random", "trials": 12, **options})
    return OptunaCell(
        name, SPACE, DEFAULTS, chosen, directions=directions, study_seed=seed, epochs=epochs, storage=storage
    )


def entry(number: int, params: dict[str, Any], state: str = "completed", **more: Any) -> TrialEntry:
    value = float(number) if state == "completed" else None
    return TrialEntry.model_validate(
        {"number": number, "params": params, "runs": (f"{number:016x}",), "state": state, "value": value, **more}
    )


def searched(asked: OptunaCell, trials: int, first: int = 0) -> list[dict[str, Any]]:
    """Asks and tells; later trials are better."""
    found = []
    for number in range(first, first + trials):
        found.append(asked.ask(number))
        asked.tell(number, "completed", float(number))
    return found


BOTH = ("max", "min")


def searched_front(asked: OptunaCell, trials: int, first: int = 0) -> list[dict[str, Any]]:
    """Asks, and tells two values that cannot both be had."""
    found = []
    for number in range(first, first + trials):
        params = asked.ask(number)
        asked.tell(number, "completed", *two_values(params))
        found.append(params)
    return found


def two_values(params: dict[str, Any]) -> tuple[float, float]:
    return params["method.eta"] + params["train.lr"], params["method.eta"] ** 2 - params["train.lr"]


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "qmc"])
@pytest.mark.parametrize("stop", [1, 6])
def test_a_rebuilt_search_of_two_objectives_goes_on_as_the_undisturbed_one(sampler: str, stop: int) -> None:
    undisturbed = searched_front(cell(sampler=sampler, directions=BOTH), 9)
    assert undisturbed[0] == DEFAULTS and len({str(params) for params in undisturbed}) == 9
    rebuilt = cell(sampler=sampler, directions=BOTH)
    kept = [
        entry(n, p, value=two_values(p)[0], scores=dict(zip(("top1", "cross_entropy"), two_values(p), strict=True)))
        for n, p in enumerate(undisturbed[:stop])
    ]
    rebuilt.restore(kept)
    assert [trial.values for trial in rebuilt._study.get_trials()] == [[*two_values(p)] for p in undisturbed[:stop]]
    assert searched_front(rebuilt, 9 - stop, first=stop) == undisturbed[stop:]


def test_both_objectives_guide_the_search() -> None:
    """More of what TPE proposes late than of what is drawn lies near the front: there it is the learning rate alone."""

    def late(sampler: str) -> float:
        asked = cell(sampler=sampler, directions=BOTH, trials=40)
        rates = [params["train.lr"] for params in searched_front(asked, 60)[20:]]
        return sum(rates) / len(rates)

    assert late("tpe") > 1.5 * late("random")


def test_the_first_trial_is_the_default_configuration() -> None:
    first, second, *_ = searched(cell(), 3)
    assert first == DEFAULTS != second


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "cmaes"])
def test_a_proposal_is_seeded_by_study_cell_and_number(sampler: str) -> None:
    proposals = searched(cell(sampler=sampler), 6)
    assert searched(cell(sampler=sampler), 6) == proposals
    assert searched(cell("b", sampler=sampler), 3)[1:] != proposals[1:3]
    assert searched(cell(seed=1, sampler=sampler), 3)[1:] != proposals[1:3]
    assert len({str(params) for params in proposals}) == len(proposals), "no draw is repeated"


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "qmc"])
@pytest.mark.parametrize("stop", [1, 5])
def test_a_rebuilt_search_goes_on_as_the_undisturbed_one(sampler: str, stop: int) -> None:
    undisturbed = searched(cell(sampler=sampler), 8)
    rebuilt = cell(sampler=sampler)
    rebuilt.restore([entry(number, params) for number, params in enumerate(undisturbed[:stop])])
    assert searched(rebuilt, 8 - stop, first=stop) == undisturbed[stop:]


@given(
    states=st.lists(st.sampled_from(["completed", "pruned", "failed", "running"]), max_size=5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_restore_gives_the_trials_back(states: list[str], seed: int) -> None:
    source = cell(seed=seed)
    entries = [
        entry(n, source.ask(n), state, intermediate={1: 0.5, 3: 0.25}, attrs={"completed_rung_0": 0.5})
        for n, state in enumerate(states)
    ]
    restored = cell(seed=seed)
    restored.restore(list(reversed(entries)))
    trials = restored._study.get_trials()
    for found, wanted in zip(trials, entries, strict=True):
        assert found.params == wanted.params and found.number == wanted.number
        assert found.state is OPTUNA_STATES.get(wanted.state, TrialState.RUNNING)
        assert found.intermediate_values == {1: 0.5, 3: 0.25}
        assert found.values == ([wanted.value] if wanted.state == "completed" else None) or wanted.state == "pruned"
        assert restored.attrs(found.number)["completed_rung_0"] == 0.5
    assert restored.ask(len(entries)) == source.ask(len(entries))


def test_a_running_trial_of_an_earlier_session_can_be_finished() -> None:
    restored = cell()
    restored.restore([entry(0, DEFAULTS, "running", intermediate={1: 10.0})])
    assert restored.report(0, 20.0, 2) is False
    restored.tell(0, "completed", 20.0)
    assert restored._study.best_value == 20.0


BESIDE = {"train.lr": Space("log_uniform", 0.003, 0.3), "method.eta": Space("log_uniform", 0.1, 1.0, also=(0.0, 5.0))}


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "cmaes", "qmc"])
def test_values_beside_a_range_are_always_tried_and_told_as_its_nearest_end(sampler: Any) -> None:
    def made() -> OptunaCell:
        return OptunaCell(
            "b",
            BESIDE,
            {"train.lr": 0.03, "method.eta": 0.1},
            SearchOptions(sampler=sampler, trials=8),
            directions=["max"],
            study_seed=0,
            epochs=1,
            storage=optuna.storages.JournalStorage(MemoryJournal()),
        )

    asked = made()
    found = searched(asked, 7)
    assert [params["method.eta"] for params in found[:3]] == [0.1, 0.0, 5.0]
    assert {params["train.lr"] for params in found[:3]} == {0.03}
    assert all(0.1 <= params["method.eta"] <= 1.0 for params in found[3:])
    assert [trial.params["method.eta"] for trial in asked._study.get_trials()][:3] == [0.1, 0.1, 1.0]
    again = made()
    again.restore([entry(number, params) for number, params in enumerate(found[:2])])
    assert searched(again, 1, first=2) == found[2:3]
    if sampler != "cmaes":
        assert searched(again, 4, first=3) == found[3:]


def test_what_equals_the_defaults_is_not_tried_twice() -> None:
    assert first_trials(BESIDE, {"train.lr": 0.03, "method.eta": 0.0}) == [
        {"train.lr": 0.03, "method.eta": 0.0},
        {"train.lr": 0.03, "method.eta": 5.0},
    ]
    assert grid({"k": Space("int", 1, 2, also=(9,))}) == [{"k": 1}, {"k": 2}, {"k": 9}]


def test_restore_refuses_gaps() -> None:
    with pytest.raises(ValueError, match="trial 1 is missing"):
        cell().restore([entry(0, DEFAULTS), entry(2, DEFAULTS)])


def test_trials_are_asked_in_order() -> None:
    with pytest.raises(RuntimeError, match="asked for trial 3, got 0"):
        cell().ask(3)


@pytest.mark.parametrize("state", ["completed", "pruned", "failed"])
def test_tell_ends_a_trial(state: str) -> None:
    asked = cell()
    asked.ask(0)
    asked.report(0, 3.0, 1)
    asked.tell(0, state, *([4.0] if state == "completed" else []))
    (trial,) = asked._study.get_trials()
    assert trial.state is OPTUNA_STATES[state]


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband", "median", "wilcoxon"])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_pruners_give_up_the_worst_and_never_the_best(pruner: str, direction: str) -> None:
    asked = cell(pruner=pruner, directions=[direction], trials=24)
    sign = 1.0 if direction == "max" else -1.0
    pruned = []
    for number in range(24):
        asked.ask(number)
        good = number % 4 == 0
        score = sign * (90.0 + number if good else 10.0 - number)
        if any(asked.report(number, score + sign * 0.1 * epoch, epoch) for epoch in range(1, 10)):
            pruned.append(number)
            asked.tell(number, "pruned")
        else:
            asked.tell(number, "completed", score)
    assert pruned, "nothing was given up"
    best = asked._study.best_trial.number
    assert best not in pruned and best % 4 == 0
    assert sum(number % 4 != 0 for number in pruned) > sum(number % 4 == 0 for number in pruned)


def test_without_a_pruner_nothing_is_given_up() -> None:
    asked = cell()
    for number in range(6):
        asked.ask(number)
        assert not any(asked.report(number, -float(number * epoch), epoch) for epoch in range(1, 10))
        asked.tell(number, "completed", 0.0)


def test_a_pruners_notes_survive_a_rebuild() -> None:
    """Successive halving keeps its rungs in the trials' attributes: without them it would start anew."""

    def half(asked: OptunaCell, numbers: range) -> list[bool]:
        said = []
        for number in numbers:
            asked.ask(number)
            said.append(any(asked.report(number, float(-number), epoch) for epoch in range(1, 10)))
            asked.tell(number, *(["pruned"] if said[-1] else ["completed", float(-number)]))
        return said

    whole = cell(pruner="successive_halving")
    undisturbed = half(whole, range(10))
    first = cell(pruner="successive_halving")
    half(first, range(5))
    entries = []
    for number, trial in enumerate(first._study.get_trials()):
        state = "pruned" if trial.state is TrialState.PRUNED else "completed"
        entries.append(
            TrialEntry(
                number=number,
                params=trial.params,
                runs=("r",),
                value=trial.value,
                intermediate=trial.intermediate_values,
                state=state,
                attrs=first.attrs(number),
            )
        )
    second = cell(pruner="successive_halving")
    second.restore([TrialEntry.model_validate_json(item.model_dump_json()) for item in entries])
    assert half(second, range(5, 10)) == undisturbed[5:]
    assert any(undisturbed[5:])


def test_grid_lists_every_configuration_once() -> None:
    space = {"a": Space("choice", options=(0.1, "x", True)), "b": Space("int", -1, 2)}
    found = grid(space)
    assert len(found) == 12 and [item["b"] for item in found[:4]] == [-1, 0, 1, 2]
    assert len({repr(item) for item in found}) == 12
    assert grid({}) == [{}]


def test_a_grid_is_asked_in_its_order_and_is_the_budget() -> None:
    space = {"train.lr": Space("choice", options=(0.3, 0.1, 0.2))}
    storage = optuna.storages.JournalStorage(MemoryJournal())
    options = SearchOptions(sampler="grid", trials=99)
    asked = OptunaCell(
        "g", space, {"train.lr": 0.1}, options, directions=["max"], study_seed=0, epochs=1, storage=storage
    )
    assert asked.budget == 3
    assert [params["train.lr"] for params in searched(asked, 3)] == [0.3, 0.1, 0.2]


@pytest.mark.parametrize("kind", ["uniform", "log_uniform"])
def test_a_grid_refuses_continuous_spaces(kind: Any) -> None:
    with pytest.raises(RequestError, match=r"finite spaces, train.lr is .*uniform \[0.1, 1\]; write a choice"):
        grid({"train.lr": Space(kind, 0.1, 1.0)})


def test_a_grid_refuses_to_fill_the_memory() -> None:
    with pytest.raises(RequestError, match=f"1,000,000,001 configurations, more than {MAX_GRID:,}"):
        grid({"a": Space("int", 0, 1_000_000_000)})


def test_distributions_are_the_spaces() -> None:
    found = {path: distribution(space) for path, space in SPACE.items()}
    assert found == {
        "train.lr": optuna.distributions.FloatDistribution(0.003, 0.3, log=True),
        "method.eta": optuna.distributions.FloatDistribution(0.0, 1.0),
        "method.projection_dim": optuna.distributions.IntDistribution(2, 9),
        "method.scope": optuna.distributions.CategoricalDistribution(("own", "all")),
    }


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15)
def test_proposals_lie_in_their_spaces(seed: int) -> None:
    asked = cell(seed=seed)
    for number in range(3):
        params = asked.ask(number)
        assert all(SPACE[path].contains(value) for path, value in params.items())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tpe", optuna.samplers.TPESampler),
        ("gp", optuna.samplers.GPSampler),
        ("cmaes", optuna.samplers.CmaEsSampler),
        ("random", optuna.samplers.RandomSampler),
        ("grid", optuna.samplers.RandomSampler),
    ],
)
def test_samplers(name: str, kind: type) -> None:
    assert isinstance(make_sampler(name, 0, 20, {}), kind)


def test_sobol_points_fill_the_space_evenly() -> None:
    points = [sobol_point(SPACE, index, 7) for index in range(32)]
    assert all(space.contains(point[path]) for point in points for path, space in SPACE.items())
    middle = (0.003 * 0.3) ** 0.5
    assert [point["train.lr"] < middle for point in points].count(True) == 16, "half of the points in each half"
    assert [point["method.scope"] for point in points].count("own") == 16
    assert {point["method.projection_dim"] for point in points} == set(range(2, 10))
    assert len({point["train.lr"] for point in points}) == 32
    assert sobol_point(SPACE, 3, 7) == points[3] != sobol_point(SPACE, 3, 8)
    assert sobol_point({}, 3, 7) == {}


CMA_SPACE = {path: SPACE[path] for path in ("train.lr", "method.eta")}


def cma_cell() -> OptunaCell:
    return OptunaCell(
        "c",
        CMA_SPACE,
        {"train.lr": 0.3, "method.eta": 1.0},
        SearchOptions(sampler="cmaes", trials=80),
        directions=["max"],
        study_seed=0,
        epochs=1,
        storage=optuna.storages.JournalStorage(MemoryJournal()),
    )


def climb(asked: OptunaCell, numbers: range) -> list[TrialEntry]:
    """Asks for trials of a hill with its top at lr = 0.03, η = 0.5; returns them as they lie on disk."""
    found = []
    for number in numbers:
        params = asked.ask(number)
        value = -(math.log10(params["train.lr"] / 0.03) ** 2) - (params["method.eta"] - 0.5) ** 2
        asked.tell(number, "completed", value)
        found.append(
            TrialEntry(
                number=number, params=params, runs=("r",), value=value, state="completed", attrs=asked.attrs(number)
            )
        )
    return found


def test_cmaes_climbs_and_goes_on_after_a_rebuild_without_its_pickle() -> None:
    first = climb(cma_cell(), range(40))
    assert any("cma:generation" in item.attrs for item in first)
    assert not any(key.startswith("cma:optimizer") for item in first for key in item.attrs)
    second = cma_cell()
    second.restore([TrialEntry.model_validate_json(item.model_dump_json()) for item in first])
    later = climb(second, range(40, 80))
    assert max(item.attrs["cma:generation"] for item in later) > max(
        item.attrs.get("cma:generation", 0) for item in first
    )
    early = [item.value for item in first[:20] if item.value is not None]
    late = [item.value for item in later[20:] if item.value is not None]
    assert sum(late) / len(late) > sum(early) / len(early)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle in search.json was executed",))


def test_a_pickle_in_a_search_file_is_not_executed() -> None:
    trials = climb(cma_cell(), range(12))
    trap = {"cma:optimizer:0": pickle.dumps(Trap()).hex()}
    asked = cma_cell()
    asked.restore([item.replace(attrs={**item.attrs, **trap}) for item in trials])
    climb(asked, range(12, 16))


def test_every_sampler_of_the_study_file_proposes() -> None:
    for name in SearchOptions.model_fields["sampler"].annotation.__args__:  # type: ignore[union-attr]
        if name != "grid":  # which refuses the continuous spaces
            assert len(searched(cell(sampler=name), 3)) == 3


def test_every_pruner_of_the_study_file_is_made() -> None:
    names = SearchOptions.model_fields["pruner"].annotation.__args__  # type: ignore[union-attr]
    made = {name: type(make_pruner(name, 1)).__name__ for name in names}
    assert len(set(made.values())) == len(made) and made["none"] == "NopPruner"
