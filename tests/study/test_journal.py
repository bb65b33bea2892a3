from __future__ import annotations

import json
import threading
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from coretune.study import journal as module
from coretune.study.journal import MemoryJournal, is_journal


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def searched(journal: MemoryJournal, name: str, trials: int = 4) -> optuna.Study:
    storage = optuna.storages.JournalStorage(journal)
    study = optuna.create_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(trials):
        trial = study.ask()
        value = trial.suggest_float("train.lr", 1e-3, 1.0, log=True)
        trial.suggest_categorical("method.scope", ["own", "all"])
        trial.report(value, step=1)
        state = optuna.trial.TrialState.PRUNED if number == 1 else optuna.trial.TrialState.COMPLETE
        study.tell(trial, None if number == 1 else value, state=state)
    study.ask()
    return study


def test_a_dump_opens_in_optunas_own_file_backend(tmp_path: Path) -> None:
    journal = MemoryJournal()
    studies = [searched(journal, "digits--ce--net"), searched(journal, "digits--core_tuning--net", trials=2)]
    path = tmp_path / "optuna.journal"
    path.write_bytes(journal.dump())
    assert is_journal(path.read_bytes())
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    assert optuna.get_all_study_names(storage) == [study.study_name for study in studies]
    for study in studies:
        read = optuna.load_study(study_name=study.study_name, storage=storage)
        assert read.get_trials() == study.get_trials()


def test_what_a_file_backend_reads_the_memory_had(tmp_path: Path) -> None:
    journal = MemoryJournal()
    searched(journal, "a")
    path = tmp_path / "optuna.journal"
    path.write_bytes(journal.dump())
    assert list(JournalFileBackend(str(path)).read_logs(0)) == list(journal.read_logs(0))
    assert list(journal.read_logs(3)) == list(journal.read_logs(0))[3:]


def test_lines_are_copies() -> None:
    journal = MemoryJournal()
    line = {"op_code": 0, "params": {"a": (1, 2)}}
    journal.append_logs([line])
    line["op_code"] = 9
    assert list(journal.read_logs(0)) == [{"op_code": 0, "params": {"a": [1, 2]}}], "as a file would give them back"


def test_older_lines_are_compressed_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    journal, lines = MemoryJournal(), [{"op_code": 0, "name": "é\u2028", "number": number} for number in range(19)]
    for line in lines:
        journal.append_logs([line])
    assert [len(journal._blocks), len(journal._lines)] == [3, 7]
    for start in (0, 3, 4, 11, 12, 13, 19):
        assert list(journal.read_logs(start)) == lines[start:]
    assert [json.loads(line) for line in journal.dump().split(b"\n")[:-1]] == lines


def test_threads_may_write_at_once() -> None:
    journal = MemoryJournal()

    def write() -> None:
        for _ in range(200):
            journal.append_logs([{"op_code": 1}, {"op_code": 2}])
            journal.dump()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["op_code"] for line in journal.read_logs(0)] == [1, 2] * 600


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (b"", True),
        (b'{"a": 1}\n{"b": 2}\n', True),
        (b'{"a": 1}\n{"b": 2}', False),
        (b'{"a": 1}\n{"b"', False),
        (b"[]\n", False),
        (b"\xff\n", False),
        (b"\0", False),
    ],
)
def test_is_journal(content: bytes, whole: bool) -> None:
    assert is_journal(content) is whole


def test_an_empty_journal_is_one() -> None:
    assert is_journal(MemoryJournal().dump()) and json.loads("{}") == {}
