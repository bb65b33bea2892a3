"""What is on disk while a search goes on, and what a resume finds after a kill at that moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.driving import answer, drive, lr_score, make_book, resolved

from coretune.errors import StorageError
from coretune.results.cellfile import CellFile
from coretune.results.proposals import NAME
from coretune.results.store import ResultsStore
from coretune.study.book import CellBook


def started(book: CellBook, count: int) -> list[str]:
    jobs = [book.next_job() for _ in range(count)]
    return [job.spec.run_id for job in jobs if job is not None]


def on_disk(root: Path) -> list[list[str]]:
    """The trials' states as whoever reads the results sees them."""
    return [[trial.state for trial in cell.trials] for cell in ResultsStore(root).cells()]


def in_files(root: Path) -> list[int]:
    """How many trials the cells' own files have."""
    paths = sorted(root.glob("cells/*/search.json"))
    return [len(CellFile.model_validate_json(path.read_bytes()).trials) for path in paths]


def test_a_proposal_is_noted_before_its_run_is_started_and_files_follow(root: Path) -> None:
    book = make_book(resolved(), root)
    assert on_disk(root) == [[], []], "every cell has a file from the start"
    run_ids = started(book, 3)
    assert in_files(root) == [0, 0] and on_disk(root) == [["running"] * 2, ["running"]]
    lines = (root / NAME).read_text().splitlines()
    assert [run_id in line for line, run_id in zip(lines, run_ids, strict=True)] == [True] * 3
    book.write_searches()
    assert in_files(root) == [2, 1] and on_disk(root) == [["running"] * 2, ["running"]]
    assert not (root / NAME).exists()


def test_a_search_is_written_with_its_last_end(root: Path) -> None:
    book = make_book(resolved(), root)
    drive(book, root)
    assert on_disk(root) == [["completed"] * 3] * 2
    assert all(cell.choice is not None for cell in ResultsStore(root).cells())


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("written_after", [None, 1, 3])
def test_a_resume_knows_what_was_proposed_before_a_kill(root: Path, sampler: str, written_after: int | None) -> None:
    study, store = resolved(f"search.sampler={sampler}"), ResultsStore(root)
    book = make_book(study, root)
    jobs = []
    for number in range(4):
        if number == written_after:
            book.write_searches()
        jobs.append(book.next_job())
    for job in jobs[::2]:
        assert job is not None
        answer(store, job, lr_score(job))
        book.on_finished(job.spec.run_id, ended=True)
    before = [[(trial.number, trial.params) for trial in cell.trials] for cell in book.cells]
    again = make_book(study, root)  # the driver was killed
    assert [[(trial.number, trial.params) for trial in cell.trials] for cell in again.cells] == before
    trained = drive(again, root)
    assert len(trained) == 2 * (3 + 2) - 2, "two were recorded, and no trial is made twice"
    assert {job.spec.run_id for job in jobs[1::2] if job is not None} <= set(trained)


def test_nothing_is_written_where_nothing_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = make_book(resolved(), root)
    started(book, 1)
    book.write_searches()

    def refuse(*_: object) -> None:
        raise StorageError("written for nothing")

    monkeypatch.setattr(ResultsStore, "put_cell", refuse)
    monkeypatch.setattr(ResultsStore, "drop_proposals", refuse)
    book.write_searches()


def test_a_search_that_is_set_aside_has_what_was_proposed_last(root: Path) -> None:
    started(make_book(resolved(), root), 3)
    book = make_book(resolved("train.lr={log_uniform: [0.02, 0.05], default: 0.03}"), root)
    assert [cell.trials for cell in book.cells] == [[], []] and on_disk(root) == [[], []]
    aside = sorted(root.glob("cells/*/search.json.earlier-*"))
    assert [len(CellFile.model_validate_json(path.read_bytes()).trials) for path in aside] == [2, 1]
