"""Every study file and every piece of Python in the docs works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import catalog, context, digits_job, digits_spec

import coretune as ct
from coretune.results.cellfile import CellFile, FinalEntry
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.spec.load import LoadedStudy, find_study, load_study
from coretune.study.resolved import resolve
from coretune.tuning.context import Context

Blocks = Callable[[str], list[tuple[str, str]]]


@pytest.fixture
def plugin(blocks: Blocks, tmp_path: Path) -> Path:
    """The example method, as the page says it."""
    (body,) = [body for page, body in blocks("python") if page == "methods-of-your-own.md"]
    path = tmp_path / "short_features.py"
    path.write_text(body)
    return path


def load(body: str, folder: Path, *sets: str) -> LoadedStudy:
    path = folder / "study.yaml"
    path.write_text(body)
    return load_study(path, sets)


def test_every_study_loads(blocks: Blocks, plugin: Path) -> None:
    studies = blocks("yaml")
    assert {page for page, _ in studies} >= {"README.md", "study-files.md", "core-tuning.md", "methods-of-your-own.md"}
    for page, body in studies:
        loaded = load(body, plugin.parent)
        assert loaded.cells, page
        if loaded.study.search != "none":
            assert all(cell.method.space for cell in loaded.cells), f"{page}: {loaded.study.name} has unequal budgets"


def test_the_first_own_study_reads_a_folder(blocks: Blocks, tmp_path: Path) -> None:
    (body,) = [body for page, body in blocks("yaml") if page == "README.md"]
    cells = load(body, tmp_path).cells
    assert {cell.dataset.ref.name for cell in cells} == {"folder"}
    assert [cell.method.label for cell in cells] == ["ce", "core_tuning"]


def test_the_example_method_trains(blocks: Blocks, plugin: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    (body,) = [body for page, body in blocks("yaml") if page == "methods-of-your-own.md"]
    loaded = load(body, tmp_path, "train.epochs=1", "backbones.plain.params.widths=[8, 16]")
    study = resolve(loaded, {"method": "short_features"})
    (cell,) = study.cells
    assert set(cell.cell.method.space) == {"method.weight", "train.lr"}
    job = Job(spec=study.run_spec(cell, {}, seed=1), plugins=loaded.plugins, evaluations=(study.final_evaluation(),))
    assert str(job.spec.method.version).startswith("file-")
    store = ResultsStore(tmp_path / "results")
    execution = Execution(job, store, loaded.catalog, Context(device=torch.device("cpu")))
    list(execution)
    assert execution.record is not None and execution.record.status == "completed", execution.record
    assert execution.record.metrics["train"].keys() == {"loss", "cross_entropy", "length"}
    assert len(list(store.evaluations(job.spec.run_id))) == 1


def test_the_losses_work_in_another_loop(blocks: Blocks) -> None:
    (body,) = [body for page, body in blocks("python") if page == "core-tuning.md"]
    names: dict[str, torch.Tensor] = {}
    torch.manual_seed(0)
    exec(compile(body, "core-tuning.md", "exec"), names)
    assert torch.isfinite(names["loss"])
    assert names["features"].grad is not None


def test_the_diagnostics_work(
    blocks: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted beside the results of the quickstart, of which one final run is there."""
    torch.set_num_threads(1)
    spec = digits_spec("core_tuning", epochs=1)
    store = ResultsStore(tmp_path / "results" / "quickstart")
    list(Execution(digits_job(spec, evaluations=(), keep_weights=True), store, catalog(), context()))
    finals = (FinalEntry(index=0, seed=spec.seed, run_id=spec.run_id),)
    labels = {"dataset": "digits", "method": "core_tuning", "backbone": "moco_small"}
    key = "--".join(labels.values())
    store.put_cell(CellFile(key=key, **labels, metric="top1", direction="max", finals=finals))
    (store.root / "study.yaml").write_text(find_study("quickstart").read_text())
    monkeypatch.chdir(tmp_path)
    recorded, evaluated, plain = (body for page, body in blocks("python") if page == "diagnostics.md")
    names: dict[str, Any] = {}
    exec(compile(recorded, "diagnostics.md", "exec"), names)
    assert (store.root / "features.png").is_file()
    assert "held_out.projector.uniformity" in names["numbers"]
    exec(compile(evaluated, "diagnostics.md", "exec"), names)
    assert float(capsys.readouterr().out) == pytest.approx(names["numbers"]["train.backbone.scatter_ratio"], rel=1e-6)
    exec(compile(plain, "diagnostics.md", "exec"), names)
    assert names["metrics"].keys() == {n.rpartition(".")[2] for n in names["numbers"]} - {"nc4_train_means"}
    assert sum(names["shares"].shares.values()) == pytest.approx(1.0)


def test_the_public_names_exist(blocks: Blocks) -> None:
    bodies = [body for page, body in blocks("python") if page == "README.md"]
    assert len(bodies) == 2
    for body in bodies:
        compile(body, "README.md", "exec")
        assert set(re.findall(r"\bct\.(\w+)", body)) <= set(ct.__all__)


def test_one_model_is_tuned(
    blocks: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    (body,) = [body for page, body in blocks("python") if page == "README.md" and "ct.tune" in body]
    monkeypatch.chdir(tmp_path)
    exec(compile(body, "README.md", "exec"), {})
    score, weights = capsys.readouterr().out.split()
    assert 0 <= float(score) <= 100
    assert re.fullmatch(r"results/tune/runs/[0-9a-f]{16}/model\.safetensors", weights)


def test_one_backbone_is_pretrained(
    blocks: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    (body,) = [body for page, body in blocks("python") if page == "pretraining.md"]
    monkeypatch.chdir(tmp_path)
    exec(compile(body, "pretraining.md", "exec"), {})
    figure, _, key = capsys.readouterr().out.partition(" ")
    assert 0 <= float(figure) <= 100 and "results/pretrain-digits-small_resnet/runs/" in key
