from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from support.driving import resolved
from support.image_sets import draw

from coretune.results.cellfile import CellFile, HeldOutDomain, TrialEntry
from coretune.results.record import Record
from coretune.study.cell import StudyCell
from coretune.study.journal import MemoryJournal


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def make_cell(*sets: str, saved: tuple[TrialEntry, ...] = ()) -> StudyCell:
    study = resolved("methods=[ce]", *sets)
    return StudyCell(study, study.cells[0], optuna.storages.JournalStorage(MemoryJournal()), saved)


def record(run_id: str, score: float | None = None, status: str = "completed", **metrics: Any) -> Record:
    found = {} if score is None else {"last": {"top1": score, **metrics}}
    return Record.model_validate(
        {"run_id": run_id, "status": status, "spec": {}, "metrics": found, "started": "", "finished": ""}
    )


def finish(cell: StudyCell, score: float | None, status: str = "completed") -> int:
    trial = cell.propose()
    for repeat, spec in enumerate(trial.runs):
        cell.deliver(trial.number, repeat, record(spec.run_id, score, status))
    return trial.number


def test_the_best_completed_trial_is_chosen() -> None:
    cell = make_cell()
    for score, status in ((60.0, "completed"), (None, "failed"), (75.0, "completed")):
        assert not cell.searched
        finish(cell, score, status)
    assert cell.searched and not cell.can_propose and not cell.settled
    finals = cell.choose()
    assert cell.choice is not None
    assert (cell.choice.trial, cell.choice.value) == (2, 75.0)
    assert cell.choice.rule == "best validation top1 of 3 trials"
    assert [final.spec.train.lr for final in finals] == [cell.trials[2].params["train.lr"]] * 2


def held_out_cell(folder: Path, saved: tuple[TrialEntry, ...] = (), **keys: Any) -> StudyCell:
    for value, name in enumerate(
        f"{d}/{c}/{i}.png" for d in ("day", "night") for c in ("cat", "dog") for i in range(4)
    ):
        draw(folder / name, value)
    mine = {"path": str(folder), "held_out_domain": ["night"], **keys}
    study = resolved("methods=[ce]", f"datasets={json.dumps({'mine': mine})}", "finals.weights=best")
    return StudyCell(study, study.cells[0], optuna.storages.JournalStorage(MemoryJournal()), saved)


def test_of_equal_trials_the_lower_loss_is_chosen_where_a_domain_is_held_out(tmp_path: Path) -> None:
    cell = held_out_cell(tmp_path, held_out_part="domainbed_80")
    for loss in (0.9, 0.4, 0.5):
        trial = cell.propose()
        found = record(trial.runs[0].run_id, 70.0, cross_entropy=9.0)
        best = {"top1": 70.0, "cross_entropy": loss, "epoch": 1.0}
        cell.deliver(trial.number, 0, found.replace(metrics={**found.metrics, "best": best}))
    cell.choose()
    assert cell.choice is not None and cell.choice.trial == 1
    assert cell.choice.rule == "training-domain validation: best top1 of 3 trials, ties by lower loss"
    file = cell.file()
    assert [trial.loss for trial in file.trials] == [0.9, 0.4, 0.5]
    assert file.key == "mine-night--ce--plain" and file.labels("dataset") == ("mine-night", "mine")
    assert file.held_out == HeldOutDomain(section="mine", domain="night", part="domainbed_80")
    again = held_out_cell(tmp_path, saved=file.trials)
    again.choose()
    assert again.choice is not None and again.choice.trial == 1


def test_nothing_of_this_is_on_disk_without_a_held_out_domain() -> None:
    cell = make_cell()
    finish(cell, 60.0)
    assert cell.file().held_out is None and cell.entry(0).loss is None


def test_without_a_completed_trial_the_cell_fails() -> None:
    cell = make_cell()
    for _ in range(3):
        finish(cell, None, "failed")
    assert cell.choose() == [] and cell.failure == "none of 3 trials completed" and cell.settled


def test_defaults_are_compared_without_a_search() -> None:
    cell = make_cell("search=none")
    assert (cell.budget, cell.can_propose, cell.searched) == (0, False, True)
    with pytest.raises(RuntimeError, match="has no search"):
        cell.propose()
    cell.choose()
    assert cell.choice is not None and cell.choice.rule == "defaults" and cell.choice.params == {"train.lr": 0.03}


def test_a_cell_is_settled_with_its_last_final_run() -> None:
    cell = make_cell("search=none")
    first, second = cell.choose()
    cell.take_final(0, record(first.spec.run_id, 1.0), 70.0)
    assert not cell.settled
    cell.take_final(1, record(second.spec.run_id, None, "failed"), 99.0)
    assert cell.settled and second.failed and second.score is None and not first.failed


def test_repeats_are_averaged_and_their_scores_kept_in_order() -> None:
    cell = make_cell("search.repeats=3")
    trial = cell.propose()
    for repeat in (2, 0, 1):
        assert trial.state == "running"
        cell.deliver(0, repeat, record(trial.runs[repeat].run_id, float(repeat)))
    assert (trial.state, trial.value) == ("completed", 1.0)
    assert cell.file().trials[0].values == (0.0, 1.0, 2.0)


def test_a_failed_repeat_fails_its_trial() -> None:
    cell = make_cell("search.repeats=2")
    trial = cell.propose()
    assert cell.deliver(0, 1, record(trial.runs[1].run_id, None, "failed"))
    assert cell.deliver(0, 0, record(trial.runs[0].run_id, 80.0)), "too late"
    assert (trial.state, trial.value) == ("failed", None)


def test_a_value_is_reported_once_a_step() -> None:
    cell = make_cell("search.pruner=median")
    trial = cell.propose()
    cell.report(0, 50.0, 1)
    cell.report(0, 60.0, 1)
    assert trial.intermediate == {1: 50.0}
    cell.deliver(0, 0, record(trial.runs[0].run_id, 61.0))
    assert cell.report(0, 70.0, 2) is False and trial.intermediate == {1: 50.0}


def test_the_score_is_that_of_the_weights_that_are_tested() -> None:
    cell = make_cell("finals.weights=best", "objective.metric=cross_entropy")
    metrics = {"last": {"cross_entropy": 1.0}, "best": {"cross_entropy": 0.5, "epoch": 3.0}}
    found = record("r").replace(metrics=metrics)
    assert cell.scores(found) == (0.5,)
    assert cell.file().direction == "min"


def test_the_score_may_be_robust_accuracy() -> None:
    cell = make_cell("objective={metric: robust_top1, attack: {eps: 2/255}}")
    for clean, robust in ((90.0, 20.0), (80.0, 30.0), (85.0, 25.0)):
        trial = cell.propose()
        cell.deliver(trial.number, 0, record(trial.runs[0].run_id, clean, robust_top1=robust))
    cell.choose()
    assert cell.choice is not None and (cell.choice.trial, cell.choice.value) == (1, 30.0)
    assert cell.choice.rule == "best validation robust_top1 of 3 trials"
    assert (cell.file().metric, cell.file().evaluation["evaluation"]["name"]) == ("robust_top1", "attack")


FRONT = "objective={metric: [top1, robust_top1], attack: {eps: 2/255}}"


def front_cell(*sets: str, saved: tuple[TrialEntry, ...] = ()) -> StudyCell:
    return make_cell(FRONT, "search.trials=4", *sets, saved=saved)


def deliver_points(cell: StudyCell, *found: tuple[float, float]) -> None:
    for clean, robust in found:
        trial = cell.propose()
        for repeat, spec in enumerate(trial.runs):
            cell.deliver(trial.number, repeat, record(spec.run_id, clean + repeat, robust_top1=robust - repeat))


def test_of_two_objectives_up_to_three_configurations_get_final_runs() -> None:
    cell = front_cell()
    assert cell.final_runs == 6
    deliver_points(cell, (50, 50), (90, 10), (60, 60), (86, 40))
    finals = cell.choose()
    assert [(choice.trial, choice.roles) for choice in cell.choices] == [
        (1, ("best_top1",)),
        (2, ("best_robust_top1",)),
        (3, ("knee",)),
    ]
    assert [(final.trial, final.index) for final in finals] == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert all(final.spec.train.lr == cell.trials[final.trial].params["train.lr"] for final in finals)
    assert {final.spec.seed for final in finals[:2]} == {final.spec.seed for final in finals[2:4]}, "they are paired"
    file = cell.file()
    assert (file.metric, file.choice, file.choices) == ("top1", cell.choices[0], cell.choices)
    measures = [(measure.metric, measure.evaluation["evaluation"]["name"]) for measure in file.objectives]
    assert measures == [("top1", "classification"), ("robust_top1", "attack")]
    assert [entry.trial for entry in file.finals] == [1, 1, 2, 2, 3, 3]
    assert file.trials[3].scores == {"top1": 86, "robust_top1": 40}
    for place, final in enumerate(finals):
        assert not cell.settled
        cell.take_final(place, record(final.spec.run_id, 1.0), 70.0 + place)
    assert cell.settled and cell.test_scores == [70.0, 71.0]


def test_repeats_are_averaged_objective_by_objective() -> None:
    cell = front_cell("search.repeats=2")
    deliver_points(cell, (50, 40))
    assert cell.entry(0).scores == {"top1": 50.5, "robust_top1": 39.5}
    assert cell.entry(0).values == (50, 51) and cell.trials[0].value == 50.5


def test_with_two_objectives_nothing_is_reported_to_a_pruner() -> None:
    cell = front_cell()
    cell.propose()
    assert cell.report(0, 1.0, 1) is False and cell.entry(0).intermediate == {}


def test_a_saved_search_of_two_objectives_goes_on() -> None:
    points = ((50, 50), (90, 10), (60, 60), (86, 40))
    undisturbed = front_cell()
    deliver_points(undisturbed, *points)
    cell = front_cell()
    deliver_points(cell, *points[:2])
    again = front_cell(saved=CellFile.model_validate_json(cell.file().text).trials)
    assert again.file() == cell.file()
    deliver_points(again, *points[2:])
    assert [trial.params for trial in again.trials] == [trial.params for trial in undisturbed.trials]
    assert again.choose() == undisturbed.choose() and again.file() == undisturbed.file()


def test_defaults_are_all_that_is_chosen_where_nothing_is_searched() -> None:
    cell = make_cell(FRONT, "search=none")
    assert len(cell.choose()) == cell.final_runs == 2
    assert [choice.roles for choice in cell.choices] == [("best_top1", "best_robust_top1", "knee")]


def saved_trials(*sets: str) -> tuple[TrialEntry, ...]:
    cell = make_cell(*sets)
    finish(cell, 60.0)
    finish(cell, None, "failed")
    cell.propose()
    return CellFile.model_validate_json(cell.file().model_dump_json()).trials


def test_a_saved_search_goes_on() -> None:
    saved = saved_trials()
    cell = make_cell(saved=saved)
    assert [trial.state for trial in cell.trials] == ["completed", "failed", "running"]
    assert cell.file().trials == saved and not cell.can_propose
    cell.deliver(2, 0, record(cell.trials[2].runs[0].run_id, 70.0))
    cell.choose()
    assert cell.choice is not None and cell.choice.trial == 2


def test_a_smaller_budget_keeps_the_first_trials() -> None:
    cell = make_cell("search.trials=1", saved=saved_trials())
    assert [trial.number for trial in cell.trials] == [0] and cell.searched
    assert cell.file().trials == saved_trials(), "what lies beyond the budget stays on disk"


def test_the_file_says_what_was_searched() -> None:
    cell = make_cell()
    finish(cell, 60.0)
    file = cell.file()
    assert (file.key, file.metric, file.direction) == ("digits--ce--plain", "top1", "max")
    assert file.space == {"train.lr": {"log_uniform": [0.003, 0.3], "default": 0.03}}
    assert file.evaluation["split"] == "test" if "split" in file.evaluation else file.evaluation
    assert file.choice is None and file.finals == ()
