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
    (exported,) = [
        row
        for row in csv.DictReader(cli("leaderboard", "export", "--evaluations").out.splitlines())
        if row["metric"] == "corruption_error" and row["kind"] == "cell"
    ]
    assert (exported["method"], exported["evaluation"], exported["n"]) == ("mixture_ce", "corruptions", "1")
    refused = cli("leaderboard", "export", "--evaluations", "--format", "json")
    assert refused.code == 2 and "--evaluations is CSV, Markdown or LaTeX" in refused.err
    alone = cli("leaderboard", "export", "--evaluations", "--format", "md").out
    whole = cli("leaderboard", "export", "--format", "md").out
    assert alone.count("| corruption_error |") == 1 and whole.endswith(alone) and whole != alone
    assert cli("leaderboard", "export", "--format", "tex").out.count(r"\begin{table}") == 3


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
    assert Path("curve.svg").exists() and "attack on up to 10 test images ..." in said.err
    (evaluation,) = (each for each in results.evaluations(best_of(results)) if "robust_top1" in each.metrics)
    value = json.loads(cli("robust", "eval", *QUICK, "--json").out)
    again = value["evaluations"][0]
    assert again["recorded"] and again["metrics"] == evaluation.metrics
    assert value["verdict"]["transfer"].startswith("from run ") and value["evaluations"][1]["recorded"]
    anew = cli("robust", "eval", *QUICK, "--save-adversarial", "found.safetensors")
    assert "again for its images" in anew.err
    board = cli("leaderboard", "show")
    assert "robust_top1" in board.out


FAST = ("--attack", "fgsm", "--eps", "16/255", "--limit", "10", "--median", "0")


def others(store: ResultsStore, run_id: str) -> list[str]:
    return [final.run_id for cell in store.cells() for final in cell.finals if final.run_id != run_id]


def test_transfer_is_from_another_final_run_unless_said(cli: Any, results: ResultsStore) -> None:
    run_id = best_of(results)
    value = json.loads((said := cli("robust", "eval", *FAST, "--json")).out)
    attack, transfer = value["evaluations"]
    assert [attack["label"], transfer["label"]] == ["attack", "transfer"]
    chosen = transfer["spec"]["evaluation"]["params"]["surrogate"].removeprefix("run:").removesuffix("/last")
    assert chosen in others(results, run_id) and f"transfer from run {chosen}, " in said.err
    record, other = results.record(run_id), results.record(chosen)
    assert record is not None and other is not None and record.spec["seed"] == other.spec["seed"]
    assert attack["details"]["verdict"]["transfer"] == "not tested"
    assert value["verdict"]["transfer"].startswith(f"from run {chosen}, ")
    assert value["verdict"]["reasons"] == [
        *attack["details"]["verdict"]["reasons"],
        *transfer["details"]["verdict"]["reasons"],
    ]
    named = next(each for each in others(results, run_id) if each != chosen)
    shown = cli("robust", "eval", *FAST, "--transfer-from", named[:8])
    assert f"transfer from run {named}, " in " ".join(shown.out.split()) and "--transfer-from names" not in shown.err
    board = cli("leaderboard", "show")
    assert "transfer_top1" in board.out
    skipped = json.loads(cli("robust", "eval", *FAST, "--transfer-from", "none", "--json").out)
    assert skipped["verdict"]["transfer"] == "not tested: --transfer-from none" and len(skipped["evaluations"]) == 1


def test_transfer_from_a_file_of_weights_and_from_nothing(cli: Any, results: ResultsStore) -> None:
    run_id = best_of(results)
    file = results.weights_path(others(results, run_id)[0])
    shutil.copy(file, "other.safetensors")
    for other in others(results, run_id):
        results.drop_weights(other)
    alone = cli("robust", "eval", *FAST)
    assert alone.code == 0 and "not tested: results/tiny has no other final run" in " ".join(alone.out.split())
    value = json.loads(cli("robust", "eval", *FAST, "--transfer-from", "other.safetensors", "--json").out)
    assert value["verdict"]["transfer"].startswith("from other.safetensors, small_resnet: fools ")
    surrogate = value["evaluations"][1]["spec"]["evaluation"]["params"]["surrogate"]
    assert surrogate.startswith("sha256:") and value["evaluations"][1]["details"]["surrogate"] == surrogate


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--transfer-from", "SELF"], "is the model itself"),
        (["--transfer-from", "ffff"], "--transfer-from ffff: no run ffff in"),
        (["--transfer-from", "OTHER", "--transfer-arch", "resnet20"], "--transfer-arch is of a file of weights"),
        (["--transfer-from", "junk.bin"], "junk.bin"),
    ],
)
def test_what_is_no_surrogate_is_refused(cli: Any, results: ResultsStore, words: list[str], said: str) -> None:
    Path("junk.bin").write_bytes(b"junk")
    run_id = best_of(results)
    named = {"SELF": run_id, "OTHER": others(results, run_id)[0]}
    answer = cli("robust", "eval", *FAST, *(named.get(word, word) for word in words))
    assert answer.code in (2, 3) and said in answer.err and not answer.out, answer.err


def test_a_surrogate_of_other_images_is_refused(cli: Any, results: ResultsStore) -> None:
    from support.training import catalog, context, digits_job, digits_spec

    from coretune.results.store import ResultsStore as Store
    from coretune.runs.execute import Execution

    spec = digits_spec("ce")
    job = digits_job(spec.replace(data=spec.data.replace(image_size=12)), keep_weights=True)
    list(Execution(job, Store("results/larger"), catalog(), context()))
    answer = cli("robust", "eval", *FAST, "--transfer-from", job.spec.run_id)
    assert answer.code == 2 and "is of other images (digits, 12 px) than the model (digits, 8 px)" in answer.err


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
        (["--save-adversarial", "x.npz", "--attack", "pgd"], "x.npz: images are written as safetensors"),
        (["--figure", "x.jpg", "--calibration"], "x.jpg: a figure is written as png, pdf, svg"),
        (["--arch", "resnet20", "--calibration"], "--arch is of a model that coretune did not train"),
        (["--checkpoint", "x", "--calibration"], "--checkpoint needs --arch and --data"),
        (["--checkpoint", "x", "--run", "abcd", "--calibration"], "--checkpoint is no run"),
        (
            ["--checkpoint", "x", "--arch", "resnet20", "--data", "digits", "--mean", "1", "--calibration"],
            "--mean 1: needs three numbers",
        ),
        (["--checkpoint", "x", "--arch", "resnet20", "--data", "digits", "--calibration"], "x: cannot be read"),
        (["--run", "s3://bucket/study/runs/0123", "--calibration"], "name the results and the run apart"),
        (["--transfer-from", "none", "--calibration"], "--transfer-from needs an attack: --attack pgd"),
        (["--transfer-arch", "resnet20", "--calibration"], "--transfer-arch needs an attack: --attack pgd"),
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
