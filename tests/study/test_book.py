from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.driving import answer, drive, lr_score, make_book, resolved

from coretune.results.record import Cause
from coretune.results.store import ResultsStore
from coretune.runs.job import Job
from coretune.study.events import EventLog
from coretune.study.progress import Progress


def test_a_study_ends_with_all_its_runs(root: Path) -> None:
    book = make_book(resolved(), root)
    trained = drive(book, root)
    assert book.finished
    assert len(trained) == len(set(trained)) == 2 * (3 + 2)
    assert all(cell.settled for cell in book.cells)
    for cell in book.cells:
        assert cell.choice is not None
        best = max((trial for trial in cell.trials if trial.value is not None), key=lambda trial: trial.value or 0)
        assert cell.choice.trial == best.number


def test_trial_zero_is_the_default_configuration(root: Path) -> None:
    book = make_book(resolved(), root)
    drive(book, root)
    for cell in book.cells:
        assert cell.trials[0].params == cell.resolved.cell.method.defaults


def test_final_seeds_are_paired_and_disjoint_from_search_seeds(root: Path) -> None:
    book = make_book(resolved(), root)
    drive(book, root)
    first, second = book.cells
    assert [f.spec.seed for f in first.finals] == [f.spec.seed for f in second.finals]
    searched = {spec.seed for cell in book.cells for trial in cell.trials for spec in trial.runs}
    assert not searched & {final.spec.seed for final in first.finals}


def test_methods_search_on_the_same_labelled_images(root: Path) -> None:
    book = make_book(resolved("data.subset_seed=per_seed"), root)
    drive(book, root)
    drawn = [{spec.data.subset_seed for trial in cell.trials for spec in trial.runs} for cell in book.cells]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 1


def test_a_narrower_range_starts_the_search_anew(root: Path) -> None:
    drive(make_book(resolved(), root), root)
    narrower = make_book(resolved("train.lr={log_uniform: [0.02, 0.05], default: 0.03}"), root)
    drive(narrower, root)
    assert all(0.02 <= trial.params["train.lr"] <= 0.05 for cell in narrower.cells for trial in cell.trials)


def test_only_final_runs_are_evaluated_on_the_test_part(root: Path) -> None:
    book = make_book(resolved(), root)
    jobs: list[Job] = []

    def score(job: Job) -> float:
        jobs.append(job)
        return lr_score(job)

    drive(book, root, score)
    finals = {final.spec.run_id for cell in book.cells for final in cell.finals}
    for job in jobs:
        assert [spec.split for spec in job.evaluations] == (["test"] if job.spec.run_id in finals else [])


def test_a_resume_trains_nothing_again(root: Path) -> None:
    trained = drive(make_book(resolved(), root), root)
    again = make_book(resolved(), root)
    assert again.finished
    assert drive(again, root) == []
    assert trained


@pytest.mark.parametrize("stop_after", range(1, 10))
def test_a_study_stopped_anywhere_ends_as_the_undisturbed_one(tmp_path: Path, stop_after: int) -> None:
    whole, parts = tmp_path / "a" / "whole", tmp_path / "b" / "parts"
    undisturbed = drive(make_book(resolved(), whole), whole)
    first = drive(make_book(resolved(), parts), parts, limit=stop_after)
    second = drive(make_book(resolved(), parts), parts)
    assert sorted(first + second) == sorted(undisturbed)
    assert not set(first) & set(second)
    for cell in ResultsStore(whole).cells():
        assert ResultsStore(parts).cell(cell.key) == cell


FRONT = ("objective={metric: [top1, robust_top1], attack: {eps: 2/255}}", "search={sampler: tpe, trials: 6}")


@pytest.mark.parametrize("stop_after", [1, 5, 9, 12, 14])
def test_a_front_stopped_anywhere_ends_as_the_undisturbed_one(tmp_path: Path, stop_after: int) -> None:
    whole, parts = tmp_path / "a" / "whole", tmp_path / "b" / "parts"
    undisturbed = drive(make_book(resolved(*FRONT), whole), whole)
    first = drive(make_book(resolved(*FRONT), parts), parts, limit=stop_after)
    second = drive(make_book(resolved(*FRONT), parts), parts)
    assert sorted(first + second) == sorted(undisturbed) and not set(first) & set(second)
    for cell in ResultsStore(whole).cells():
        assert ResultsStore(parts).cell(cell.key) == cell
        assert {role for choice in cell.choices for role in choice.roles} == {"best_top1", "best_robust_top1", "knee"}
        assert len(cell.finals) == 2 * len(cell.choices) > 2


def test_the_state_of_a_front_has_the_best_by_each_objective(root: Path) -> None:
    book = make_book(resolved(*FRONT), root)
    drive(book, root)
    state = Progress(book, EventLog(root / "log.txt"), results=str(root), slots=1).snapshot()
    assert state["objective"] == {"metric": "top1", "direction": "max", "second": "robust_top1"}
    for cell, saved in zip(state["cells"], ResultsStore(root).cells(), strict=True):
        scores = [trial.scores for trial in saved.trials]
        assert cell["best"] == max(each["top1"] for each in scores)
        assert cell["second_best"] == max(each["robust_top1"] for each in scores)


def test_the_final_runs_of_a_front_have_an_evaluation_for_each_objective(root: Path) -> None:
    book = make_book(resolved(*FRONT, "evaluations.again={evaluation: classification}"), root)
    jobs: list[Job] = []

    def score(job: Job) -> float:
        jobs.append(job)
        return lr_score(job)

    drive(book, root, score)
    finals = {final.spec.run_id for cell in book.cells for final in cell.finals}
    for job in jobs:
        named = [spec.evaluation.name for spec in job.all_evaluations]
        assert named == (["classification", "attack"] if job.spec.run_id in finals else [])
    assert all(cell.settled and cell.test_scores for cell in book.cells)


def test_a_front_that_is_asked_for_later_takes_the_runs_that_were_attacked(root: Path) -> None:
    single = "objective={metric: robust_top1, attack: {eps: 2/255}}"
    made = drive(make_book(resolved(single, FRONT[1], "methods=[ce]"), root), root)
    book = make_book(resolved(*FRONT, "methods=[ce]"), root)
    assert [trial.state for trial in book.cells[0].trials] == ["completed"] * 6
    assert all(trial.means and len(trial.means) == 2 for trial in book.cells[0].trials)
    again = drive(book, root)
    finals = {final.spec.run_id for final in book.cells[0].finals}
    assert set(again) <= finals and set(made) & finals, "the most robust ones are there, and evaluated once more"


def test_a_trial_whose_record_was_written_before_a_kill_is_not_trained_again(root: Path) -> None:
    book = make_book(resolved(), root)
    job = book.next_job()
    assert job is not None
    answer(ResultsStore(root), job, 50.0)  # the driver dies here, before it hears of it
    trained = drive(make_book(resolved(), root), root)
    assert job.spec.run_id not in trained
    assert len(trained) == 9


def test_a_neighbouring_directory_lends_its_runs(tmp_path: Path) -> None:
    drive(make_book(resolved(), tmp_path / "first"), tmp_path / "first")
    ResultsStore(tmp_path / "first").put_json("manifest.json", {})
    book = make_book(resolved(), tmp_path / "second")
    assert drive(book, tmp_path / "second") == []
    assert all(cell.settled for cell in book.cells)


def test_the_pretraining_comes_first_and_once(root: Path) -> None:
    study = resolved("backbones.plain.pretrain={method: moco_v2}")
    book = make_book(study, root)
    job = book.next_job()
    assert job is not None and job.spec.task == "pretraining" and job.keep_weights
    assert book.next_job() is None, "cells wait for what they need"
    answer(ResultsStore(root), job, 0.0)
    book.on_finished(job.spec.run_id, ended=True)
    trained = drive(book, root)
    assert len(trained) == 10 and job.spec.run_id not in trained


def test_cells_of_a_failed_pretraining_fail(root: Path) -> None:
    book = make_book(resolved("backbones.plain.pretrain={method: moco_v2}"), root)
    job = book.next_job()
    assert job is not None
    answer(ResultsStore(root), job, 0.0, cause=Cause(kind="diverged", message="nan"))
    book.on_finished(job.spec.run_id, ended=True)
    assert book.finished
    assert all(cell.failure is not None and cell.settled for cell in book.cells)


def test_the_search_goes_on_after_a_failed_trial_which_is_never_chosen(root: Path) -> None:
    book = make_book(resolved(), root)
    store = ResultsStore(root)
    count = 0
    while (job := book.next_job()) is not None:
        bad = count == 0
        answer(store, job, lr_score(job), cause=Cause(kind="diverged", message="nan") if bad else None)
        book.on_finished(job.spec.run_id, ended=True)
        count += 1
    assert count == 10
    failed = [(cell, trial) for cell in book.cells for trial in cell.trials if trial.state == "failed"]
    assert len(failed) == 1
    cell, trial = failed[0]
    assert cell.choice is not None and cell.choice.trial != trial.number
    assert drive(make_book(resolved(), root), root) == [], "a resume leaves a diverged run alone"
    again = drive(make_book(resolved(), root, retry_failed=True), root)
    assert trial.runs[0].run_id in again


def test_a_lost_process_is_replaced_three_times(root: Path) -> None:
    book = make_book(resolved("search=none", "finals.seeds=1"), root)
    job = book.next_job()
    assert job is not None
    for _ in range(2):
        book.on_lost(job.spec.run_id, "the process was lost")
        again = book.next_job()
        assert again is not None and again.spec.run_id == job.spec.run_id
    book.on_lost(job.spec.run_id, "the process was lost")
    record = ResultsStore(root).record(job.spec.run_id)
    assert record is not None and record.cause is not None and record.cause.kind == "environment"
    drive(book, root)
    assert book.finished
    assert job.spec.run_id in drive(make_book(resolved("search=none", "finals.seeds=1"), root), root)


def test_pruned_runs_are_recorded_by_the_driver(root: Path) -> None:
    book = make_book(resolved("search.pruner=median", "search.trials=8"), root)
    store = ResultsStore(root)
    pruned = []
    count = 0
    while (job := book.next_job()) is not None:
        count += 1
        run_id = job.spec.run_id
        score = 90.0 - count if not job.evaluations else 80.0
        stop = False
        for epoch in range(1, 5):
            stop = book.on_report(run_id, epoch, {"top1": score + epoch})
            if stop:
                break
        if stop:
            book.on_finished(run_id, ended=False)
            pruned.append(run_id)
        else:
            answer(store, job, score)
            book.on_finished(run_id, ended=True)
    assert pruned
    for run_id in pruned:
        record = store.record(run_id)
        assert record is not None and record.status == "pruned" and record.metrics["last"]["top1"] < 90
    assert all(cell.settled for cell in book.cells)
    assert drive(make_book(resolved("search.pruner=median", "search.trials=8"), root), root) == []


def test_repeats_are_averaged(root: Path) -> None:
    book = make_book(resolved("search.repeats=2"), root)
    scores: dict[str, float] = {}

    def score(job: Job) -> float:
        return scores.setdefault(job.spec.run_id, float(len(scores)))

    drive(book, root, score)
    for cell in book.cells:
        for trial in cell.trials:
            assert trial.value == pytest.approx(sum(scores[spec.run_id] for spec in trial.runs) / 2)


def test_identical_configurations_are_trained_once(root: Path) -> None:
    choice = "train.lr={choice: [0.03, 0.1], default: 0.03}"
    book = make_book(resolved(choice, "methods=[ce]", "search.trials=9"), root)
    trained = drive(book, root)
    assert len(trained) == 2 + 2
    assert len(book.cells[0].trials) == 9


def test_with_nothing_to_search_no_trial_is_made(root: Path) -> None:
    book = make_book(resolved("train.lr=0.03", "methods=[ce]", "search.trials=5"), root)
    assert len(drive(book, root)) == 2
    (cell,) = book.cells
    assert cell.trials == [] and cell.choice is not None and cell.choice.rule == "defaults"


def test_the_cell_that_is_furthest_behind_is_fed_first(root: Path) -> None:
    book = make_book(resolved(), root)
    jobs = [book.next_job() for _ in range(4)]
    assert [job.spec.method.name for job in jobs if job is not None] == ["ce", "core_tuning", "ce", "core_tuning"]


def test_a_stopped_study_starts_nothing_and_says_why(root: Path) -> None:
    book = make_book(resolved(), root)
    job = book.next_job()
    assert job is not None
    book.stop("interrupted")
    assert book.next_job() is None and not book.finished
    book.on_finished(job.spec.run_id, ended=False)
    assert book.finished and book.stopping == "interrupted"
    assert job.spec.run_id in drive(make_book(resolved(), root), root)


def test_more_trials_go_on_where_fewer_ended(root: Path) -> None:
    first = drive(make_book(resolved(), root), root)
    more = make_book(resolved("search.trials=5"), root)
    second = drive(more, root)
    assert not set(first) & set(second)
    assert all(len(cell.trials) == 5 and cell.settled for cell in more.cells)


def test_a_changed_recipe_starts_the_search_anew(root: Path) -> None:
    drive(make_book(resolved(), root), root)
    changed = drive(make_book(resolved("train.epochs=5"), root), root)
    assert len(changed) == 10


def test_a_grid_is_tried_in_full(root: Path) -> None:
    sets = ("search.sampler=grid", "methods=[ce]", "train.lr={choice: [0.01, 0.03, 0.1]}")
    book = make_book(resolved(*sets), root)
    drive(book, root)
    assert [trial.params["train.lr"] for trial in book.cells[0].trials] == [0.01, 0.03, 0.1]


GEOMETRY = "evaluations.geometry={}"
BEST = "evaluations.best={evaluation: classification, weights: best}"


def log_of(root: Path) -> str:
    return (root / "log.txt").read_text()


def jobs_of(root: Path, *sets: str, **options: Any) -> list[Job]:
    """Drives a study to its end and returns the jobs that it had."""
    book = make_book(resolved(*sets), root, **options)
    jobs: list[Job] = []

    def score(job: Job) -> float:
        jobs.append(job)
        return lr_score(job)

    drive(book, root, score)
    assert book.finished and all(cell.settled for cell in book.cells)
    return jobs


def further(job: Job) -> list[tuple[str, str]]:
    return [(spec.evaluation.name, spec.weights) for spec in job.further]


def test_only_final_runs_have_the_further_evaluations(root: Path) -> None:
    jobs = jobs_of(root, GEOMETRY, BEST)
    assert len(jobs) == 10
    wanted = [("geometry", "last"), ("classification", "best")]
    assert [further(job) for job in jobs if job.evaluations] == [wanted] * 4
    assert [further(job) for job in jobs if not job.evaluations] == [[]] * 6
    for cell in ResultsStore(root).cells():
        assert list(cell.evaluations) == ["geometry", "best"]
        assert cell.evaluations["best"]["weights"] == "best"


def test_an_evaluation_that_is_added_comes_to_the_recorded_final_runs(root: Path) -> None:
    jobs_of(root)
    jobs = jobs_of(root, GEOMETRY)
    finals = {final.run_id for cell in ResultsStore(root).cells() for final in cell.finals}
    assert {job.spec.run_id for job in jobs} == finals and len(jobs) == 4
    assert log_of(root).count("recorded, to be evaluated: geometry") == 4
    assert jobs_of(root, GEOMETRY) == [] == jobs_of(root)


def test_where_the_weights_were_not_kept_it_is_said_that_runs_are_trained_again(root: Path) -> None:
    jobs_of(root, "keep=none")
    assert len(jobs_of(root, "keep=none", GEOMETRY)) == 4
    assert log_of(root).count("trained again to be evaluated (geometry): its weights were not kept") == 4


def test_an_evaluation_that_failed_for_a_reason_of_its_own_is_tried_again_on_request_only(root: Path) -> None:
    book, store = (
        make_book(resolved(GEOMETRY, "methods=[ce]", "search=none", "finals.seeds=1"), root),
        ResultsStore(root),
    )
    job = book.next_job()
    assert job is not None
    answer(store, job, 70.0)
    (spec,) = job.further
    run_id, eval_id = job.spec.run_id, spec.eval_id(job.spec.run_id)
    (store.run_folder(run_id) / "evals" / f"{eval_id}.json").unlink()
    record = store.record(run_id)
    assert record is not None
    store.put_record(record.replace(failed_evaluations={eval_id: Cause(kind="error", message="a bug")}))
    book.on_finished(run_id, ended=True)
    assert book.finished and book.cells[0].finals[0].score == 70.0, "its score is there"
    assert "final 0: evaluation geometry: error: a bug" in log_of(root)
    sets = (GEOMETRY, "methods=[ce]", "search=none", "finals.seeds=1")
    assert jobs_of(root, *sets) == []
    assert [job.spec.run_id for job in jobs_of(root, *sets, retry_failed=True)] == [run_id]
