"""What a study says of the packing of its data, and how it is stopped meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command import write_study
from support.driving import make_book, resolved

from coretune.data.packing import Packing
from coretune.data.roots import cache_root
from coretune.errors import UnfitError
from coretune.results.store import ResultsStore
from coretune.spec.load import load_study
from coretune.study import engine
from coretune.study import progress as module
from coretune.study.data import check_data
from coretune.study.engine import run_study
from coretune.study.events import EventLog
from coretune.study.progress import Progress
from coretune.study.resolved import resolve

PHOTOS = """
name: tiny
datasets: {photos: {dataset: folder, path: photos, image_size: 8}}
backbones: {plain: {arch: small_resnet, params: {widths: [4, 8]}}}
methods: [ce]
train: {epochs: 1, batch: 20, contrast_batch: 20}
search: none
finals: {seeds: 1}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of 80 photographs that are not packed yet."""
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(40):
            Image.new("RGB", (12, 12), (i, 0, 0)).save(tmp_path / "photos" / name / f"{i}.png")
    return write_study(tmp_path, PHOTOS)


def told(root: Path) -> tuple[Progress, EventLog]:
    events = EventLog(root / "log.txt")
    return Progress(make_book(resolved(), root), events, results="results", slots=0), events


def test_a_packing_is_an_item_of_the_preparation(root: Path) -> None:
    progress, events = told(root)
    progress.packing("pack digits at 8 px", Packing(0, 100, 0.0))
    progress.packing("pack digits at 8 px", Packing(64, 100, 123.456))
    state = progress.snapshot()
    item = {"run_id": None, "label": "pack digits at 8 px", "done": 64, "total": 100, "images_per_s": 123.5}
    assert state["prepare"] == [{**item, "state": "running"}]
    assert state["phase"] == "preparing"
    progress.packing("pack digits at 8 px", Packing(100, 100, 130.0))
    state = progress.snapshot()
    assert state["prepare"] == [{**item, "state": "done", "done": 100, "images_per_s": 130.0}]
    assert (state["phase"], events.newest()) == ("searching", [])


def test_only_a_packing_that_lasts_is_an_event(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, events = told(root)
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    for second, done in enumerate((0, 1000, 2000, 3000, 4000)):
        now[0] = float(second)
        progress.packing("pack pacs at 96 px", Packing(done, 4000, 1000.0))
    assert [event["text"] for event in events.newest()] == [
        "pack pacs at 96 px: 4,000 images",
        "pack pacs at 96 px: done, 1,000 images/s",
    ]


def test_a_study_that_is_stopped_while_it_packs_ends_resumably_and_starts_no_ray(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = Progress.packing

    def stop(self: Any, label: str, now: Packing) -> None:
        packing(self, label, now)
        if now.done == 64:
            self._book.stop("interrupted")

    monkeypatch.setattr(Progress, "packing", stop)
    outcome = run_study(load_study(study), out=tmp_path / "results")
    assert (outcome.phase, outcome.reason) == ("interrupted", "interrupted")
    state = json.loads((tmp_path / "results" / "state.json").read_text())
    (item,) = state["prepare"]
    assert (state["phase"], item["label"]) == ("interrupted", "pack photos at 8 px")
    assert (item["done"], item["total"]) == (64, 80)
    assert "Ray" not in (tmp_path / "results" / "log.txt").read_text()
    (marks,) = (tmp_path / "cache" / "packs").glob(".*.partial/blocks.jsonl")
    assert len(marks.read_text().splitlines()) == 2


def test_data_that_cannot_be_used_end_the_study_before_ray(study: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat" / "1.png").write_bytes(b"<html>sign in</html>")
    with pytest.raises(UnfitError, match=r"^data set photos: 1 of 80 images cannot be read; .*`corrupt: skip`"):
        run_study(load_study(study), out=tmp_path / "results")
    assert json.loads((tmp_path / "results" / "state.json").read_text())["phase"] == "interrupted"
    assert not (tmp_path / "results" / "log.txt").exists()


def test_what_is_left_out_is_told_in_the_log_and_in_the_manifest(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(12):
        (tmp_path / "photos" / "cat" / f"{i}.png").write_bytes(b"")
    monkeypatch.setattr(engine, "_train", lambda resolved, store, book, *others: book.stop("no Ray in this test"))
    run_study(load_study(study, ["data.corrupt=skip"]), out=tmp_path / "results")
    log = (tmp_path / "results" / "log.txt").read_text()
    assert "warning data set photos: 12 images are left out: cat/0.png: an empty file; " in log
    assert log.count("an empty file") == 10 and "and 2 more" in log
    manifest = ResultsStore(tmp_path / "results").json("manifest.json")
    assert manifest is not None and manifest["study"] == "tiny"
    assert sorted(manifest["left_out"]) == ["photos"]
    assert len(manifest["left_out"]["photos"]) == 12


def test_a_data_set_may_skip_alone_and_only_skipping_changes_an_id(study: Path, tmp_path: Path) -> None:
    def runs(*sets: str) -> list[str]:
        found = resolve(load_study(study, sets))
        return [spec.run_id for cell in found.cells for spec in found.final_specs(cell, {})]

    assert runs("data.corrupt=refuse") == runs()
    assert runs("data.corrupt=skip") == runs("datasets.photos.corrupt=skip") != runs()
    (tmp_path / "photos" / "cat" / "1.png").write_bytes(b"")
    skipping = resolve(load_study(study, ["datasets.photos.corrupt=skip"]))
    left_out, _ = check_data(skipping, cache_root(), lambda label, now: None)
    assert [item.reason for item in left_out["photos"]] == ["cat/1.png: an empty file"]
