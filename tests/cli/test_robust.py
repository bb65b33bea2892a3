"""`coretune robust eval`: which model, what is evaluated, what is written, and errors in a line or two."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from support.finals import CELLS, make_finals

from coretune.results.lock import DirectoryLock
from coretune.results.store import ResultsStore

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_finals(tmp_path_factory.mktemp("trained")).root


@pytest.fixture
def results(trained: Path, cli: Any) -> ResultsStore:
    """Results of two cells below ./results."""
    Path("results").mkdir()
    os.system(f"cp -r {trained} results/tiny")
    return ResultsStore("results/tiny")


def best_of(store: ResultsStore) -> str:
    """The final run that is best on validation."""
    found = {}
    for cell in store.cells():
        for final in cell.finals:
            record = store.record(final.run_id)
            assert record is not None
            found[final.run_id] = record.metrics["last"]["top1"]
    return max(found, key=lambda run_id: found[run_id])


def test_alone_it_evaluates_the_best_final_run_of_the_newest_results(cli: Any, results: ResultsStore) -> None:
    said = cli("robust", "eval", "--calibration")
    run_id = best_of(results)
    assert said.code == 0, said.err
    assert "results/tiny, the newest results" in said.err
    assert f"run {run_id}: the best of 4 final runs on the validation part, top1 " in said.err
    assert f"run {run_id}, " in said.out and "last weights" in said.out
    assert "calibration  on test, 60 images" in said.out and "ECE %" in said.out and "temperature" in said.out
    (evaluation,) = (each for each in results.evaluations(run_id) if "ece" in each.metrics)
    assert evaluation.spec["evaluation"]["name"] == "calibration"
    again = cli("robust", "eval", "--calibration", "--json")
    value = json.loads(again.out)
    assert value["run_id"] == run_id and value["evaluations"][0]["recorded"]
    assert value["evaluations"][0]["metrics"] == evaluation.metrics and "..." not in again.err


def test_a_run_is_named_and_its_numbers_go_to_files(cli: Any, results: ResultsStore) -> None:
    cell = results.cell(CELLS[1])
    assert cell is not None
    run_id = cell.finals[1].run_id
    files = ["--csv", "out/numbers.csv", "--figure", "out/picture.png"]
    said = cli("robust", "eval", "--run", run_id[:8], "--corruptions", "--calibration", "--limit", "12", *files)
    assert said.code == 0, said.err
    assert f"run {run_id}, {CELLS[1]}, final 1, last weights" in said.out
    assert "corruptions  on test, 12 images, seed 0" in said.out and "jpeg compression" in said.out
    assert "not at hand" in said.out and "CIFAR-10-C" in said.out
    assert Path("out/picture.png").read_bytes().startswith(b"\x89PNG")
    with Path("out/numbers.csv").open() as file:
        rows = list(csv.DictReader(file))
    errors = [row for row in rows if row["metric"] == "error"]
    assert len(errors) == 75 and {row["run_id"] for row in rows} == {run_id}
    assert {row["evaluation"] for row in rows} == {"corruptions", "calibration"}
    mean = sum(float(row["value"]) for row in errors) / 75
    assert [float(row["value"]) for row in rows if row["metric"] == "corruption_error"] == [pytest.approx(mean)]
    assert {"runs.csv", "evaluations.csv", "leaderboard.csv"} <= set(os.listdir(results.root))
    board = cli("leaderboard", "show")
    assert "corruptions" in board.out and "corruption_error" in board.out and "calibration" in board.out
    export = cli("leaderboard", "export", "--evaluations")
    assert "mixture_ce,corruptions,corruption_error,1," in export.out
    refused = cli("leaderboard", "export", "--evaluations", "--format", "md")
    assert refused.code == 2 and "--evaluations is CSV" in refused.err


def test_a_limit_beyond_all_images_is_the_evaluation_of_all(cli: Any, results: ResultsStore) -> None:
    words = ("robust", "eval", "--calibration", "--json")
    ids = {json.loads(cli(*words, *more).out)["evaluations"][0]["eval_id"] for more in ((), ("--limit", "60"))}
    assert len(ids) == 1
    assert json.loads(cli(*words, "--limit", "1000").out)["evaluations"][0]["recorded"]
    assert json.loads(cli(*words, "--limit", "59").out)["evaluations"][0]["details"]["images"] == 59


def test_a_study_that_runs_keeps_its_tables(cli: Any, results: ResultsStore) -> None:
    with DirectoryLock(results.root):
        said = cli("robust", "eval", "--calibration")
    assert said.code == 0 and "its study is running" in said.err and not (results.root / "runs.csv").exists()


def test_a_model_that_coretune_did_not_train(cli: Any, tmp_path: Path) -> None:
    from coretune.nets.cifar_resnet import resnet20
    from coretune.spec.catalog.backbones import ShortcutParameters

    torch.manual_seed(0)
    tensors = {**resnet20(ShortcutParameters()).state_dict(), "linear.weight": torch.randn(10, 64)}
    torch.save({"state_dict": tensors, "best_prec1": 91.7}, "theirs.th")
    words = ("robust", "eval", "--checkpoint", "theirs.th", "--arch", "resnet20", "--data", "digits")
    said = cli(*words, "--image-size", "16", "--calibration", "--limit", "30")
    assert said.code == 0, said.err
    assert "theirs.th, resnet20 on digits" in said.out and "95 of 95 tensors match" in said.out
    assert "normalised with mean 0.485, 0.456, 0.406" in said.out and "no validation part" in said.out
    value = json.loads(cli(*words, "--calibration", "--limit", "30", "--mean", "0,0,0", "--std", "1,1,1", "--json").out)
    assert value["arch"] == "resnet20" and value["evaluations"][0]["details"]["images"] == 30
    assert "mean 0, 0, 0 and std 1, 1, 1, as asked" in " ".join(value["notes"])
    assert not Path("results").exists()


QUICK = ("--attack", "pgd,fgsm", "--eps", "0,8/255,16/255", "--steps", "3", "--limit", "10", "--median", "4")


def test_an_attack_shows_its_threat_model_and_leaves_its_images(cli: Any, results: ResultsStore) -> None:
    said = cli("robust", "eval", *QUICK, "--save-adversarial", "found.safetensors", "--figure", "curve.svg")
    assert said.code == 0, said.err
    lines = [line.split() for line in said.out.splitlines()]
    assert next(x for x in lines if x[:1] == ["attack"])[:7] == ["attack", "on", "test,", "10", "images,", "seed", "0"]
    assert "L∞, ε = 16/255" in said.out and "3 steps" in said.out and "after fgsm" in said.out
    assert any(line[:1] == ["16/255"] for line in lines) and any(line[:1] == ["reliable"] for line in lines)
    images = load_file("found.safetensors")
    assert images["adversarial"].shape == (10, 8, 8, 3) and len(images["index"]) == 10
    assert Path("curve.svg").exists()
    (evaluation,) = (each for each in results.evaluations(best_of(results)) if "robust_top1" in each.metrics)
    again = json.loads(cli("robust", "eval", *QUICK, "--json").out)["evaluations"][0]
    assert again["recorded"] and again["metrics"] == evaluation.metrics
    anew = cli("robust", "eval", *QUICK, "--save-adversarial", "found.safetensors")
    assert "again for its images" in anew.err
    board = cli("leaderboard", "show")
    assert "robust_top1" in board.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no results below ./results"),
        (["nothing"], "nothing: no such results directory"),
        (["--run", "zz"], "'zz' is neither a results directory nor a run id"),
        (["--eps", "1/255"], "--eps is of an attack: say which, --attack pgd"),
        (["--attack", "pgdd"], "attack: unknown attack 'pgdd'; did you mean pgd?"),
        (["--attack", "pgd", "--eps", "8"], '8 is too large for pixels in [0, 1]; 8 grey levels are "8/255"'),
        (["--attack", "pgd", "--eps", "x"], "'x' is no size of a perturbation"),
        (["--median", "0"], "--median is of an attack"),
        (["--attack", "pgd", "--median", "9999999"], "--median: must be at most 1000000, got 9999999"),
        (["--attack", "cw"], "cw works in l2, not in linf"),
        (["--attack", "fgsm", "--steps", "3"], "steps is said, but no attack of fgsm has it"),
        (["--save-adversarial", "x", "--calibration"], "--save-adversarial needs an attack"),
        (["--figure", "x.jpg", "--calibration"], "x.jpg: a figure is written as png, pdf, svg"),
        (["--arch", "resnet20", "--calibration"], "--arch is of a model that coretune did not train"),
        (["--checkpoint", "x", "--calibration"], "--checkpoint needs --arch and --data"),
        (["--checkpoint", "x", "--run", "abcd", "--calibration"], "--checkpoint is no run"),
        (
            ["--checkpoint", "x", "--arch", "resnet20", "--data", "digits", "--mean", "1", "--calibration"],
            "--mean 1: needs three numbers",
        ),
        (["--checkpoint", "x", "--arch", "resnet20", "--data", "digits", "--calibration"], "x: cannot be read"),
        (["s3://bucket/study", "--calibration"], "copy it to this machine first"),
        (["--device", "gpu", "--calibration"], "device gpu"),
    ],
)
def test_a_wrong_request_is_answered_in_a_line_or_two(cli: Any, words: list[str], said: str) -> None:
    answer = cli("robust", "eval", *words)
    assert answer.code in (2, 3) and said in answer.err, answer.err
    assert not answer.out and len(answer.err.strip().splitlines()) <= 3


def test_weights_that_were_not_kept_are_said(cli: Any, results: ResultsStore) -> None:
    run_id = best_of(results)
    results.drop_weights(run_id)
    answer = cli("robust", "eval", "--run", run_id, "--calibration")
    assert answer.code == 2 and "its last weights were not kept" in answer.err
    other = cli("robust", "eval", "--calibration")
    assert other.code == 0 and "the best of 3 final runs" in other.err


def test_a_single_run_is_named(cli: Any, results: ResultsStore) -> None:
    """As `coretune.tune` leaves it: a directory with runs and no study."""
    shutil.rmtree(results.root / "cells")
    run_id = results.run_ids()[0]
    refused = cli("robust", "eval", "results/tiny", "--calibration")
    assert refused.code == 2 and "results/tiny holds single runs, no study: name one with --run ID" in refused.err
    said = cli("robust", "eval", "results/tiny", "--run", run_id, "--calibration")
    assert said.code == 0 and f"run {run_id}, last weights" in said.out and not (results.root / "runs.csv").exists()
