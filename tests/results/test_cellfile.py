from __future__ import annotations

import pytest
from pydantic import ValidationError

from coretune.results.cellfile import CellFile, Choice, FinalEntry, TrialEntry


def test_a_cell_reads_back_with_whole_steps_and_values_of_their_type() -> None:
    trial = TrialEntry(
        number=0,
        params={"train.lr": 0.1, "method.scope": "all", "train.nesterov": True, "train.epochs": 3},
        runs=("a", "b"),
        values=(1.5,),
        intermediate={1: 0.5, 20: 0.25},
        attrs={"rung": 1},
    )
    cell = CellFile(
        key="a--b--c", dataset="a", method="b", backbone="c", metric="top1", direction="max",
        space={"train.lr": {"uniform": [0.0, 1.0]}}, trials=(trial,),
        choice=Choice(trial=0, params=trial.params, value=None, rule="the only one"),
        finals=(FinalEntry(index=0, seed=2**62, run_id="f"),),
    )  # fmt: skip
    again = CellFile.model_validate_json(cell.model_dump_json())
    assert again == cell
    assert again.trials[0].intermediate == {1: 0.5, 20: 0.25}
    assert [type(value) for value in again.trials[0].params.values()] == [float, str, bool, int]


def test_values_are_finite_and_states_known() -> None:
    with pytest.raises(ValidationError):
        TrialEntry(number=0, params={}, runs=(), value=float("inf"))
    with pytest.raises(ValidationError):
        TrialEntry(number=-1, params={}, runs=())
    with pytest.raises(ValidationError):
        TrialEntry(number=0, params={}, runs=(), state="lost")  # type: ignore[arg-type]


def entry(number: int, **more: object) -> TrialEntry:
    return TrialEntry.model_validate({"number": number, "params": {"method.scope": "a\nb\u2028é"}, "runs": (), **more})


@pytest.mark.parametrize("trials", [(), (entry(0),), (entry(0, values=(1.5, 2.0), attrs={"x": [1]}), entry(1))])
def test_its_text_is_that_of_pydantic(trials: tuple[TrialEntry, ...]) -> None:
    cell = CellFile(
        key="k", dataset='a"trials": [', method="b", backbone="c", metric="top1", direction="min",
        space={"trials": {"choice": []}}, evaluations={"trials": {}}, trials=trials,
    )  # fmt: skip
    assert cell.text == cell.model_dump_json(indent=1)
    assert cell.text == cell.model_dump_json(indent=1), "from what it remembers, too"
