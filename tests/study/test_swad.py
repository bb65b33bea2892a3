"""A study whose finals are tested with the average of SWAD: trained in this process, from its trials to its tables."""

from __future__ import annotations

import csv
from pathlib import Path

import optuna
import pytest
from support import image_sets as sets
from support.driving import drive_for_real, make_book

from coretune.report import domains, leaderboard, write
from coretune.results.cellfile import CellFile
from coretune.results.finals import best_final
from coretune.results.store import ResultsStore
from coretune.spec.load import resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.book import CellBook
from coretune.study.events import EventLog
from coretune.study.progress import Progress
from coretune.study.resolved import resolve

AVERAGE = "average of the steps that SWAD finds by the loss on training-domain validation"
KEY = "mine-photo--ce--small"


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def book_of(folder: Path, *said: str) -> CellBook:
    for value, name in enumerate(
        f"{d}/{c}/{i}.png" for d in ("art", "photo") for c in ("cat", "dog") for i in range(5)
    ):
        sets.draw(folder / "images" / name, value)
    text = f"""
name: x
datasets: {{mine: {{path: {folder / "images"}, held_out_domain: photo, image_size: 8}}}}
backbones: {{small: {{arch: small_resnet, params: {{widths: [4]}}}}}}
methods: [ce]
train: {{epochs: 2, batch: 4, contrast_batch: 4, lr: {{log_uniform: [0.003, 0.3], default: 0.03}}}}
search: {{sampler: random, trials: 2}}
finals: {{seeds: 2, weights: swad}}
evaluations: {{of_last: {{evaluation: classification, weights: last}}, hit: {{evaluation: attack, attacks: [fgsm]}}}}
"""
    return make_book(resolve(resolve_study(parse_yaml(text), said)), folder / "results")


def run(folder: Path, *said: str) -> tuple[CellFile, list[str]]:
    """Runs the study; returns its cell and what was trained."""
    book = book_of(folder, *said)
    trained = drive_for_real(book, folder / "results")
    assert not [event for event in book._events.newest() if event["level"] == "error"]
    store = ResultsStore(folder / "results")
    store.put("study.yaml", book.study.loaded.study.model_dump_json(exclude_defaults=True).encode())
    found = store.cell(KEY)
    assert found is not None and found.failure is None
    assert not list(store.root.glob("runs/*/record.json.corrupt*"))
    return found, trained


def test_trials_are_judged_by_their_last_epoch_and_the_finals_tested_with_the_average(tmp_path: Path) -> None:
    cell, trained = run(tmp_path)
    store = ResultsStore(tmp_path / "results")
    assert len(trained) == 4
    for trial in cell.trials:
        record = store.record(trial.runs[0])
        assert record is not None and trial.value == record.metrics["last"]["top1"]
        assert trial.loss == record.metrics["last"]["cross_entropy"]
    for final in cell.finals:
        weights = sorted(each.spec.get("weights", "last") for each in store.evaluations(final.run_id))
        assert weights == ["last", "swad", "swad"] and store.has_weights(final.run_id, ["swad"])
    assert best_final(store).run.weights == "swad", "so that it can be shown and attacked without naming a run"
    book = book_of(tmp_path)
    assert drive_for_real(book, tmp_path / "results") == [], "nothing is trained again"
    state = Progress(book, EventLog(tmp_path / "log.txt"), results="", slots=1).snapshot()
    assert state["cells"][0]["mean"] is not None and state["selection"] == f"training-domain validation; {AVERAGE}"


def test_without_a_search_there_are_the_finals_alone(tmp_path: Path) -> None:
    cell, trained = run(tmp_path, "search=none")
    assert trained == [final.run_id for final in cell.finals]


def test_tables_say_that_it_is_an_average_and_how_it_was_found(tmp_path: Path) -> None:
    run(tmp_path)
    store = ResultsStore(tmp_path / "results")
    board = leaderboard.build(store)
    (row,) = board.rows
    assert row.n == 2 and row.selection_rule.endswith(AVERAGE)
    of_others = {each.evaluation: each.selection_rule for each in board.evaluations}
    assert of_others == {"of_last": row.selection_rule.replace(AVERAGE, "last epoch"), "hit": row.selection_rule}
    table = domains.build(store)
    assert table is not None and table.rows[0].figures[0].n == 2 and table.rows[0].selection_rule.endswith(AVERAGE)
    write.write(store)
    with (store.root / "runs.csv").open(newline="") as file:
        rows = [each for each in csv.DictReader(file) if each["role"] == "final"]
    assert all(each["test.top1"] and each["validation.last.top1"] and each["of_last.top1"] for each in rows)


def test_finals_of_a_study_of_last_epochs_are_trained_again_for_the_average_and_their_trials_are_not(
    tmp_path: Path,
) -> None:
    before, _ = run(tmp_path, "finals.weights=last")
    after, trained = run(tmp_path)
    assert sorted(trained) == sorted(final.run_id for final in before.finals)
    assert after.choice == before.choice and [trial.attrs for trial in after.trials] == [
        trial.attrs for trial in before.trials
    ]
