from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.command import coretune
from support.driving import drive, make_book, resolved

from coretune.errors import MissingError, UnfitError
from coretune.study.events import EventLog
from coretune.study.missing import things, to_dicts
from coretune.study.progress import Progress


def absent(path: Path) -> str:
    return f"datasets.photos={{dataset: folder, path: {path}}}"


def test_cells_that_lack_their_data_are_left_out_and_told(tmp_path: Path) -> None:
    study = resolved(absent(tmp_path / "photos"))
    assert [cell.cell.key for cell in study.cells] == ["digits--ce--plain", "digits--core_tuning--plain"]
    assert [cell.cell.key for cell in study.missing] == ["photos--ce--plain", "photos--core_tuning--plain"]
    (told,) = to_dicts(study.missing)
    assert (told["kind"], told["label"], told["cells"]) == ("data set", "photos", 2)
    assert told["text"].startswith(f"data set photos is missing: {tmp_path / 'photos'} is no folder; expected <class>/")


def test_a_known_set_says_on_one_line_where_it_was_looked_for_and_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path))
    (told,) = to_dicts(resolved("datasets.dtd={}").missing)
    assert told["text"] == (
        "data set dtd is missing: no path of dtd is given, and $CORETUNE_DATA/dtd does not exist "
        f"(CORETUNE_DATA is {tmp_path}); give its path: `path`, or --path on a command line; to get it: unpack "
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz, or `coretune data check dtd --download`"
    )
    monkeypatch.delenv("CORETUNE_DATA")
    (told,) = to_dicts(resolved("datasets.dtd={}").missing)
    assert "(CORETUNE_DATA is not set)" in told["text"] and "\n" not in told["text"]


@pytest.mark.parametrize("name", ["dtd", "pacs", "imagenet20", "cars", "flowers102"])
def test_an_empty_folder_is_a_missing_data_set_and_a_filled_one_a_wrong_one(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / ".hidden").touch()
    sets = (f"datasets.{name}.path={folder}",)
    assert [thing.label for thing in things(resolved(*sets).missing)] == [name]
    (folder / "notes.txt").write_text("not a data set")
    with pytest.raises(UnfitError, match=f"^data set {name}: ") as caught:
        resolved(*sets)
    assert not isinstance(caught.value, MissingError) and caught.value.exit_code == 3


def test_a_pretraining_set_that_is_missing_holds_up_the_cells_that_start_from_it(tmp_path: Path) -> None:
    study = resolved(absent(tmp_path), "backbones.trained={arch: small_resnet, pretrain: {dataset: photos}}")
    assert {cell.cell.key for cell in study.cells} == {"digits--ce--plain", "digits--core_tuning--plain"}
    assert things(study.missing) == {study.missing[0].lacks[0]: 6}


def test_a_checkpoint_that_is_missing_holds_up_its_backbone_alone(tmp_path: Path) -> None:
    file = tmp_path / "moco.pth"
    study = resolved(f"backbones.moco={{arch: small_resnet, checkpoint: {file}}}")
    assert [cell.cell.backbone.label for cell in study.cells] == ["plain", "plain"]
    (told,) = to_dicts(study.missing)
    assert told == {
        "kind": "checkpoint",
        "label": "moco",
        "cells": 2,
        "text": f"checkpoint of moco is missing: no checkpoint at {file}",
    }


def test_where_a_checkpoint_is_to_be_had_and_which_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORETUNE_CHECKPOINTS", raising=False)
    moco = "backbones.moco={arch: small_resnet, checkpoint: $CORETUNE_CHECKPOINTS/moco.pth, obtain: ask its authors}"
    (told,) = to_dicts(resolved(moco).missing)
    assert told["text"] == (
        "checkpoint of moco is missing: no checkpoint at $CORETUNE_CHECKPOINTS/moco.pth (CORETUNE_CHECKPOINTS is not "
        "set); to get it: ask its authors"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer, not a checkpoint"),
        (b"<!DOCTYPE html><html>", "an HTML page, not a checkpoint"),
        (b"", "an empty file"),
        (None, "it is a folder"),
    ],
)
def test_what_lies_in_a_checkpoints_place_and_is_none_stops_the_study(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    file = tmp_path / "moco.pth"
    if content is None:
        (file / "inner").mkdir(parents=True)
        (file / "inner" / "data.pkl").write_bytes(b"unpacked")
    else:
        file.write_bytes(content)
    with pytest.raises(UnfitError, match=f"^backbone moco: .*{says}") as caught:
        resolved(f"backbones.moco={{arch: small_resnet, checkpoint: {file}}}")
    assert not isinstance(caught.value, MissingError)


def test_a_study_that_lacks_everything_is_refused_with_all_of_it(tmp_path: Path) -> None:
    sets = ("datasets={dtd: {}, cars: {}}", f"backbones.plain.checkpoint={tmp_path / 'absent.pth'}")
    with pytest.raises(MissingError, match=r"^no cell can be run, 3 things are missing:\n") as caught:
        resolved(*sets)
    said = str(caught.value).splitlines()
    assert len(said) == 4 and caught.value.exit_code == 3
    assert [line.split(" is missing")[0].strip() for line in said[1:]] == [
        "data set dtd",
        "checkpoint of plain",
        "data set cars",
    ]


def test_the_state_has_missing_cells_in_their_place_and_counts_no_run_of_theirs(root: Path, tmp_path: Path) -> None:
    study = resolved(f"datasets={{photos: {{dataset: folder, path: {tmp_path / 'photos'}}}, digits: {{}}}}")
    book = make_book(study, root)
    state = Progress(book, EventLog(root / "log.txt"), results=str(root), slots=1).snapshot()
    assert [cell["state"] for cell in state["cells"]] == ["missing", "missing", "waiting", "waiting"]
    assert state["runs"]["total"] == 2 * (3 + 2)
    assert [item["label"] for item in state["missing"]] == ["photos"]
    drive(book, root)
    assert book.finished and all(cell.settled for cell in book.cells)


def images(folder: Path, classes: int = 3, each: int = 24) -> None:
    generator = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for number in range(each):
            pixels = generator.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{number}.png")


LACKING = """
name: lacking
datasets:
  digits: {image_size: 8, validation: 50, test: 60, labels_per_class: 2}
  photos: {path: photos, image_size: 8, validation: 6, test: 6}
backbones: {plain: {arch: small_resnet, params: {widths: [4, 8]}}}
methods: [ce]
train: {epochs: 1, batch: 20, contrast_batch: 20}
search: none
finals: {seeds: 2}
"""


def state_of(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "state.json").read_text())
    return found


@pytest.mark.slow
def test_the_other_cells_run_and_a_resume_runs_those_whose_data_have_come(tmp_path: Path) -> None:
    (tmp_path / "lacking.yaml").write_text(LACKING)
    results = tmp_path / "results" / "lacking"
    done = coretune("study", "run", "lacking.yaml", folder=tmp_path)
    said = f"data set photos is missing: {tmp_path / 'photos'} is no folder"
    assert done.returncode == 1, done.stderr
    assert said in done.stderr and "coretune study resume results/lacking" in done.stderr
    assert state_of(results)["phase"] == "incomplete" and len(list(results.glob("runs/*/record.json"))) == 2
    for command in (("study", "status"), ("study", "show"), ("study", "plan", "lacking.yaml")):
        told = coretune(*command, folder=tmp_path)
        assert told.returncode == 0 and said[:60] in " ".join((told.stdout + told.stderr).split()), command
    table = coretune("leaderboard", "show", folder=tmp_path)
    assert "missing in the last session: data set photos" in " ".join(table.stdout.split())
    assert coretune("study", "watch", folder=tmp_path).returncode == 1
    only = coretune("study", "run", "lacking.yaml", "--only", "dataset=photos", folder=tmp_path)
    assert only.returncode == 3 and "data set photos: " in only.stderr

    images(tmp_path / "photos")
    before = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/record.json")}
    done = coretune("study", "resume", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert state_of(results)["phase"] == "done" and state_of(results)["missing"] == []
    after = {path: path.stat().st_mtime_ns for path in results.glob("runs/*/record.json")}
    assert len(after) == 4 and all(after[path] == time for path, time in before.items()), "only the new cell is run"

    shutil.rmtree(tmp_path / "photos")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "loose.png").write_bytes(b"<html>")
    wrong = coretune("study", "run", "lacking.yaml", folder=tmp_path)
    assert wrong.returncode == 3 and "data set photos: " in wrong.stderr and "lie in no class" in wrong.stderr
