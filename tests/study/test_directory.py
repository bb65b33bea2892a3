from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.driving import STUDY, drive, make_book, resolved

from coretune.errors import RequestError
from coretune.results.store import ResultsStore
from coretune.spec.load import LoadedStudy, load_study, resolve_study
from coretune.spec.yamlfile import parse_yaml, resolve_scalar
from coretune.study.directory import _Dumper, beyond_before, claim_directory, refuse_foreign, resolved_yaml

MEANINGFUL = [
    "1e-4",
    "on",
    "no",
    "null",
    "~",
    "0o17",
    "1_000",
    "1:30",
    "2026-01-01",
    "0x1f",
    ".inf",
    "=",
    "<<",
    "- a",
    "\x85",
    "a\u2028b\r\n ",
]


def loaded(*sets: str, text: str = STUDY) -> LoadedStudy:
    return resolve_study(parse_yaml(text, "tiny.yaml"), sets)


def claim(root: Path, study: LoadedStudy) -> list[str]:
    root.mkdir(parents=True, exist_ok=True)
    store = ResultsStore(root, repair=True)
    claim_directory(store, study)
    return store.warnings


def test_another_study_of_the_same_name_is_said(tmp_path: Path) -> None:
    drive(make_book(resolved(), tmp_path / "results"), tmp_path / "results")
    assert claim(tmp_path / "results", loaded()) == []
    assert claim(tmp_path / "results", loaded("methods=[ce]")) == []
    (said,) = claim(tmp_path / "results", loaded("backbones={other: {arch: small_resnet}}"))
    assert "cells of another study named 'tiny' (e.g. digits--ce--plain)" in said and "--out" in said


def again(study: LoadedStudy) -> LoadedStudy:
    return resolve_study(parse_yaml(resolved_yaml(study)))


@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("search=none", "data.subset_seed=per_seed"),
        ("search.sampler=grid", "train.lr={choice: [0.1, 1e-4]}"),
        ("preset=smoke",),
        ("preset=cpu", "finals.seeds=6", "search.trials=20"),
        ("preset=paper", "finals.seeds=6", "search.repeats=2", "keep=all"),
        ("description='1e-4'", "objective.metric=cross_entropy", "resources.slots=2"),
    ],
)
def test_the_resolved_study_asks_for_the_same(sets: tuple[str, ...]) -> None:
    study = loaded(*sets)
    read = again(study)
    assert read.cells == study.cells
    assert read.study.model_copy(update={"preset": study.study.preset}) == study.study
    assert again(read) == read


def test_the_resolved_study_finds_the_images_of_its_pretraining_from_anywhere(tmp_path: Path) -> None:
    pool = "datasets.pool={dataset: folder, path: photos, pretraining_only: true}"
    study = loaded(pool, "backbones.plain.pretrain={dataset: pool}")
    assert f"path: {Path.cwd() / 'photos'}\n" in resolved_yaml(study)
    assert again(study).cells == study.cells


def test_a_value_that_equals_its_default_wins_over_the_preset() -> None:
    study = loaded("preset=paper", "finals.seeds=6")
    assert study.study.finals.seeds == 6 == again(study).study.finals.seeds
    assert "the preset paper applied" in resolved_yaml(study)


def test_a_path_that_begins_with_a_variable_stays_and_the_smoke_section_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGES", str(tmp_path))
    monkeypatch.delenv("WEIGHTS", raising=False)
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\ndatasets: {photos: {path: $IMAGES/photos}}\nmethods: [ce]\nsmoke: {data: {image_size: 8}}\n"
        "backbones: {net: {arch: small_resnet, checkpoint: $WEIGHTS/a.pth}}\n"
    )
    for sets in ([], ["preset=smoke"]):
        text = resolved_yaml(load_study(file, sets))
        assert "path: $IMAGES/photos\n" in text and "checkpoint: $WEIGHTS/a.pth\n" in text and "smoke:" not in text
        (tmp_path / "again.yaml").write_text(text)
        assert load_study(tmp_path / "again.yaml").cells == load_study(file, sets).cells


def test_paths_are_absolute(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ndatasets: {photos: {path: images}}\nbackbones: [small_resnet]\nmethods: [ce]\n")
    study = again(load_study(file))
    assert study.cells[0].dataset.path == str(tmp_path / "images")


@given(
    st.text(max_size=20) | st.sampled_from(MEANINGFUL) | st.from_regex(r"[-+]?[0-9_.]+(e[-+]?[0-9]+)?", fullmatch=True)
)
@settings(max_examples=200)
def test_text_stays_text(text: str) -> None:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return
    dumped = yaml.dump({"a": text, "b": [text]}, Dumper=_Dumper, allow_unicode=True)
    assert parse_yaml(dumped).value == {"a": text, "b": [text]}


@given(st.floats(allow_nan=False) | st.integers() | st.booleans() | st.none())
@settings(max_examples=100)
def test_values_stay_values(value: Any) -> None:
    read = parse_yaml(yaml.dump({"a": value}, Dumper=_Dumper)).value["a"]
    assert read == value and type(read) is type(value)


def test_the_readers_rules_are_not_pyyamls() -> None:
    assert parse_yaml(yaml.safe_dump({"a": "1e-4"})).value["a"] == resolve_scalar("1e-4") == 1e-4, "why we quote"


def test_a_directory_is_claimed_once_and_again(root: Path) -> None:
    assert claim(root, loaded()) == []
    first = (root / "study.yaml").read_text()
    assert claim(root, loaded()) == []
    assert (root / "study.yaml").read_text() == first
    assert claim(root, loaded("search.trials=9")) == []
    assert load_study(root / "study.yaml").study.search.trials == 9  # type: ignore[union-attr]


def test_another_studys_directory_is_left_alone(root: Path) -> None:
    claim(root, loaded())
    (root / "state.json").write_text("{")
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    with pytest.raises(RequestError, match=r"'tiny', not of 'other'.*--out"):
        claim(root, loaded("name=other"))
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"name: [", b"[]", b"datasets: {}", b"name: 3"])
def test_a_damaged_study_file_is_set_aside(root: Path, content: bytes) -> None:
    claim(root, loaded())
    (root / "study.yaml").write_bytes(content)
    (warning,) = claim(root, loaded())
    (aside,) = root.glob("study.yaml.corrupt-*")
    assert aside.read_bytes() == content and aside.name in warning and len(warning.splitlines()) == 1
    assert load_study(root / "study.yaml").study.name == "tiny"


def test_the_manifest_tells_whose_a_damaged_directory_is(root: Path) -> None:
    claim(root, loaded())
    (root / "study.yaml").write_bytes(b"\xff")
    (root / "manifest.json").write_text(json.dumps({"study": "tiny"}))
    with pytest.raises(RequestError, match="'tiny'"):
        claim(root, loaded("name=other"))
    assert not list(root.glob("*.corrupt-*"))
    assert len(claim(root, loaded())) == 1


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "optuna.journal"])
@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe\x00", b"[1]", b'{"a": 1}\n{"b"'])
def test_the_drivers_damaged_files_are_set_aside(root: Path, name: str, content: bytes) -> None:
    root.mkdir()
    (root / name).write_bytes(content)
    (warning,) = claim(root, loaded())
    (aside,) = root.glob(f"{name}.corrupt-*")
    assert aside.read_bytes() == content and name in warning and aside.name in warning
    assert not (root / name).exists()


@pytest.mark.parametrize("name", ["study.yaml", "manifest.json", "state.json", "optuna.journal"])
def test_a_folder_in_a_files_place_is_set_aside(root: Path, name: str) -> None:
    (root / name).mkdir(parents=True)
    assert len(claim(root, loaded())) == 1
    assert len(list(root.glob(f"{name}.corrupt-*"))) == 1


def test_whole_files_stay(root: Path) -> None:
    root.mkdir()
    whole = {"manifest.json": "{}", "state.json": '{"phase": "done"}', "optuna.journal": '{"op_code": 0}\n'}
    for name, content in whole.items():
        (root / name).write_text(content)
    assert claim(root, loaded()) == []
    assert {name: (root / name).read_text() for name in whole} == whole


def test_a_study_of_the_book_can_be_claimed(root: Path) -> None:
    assert claim(root, resolved().loaded) == []


def test_a_place_of_something_else_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "cat").mkdir(parents=True)
    with pytest.raises(RequestError, match="is not empty and holds no results of coretune"):
        refuse_foreign(images)
    assert [path.name for path in images.iterdir()] == ["cat"]
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RequestError, match="is a file, not a directory"):
        refuse_foreign(file)


@pytest.mark.parametrize("mark", ["study.yaml", "runs", "driver.lock"])
def test_a_new_an_empty_and_a_results_directory_are_taken(tmp_path: Path, mark: str) -> None:
    refuse_foreign(tmp_path / "new")
    refuse_foreign(tmp_path)
    (tmp_path / mark).touch()
    refuse_foreign(tmp_path)


def test_cells_that_an_earlier_only_left_out_are_said_once_they_are_run(root: Path) -> None:
    store, keys = ResultsStore(root), ["digits--ce--plain", "digits--core_tuning--plain"]
    assert beyond_before(store, keys) == "", "all are new to a new directory"
    store.put_json("state.json", {"cells": [{"key": keys[0]}]})
    assert beyond_before(store, keys) == (
        "1 cell was not in the last session and will be run, too: digits--core_tuning--plain; `--only` chooses cells"
    )
    assert beyond_before(store, keys[:1]) == ""
    store.put_json("state.json", {"cells": [{"key": key} for key in keys]})
    assert beyond_before(store, keys) == ""
