"""The studies of the paper's size: they plan in full without any data, and their smoke runs on what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import coretune
from support.image_sets import CIFAR10, PACS, folders

from coretune.results.store import ResultsStore
from coretune.spec.load import LoadedStudy, find_study, load_study
from coretune.study.missing import things
from coretune.study.plan import make_plan

SETS = ("imagenet20", "cifar10", "cifar100", "caltech101", "dtd", "aircraft", "cars", "pets", "flowers102")
RIVALS = ("ce", "l2_sp", "delta", "m_and_m", "scl", "bss", "rifle", "bi_tuning")
SIZES = {
    "nine_datasets": (81, 1683),
    "pretraining_methods": (102, 1326),
    "architectures": (60, 1380),
    "domain_generalization": (168, 3864),
}


def shipped(name: str, *sets: str) -> LoadedStudy:
    return load_study(find_study(name), sets)


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CORETUNE_DATA", "CORETUNE_CHECKPOINTS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("name", SIZES)
def test_they_plan_in_full_without_any_data_and_say_where_to_get_all_of_it(name: str, tmp_path: Path) -> None:
    loaded = shipped(name)
    plan = make_plan(loaded, ResultsStore(tmp_path / "results"))
    totals = plan.to_dict()["totals"]
    assert (len(plan.cells), totals["runs"]) == SIZES[name]
    assert f"{totals['runs']:,} runs" in find_study(name).read_text(), "the comment says how much it is"
    assert len(plan.missing) == len(plan.cells)
    assert all(note.startswith("budgets differ: ce searches nothing") for note in plan.notes)
    lacking = {(thing.kind, thing.label): thing for thing in things(plan.missing)}
    labels = {("data set", cell.dataset.section) for cell in loaded.cells}
    assert lacking.keys() == labels | {("checkpoint", cell.backbone.label) for cell in loaded.cells}
    for thing in lacking.values():
        assert thing.obtain and thing.obtain in thing.text and "is not set" in thing.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SIZES)
def test_their_files_say_what_they_show_need_and_take_and_what_smoke_replaces(name: str) -> None:
    head = find_study(name).read_text().split("name:")[0]
    assert head.startswith("# ") and all(f"# {word} " in head for word in ("shows", "launch", "needs", "takes"))
    assert f"coretune study run {name} --set preset=smoke" in head and "`preset: smoke` is another experiment" in head


@pytest.mark.parametrize("name", SIZES)
def test_their_smoke_needs_neither_checkpoints_nor_gpus(name: str) -> None:
    full, smoke = shipped(name), shipped(name, "preset=smoke")
    assert all(cell.backbone.checkpoint is None for cell in smoke.cells) and smoke.study.resources.gpus == 0
    assert {cell.method.label for cell in smoke.cells} == {cell.method.label for cell in full.cells}
    assert {cell.dataset.label for cell in smoke.cells} == {cell.dataset.label for cell in full.cells}
    for cell in smoke.cells:
        options = cell.dataset.options
        assert cell.dataset.image_size == 32 and (options.limit or 0) <= 512 >= (options.held_out_limit or 0) > 0
        assert cell.method.train["epochs"] == 1


def test_nine_datasets_is_the_paper_s_protocol() -> None:
    loaded = shipped("nine_datasets")
    assert tuple(loaded.study.datasets) == SETS and set(loaded.study.methods) == {*RIVALS, "core_tuning"}
    recipe = {"lr": 0.01, "nesterov": True, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "cosine"}
    sizes = {"optimizer": "sgd", "epochs": 100, "batch": 256, "contrast_batch": 64}
    for cell in loaded.cells:
        own = {"weight_decay": 0.0} if cell.method.label in ("l2_sp", "delta") else {}  # their penalty is in its place
        assert {**recipe, **sizes, **own}.items() <= cell.method.train.items()
        assert cell.backbone.arch.name == "resnet50"
        sizes_of_images = (cell.dataset.image_size, cell.dataset.spec("0" * 64).input_size)
        assert sizes_of_images == ((272, 256) if cell.dataset.label.startswith("cifar") else (256, 224))
    (core,) = {tuple(cell.method.space) for cell in loaded.cells if cell.method.label == "core_tuning"}
    assert set(core) == {"method.eta", "method.temperature", "method.alpha"}


def test_the_checkpoints_variable_or_an_override_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORETUNE_CHECKPOINTS", str(tmp_path))
    (file,) = {cell.backbone.checkpoint for cell in shipped("nine_datasets").cells}
    assert file == str(tmp_path / "moco_v2_800ep_pretrain.pth.tar")
    own = f"backbones.moco_v2_r50.checkpoint={tmp_path / 'mine.pth'}"
    assert {cell.backbone.checkpoint for cell in shipped("nine_datasets", own).cells} == {str(tmp_path / "mine.pth")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "only", "cells"),
    [
        ("nine_datasets", ("--set", "methods=[ce, core_tuning]"), 2),
        ("pretraining_methods", ("--only", "method=core_tuning"), 4),
        ("architectures", ("--only", "backbone=resnet18"), 4),
    ],
)
def test_their_smoke_runs_end_to_end_on_the_data_at_hand(
    name: str, only: tuple[str, ...], cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders(tmp_path / "data" / "cifar10", CIFAR10, each=8)
    for domain in ("art_painting", "cartoon", "photo", "sketch"):
        folders(tmp_path / "data" / "pacs" / domain, PACS, parts=("",), each=6)
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path / "data"))
    done = coretune("study", "run", name, "--set", "preset=smoke", *only, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "data set imagenet20 is missing" in done.stderr and "incomplete" in done.stderr
    state = json.loads((tmp_path / "results" / name / "state.json").read_text())
    assert state["phase"] == "incomplete" and state["runs"]["failed"] == 0
    assert sum(cell["state"] == "done" for cell in state["cells"]) == cells
    assert {cell["state"] for cell in state["cells"]} == {"done", "missing"}
