from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.driving import STUDY, drive, make_book, resolved

import coretune
from coretune.results.store import ResultsStore
from coretune.spec.load import resolve_study
from coretune.spec.study import Study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.planned import count_test_scores, note_plan

CONTRASTS = STUDY + "contrasts: {pairs: [[core_tuning, ce]]}\n"


def study(*sets: str, text: str = CONTRASTS) -> Study:
    return resolve_study(parse_yaml(text, "tiny.yaml"), sets).study


@pytest.fixture
def store(root: Path) -> ResultsStore:
    root.mkdir()
    return ResultsStore(root, repair=True)


def test_a_study_without_contrasts_plans_nothing(store: ResultsStore) -> None:
    note_plan(store, study(text=STUDY))
    assert list(store.root.iterdir()) == []


def test_the_first_start_is_written_down_and_stays(store: ResultsStore) -> None:
    note_plan(store, study())
    path = store.root / "planned.json"
    before = path.read_bytes()
    (entry,) = json.loads(before)["entries"]
    assert entry["test_scores"] == 0 and entry["version"] == coretune.__version__ and entry["date"].startswith("20")
    assert entry["plan"]["contrasts.pairs"] == [["core_tuning", "ce"]]
    assert (entry["plan"]["finals.seeds"], entry["plan"]["search.trials"]) == (2, 3)
    note_plan(store, study())
    note_plan(store, study("resources.slots=2"))
    assert path.read_bytes() == before


def test_a_change_is_appended_with_what_was_known_by_then(store: ResultsStore) -> None:
    note_plan(store, study())
    first = json.loads((store.root / "planned.json").read_bytes())["entries"][0]
    drive(make_book(resolved(), store.root), store.root)
    assert count_test_scores(store) == 4, "two methods, two final seeds"
    note_plan(store, study("finals.seeds=3"))
    note_plan(store, study("finals.seeds=3"))
    entries = json.loads((store.root / "planned.json").read_bytes())["entries"]
    assert entries[0] == first and len(entries) == 2
    assert (entries[1]["test_scores"], entries[1]["plan"]["finals.seeds"]) == (4, 3)


def test_a_damaged_plan_is_set_aside_and_said(store: ResultsStore) -> None:
    (store.root / "planned.json").write_text('{"entries": []}')
    note_plan(store, study())
    planned = store.planned()
    assert planned is not None and len(planned.entries) == 1
    assert "planned.json is not readable" in store.warnings[0] and list(store.root.glob("planned.json.corrupt-*"))
