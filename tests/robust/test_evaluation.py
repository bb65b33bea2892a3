"""The evaluation `attack`: what it returns, what it refuses, and that nothing but its description changes it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.crew import Crew
from support.sharded import attack_that_cheats, attacked
from support.training import accuracy_evaluation, catalog, context, digits_job, digits_spec
from torch import Tensor, nn

from coretune.data.dataset import Dataset
from coretune.data.pack import Packed
from coretune.errors import CheckError, RunError
from coretune.nets.model import Model
from coretune.results.store import ResultsStore
from coretune.robust import evaluation as evaluation_module
from coretune.robust import pgd as pgd_module
from coretune.robust.attack import Attempt
from coretune.robust.evaluation import block_size, evaluate_attack
from coretune.robust.headway import Headway
from coretune.runs.build import open_job_data
from coretune.runs.evaluate import evaluate
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.tuning.context import Context
from coretune.tuning.judgement import Judgement
from coretune.tuning.shard import Shard

torch.set_num_threads(1)

QUICK: dict[str, Any] = {"median_images": 6, "median_steps": 3, "probe_images": 8}


class Stripes(nn.Module):
    """Features that differ from image to image."""

    def __init__(self, features: int = 6, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, features, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        return self.drop(torch.tanh(self.conv(images)).flatten(2).mean(dim=2))


def pack(n: int, classes: int = 4, model: Model | None = None) -> Packed:
    """Noise of 8×8 pixels; with a model, every image but each fifth has the label that the model gives it."""
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(n, dtype=np.int64) % classes
    if model is not None:
        with torch.no_grad():
            seen = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(dim=1).numpy()
        labels = np.where(np.arange(n) % 5 == 0, (seen + 1) % classes, seen)
    return Packed(
        images,
        labels,
        np.zeros(n, np.int8),
        tuple(f"class {c}" for c in range(classes)),
        tuple(f"toy/{i}" for i in range(n)),
        "0" * 64,
    )


def net(classes: int = 4, seed: int = 0) -> Model:
    encoder = Stripes(seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(encoder.features, classes)
    model = Model(encoder, head, (0.5,) * 3, (0.25,) * 3).eval()
    with torch.no_grad():
        head.weight *= 30
        images = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        head.bias -= model(images).mean(dim=0)
    return model


def judged(
    model: Model, packed: Packed, *, n: int | None = None, where: Context | None = None, **said: Any
) -> Judgement:
    rows = said.pop("rows", False)
    params = AttackParameters.model_validate({"attacks": [{"name": "pgd", "steps": 4}], **QUICK, **said})
    indices = np.arange(len(packed.labels))[:n]
    return evaluate_attack(model, packed, indices, where or context(), params=params, rows=rows)


def test_numbers_curve_and_details_agree() -> None:
    model = net()
    packed = pack(40, model=model)
    attacks = ["fgsm", {"name": "pgd", "steps": 4}, {"name": "square", "queries": 5}]
    found = judged(model, packed, attacks=attacks, eps=["1/255", "4/255", "16/255"], headline="4/255")
    curve = found.details["curve"]
    assert found.metrics["clean_top1"] == curve[0]["robust_top1"] == 80.0
    assert [entry["eps"] for entry in curve] == ["0", "1/255", "4/255", "16/255"]
    assert found.metrics["robust_top1"] == curve[2]["robust_top1"] == 100 * curve[2]["robust"] / 40
    assert found.details["attacks"] == curve[2]["attacks"]
    left = curve[0]["robust"]
    for entry in curve[1:]:
        for attack in entry["attacks"]:
            assert attack["attacked"] == left
            left -= attack["fooled"]
            assert attack["robust_top1"] == 100 * left / 40
        assert entry["robust"] == left
    assert left < curve[0]["robust"]
    threat = found.details["threat"]
    assert threat.startswith(
        "L∞, ε = 4/255; fgsm (loss ce, white box); pgd (4 steps, step size ε/4, 1 restart, start random"
    )
    assert threat.endswith("square (5 queries, 1 restart, p_init 0.8, black box); 40 images; seed 0")
    assert 0 < found.metrics["median_perturbation"] < 1
    assert found.details["median_perturbation"]["images"] == 6
    assert set(found.details["verdict"]) == {"reliable", "reasons", "probes", "transfer"}
    json.dumps(found.details)


def test_what_a_model_was_is_put_back_under_no_grad() -> None:
    model = net().train()
    model.normalise.eval()
    modes = [module.training for module in model.modules()]
    packed = pack(12)
    with torch.no_grad():
        judged(model, packed, eps=["8/255"])
        assert not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_limit_and_the_batch_size_change_nothing_of_an_image() -> None:
    model = net()
    packed = pack(30, model=model)
    attacks = [{"name": "pgd", "steps": 3}, {"name": "square", "queries": 8}]
    levels = [
        judged(
            model,
            packed,
            n=n,
            where=context(evaluation_batch=batch),
            attacks=attacks,
            eps=["2/255", "8/255"],
            rows=True,
        )
        .arrays["level"]
        .tolist()
        for n, batch in ((None, 256), (None, 4), (11, 256))
    ]
    assert levels[0] == levels[1] and levels[2] == levels[0][:11]
    assert len(set(levels[0])) > 2


def test_channels_last_changes_nothing() -> None:
    model = net()
    packed = pack(16, model=model)
    auto = {"name": "autoattack", "steps": 3, "queries": 6, "targets": 2}
    said: dict[str, Any] = {"attacks": [{"name": "pgd", "steps": 2}, auto], "eps": ["2/255", "8/255"]}
    one = judged(model, packed, **said)
    laid = judged(model.to(memory_format=torch.channels_last), packed, where=context(channels_last=True), **said)
    assert laid.details["curve"] == one.details["curve"]
    assert laid.metrics == pytest.approx(one.metrics, rel=1e-3)


def test_rows_are_the_adversarial_images() -> None:
    model = net()
    packed = pack(20, model=model)
    assert not judged(model, packed, eps=["8/255"]).arrays
    arrays = judged(model, packed, eps=["8/255"], rows=True).arrays
    assert arrays["adversarial"].shape == (20, 8, 8, 3) and arrays["adversarial"].dtype == np.float32
    assert arrays["index"].tolist() == list(range(20))
    clean = packed.images.astype(np.float32) / 255
    assert np.abs(arrays["adversarial"] - clean).max() <= 8 / 255 + 1e-6
    with torch.no_grad():
        seen = model(torch.from_numpy(arrays["adversarial"]).permute(0, 3, 1, 2)).argmax(dim=1).numpy()
    assert np.array_equal(seen != packed.labels, arrays["level"] < 2)


def test_autoattack_in_a_set_leaves_at_most_its_own_figure() -> None:
    model = net()
    packed = pack(24, model=model)
    auto = {"name": "autoattack", "steps": 4, "queries": 6, "targets": 2}
    alone = judged(model, packed, attacks=[auto], eps=["4/255"])
    more = judged(model, packed, attacks=["fgsm", auto], eps=["4/255"])
    assert more.metrics["robust_top1"] <= alone.metrics["robust_top1"] < alone.metrics["clean_top1"]
    assert not any("upper" in note or "worst case over" in note for note in alone.details["notes"])


@pytest.mark.parametrize(("classes", "wanted"), [(2, 1), (3, 2), (7, 6)])
def test_few_classes_are_said_aloud(classes: int, wanted: int) -> None:
    model = net(classes)
    packed = pack(10, classes, model=model)
    attacks = [{"name": "autoattack", "steps": 3, "queries": 4}, {"name": "apgd-dlr", "steps": 3}]
    details = judged(model, packed, attacks=attacks, eps=["8/255"]).details
    notes = details["notes"]
    assert f"{classes} classes: {wanted} targets instead of 9" in notes
    said = "1 target," if wanted == 1 else f"{wanted} targets,"
    assert said in details["threat"] and "9 targets" not in details["threat"]
    assert (f"{classes} classes: DLR needs 4; the margin of logits stands in for it" in notes) == (classes < 4)


def test_notes_say_what_the_number_is_not() -> None:
    model = net()
    notes = judged(model, pack(10, model=model), eps=["1/255", "2/255"]).details["notes"]
    assert any(note.startswith("worst case over pgd: what autoattack leaves is less") for note in notes)
    assert any(note.startswith("the curve is dependent: what fools at ε = 1/255") for note in notes)


def test_nothing_to_attack() -> None:
    model = net()
    assert judged(model, pack(5), n=0) == Judgement({})
    found = judged(model, pack(1, model=model), eps=["8/255"])  # image 0 is misclassified
    assert found.metrics["clean_top1"] == found.metrics["robust_top1"] == 0
    assert found.metrics["median_perturbation"] == 0
    assert found.details["verdict"]["reasons"] == ["no image is classified correctly: there was nothing to probe"]


def test_no_median_is_no_metric() -> None:
    model = net()
    found = judged(model, pack(6, model=model), eps=["8/255"], median_images=0)
    assert (
        set(found.metrics) == {"clean_top1", "robust_top1", "reliable"} and found.details["median_perturbation"] is None
    )


def test_models_of_nan_are_refused() -> None:
    model = net()
    with torch.no_grad():
        model.classifier.bias[1] = math.nan  # type: ignore[union-attr, index]
    with pytest.raises(RunError, match="logits of 6 of 6 images are not finite"):
        judged(model, pack(6), eps=["8/255"])


def test_a_random_model_is_told_and_not_called_a_contradiction() -> None:
    class Noisy(Model):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images + 0.05 * torch.randn_like(images))

    plain = net()
    noisy = Noisy(plain.encoder, plain.classifier, (0.5,) * 3, (0.25,) * 3)
    found = judged(noisy, pack(20, model=plain), eps=["4/255"])
    assert any(reason.startswith("random output") for reason in found.details["verdict"]["reasons"])
    assert any(note.startswith("the output is random") for note in found.details["notes"])


def test_an_attack_that_cheats_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    def cheat(model: Any, subjects: Any, threat: Any, params: Any) -> Attempt:
        return Attempt(1 - subjects.images, torch.ones_like(subjects.labels, dtype=torch.bool))

    monkeypatch.setattr(pgd_module, "pgd", cheat)
    model = net()
    with pytest.raises(CheckError, match=r"a self-check failed: pgd left the threat model \(L∞, ε = 8/255\)"):
        judged(model, pack(6, model=model), eps=["8/255"])


def test_an_attack_that_lies_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(model: Any, subjects: Any, threat: Any, params: Any) -> Attempt:
        return Attempt(subjects.images, torch.ones_like(subjects.labels, dtype=torch.bool))

    monkeypatch.setattr(pgd_module, "pgd", lie)
    model = net()
    with pytest.raises(CheckError, match="of 10 stored images are classified in another way in batches of"):
        judged(model, pack(10, model=model), eps=["8/255"])


def test_another_clean_accuracy_fails_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_module, "evaluate_classification", lambda *args: {"top1": 50.0})
    model = net()
    with pytest.raises(CheckError, match="the accuracy at ε = 0 is 80 %, the clean accuracy is 50 %"):
        judged(model, pack(10, model=model), eps=["8/255"])


def test_workers_divide_the_images_and_know_the_same(crew: Crew) -> None:
    whole = attacked(Shard())
    parts = crew.run(2, attacked)
    for part in parts:
        assert part["metrics"] == pytest.approx(whole["metrics"])
        for key in ("threat", "curve", "attacks", "notes"):
            assert part["details"][key] == whole["details"][key]
        probes, expected = part["details"]["verdict"]["probes"], whole["details"]["verdict"]["probes"]
        assert probes == pytest.approx(expected, rel=1e-4)
    assert parts[0]["rows"]["index"] == list(range(0, 13, 2)) and parts[1]["rows"]["index"] == list(range(1, 13, 2))
    levels = [None] * 13
    levels[0::2], levels[1::2] = parts[0]["rows"]["level"], parts[1]["rows"]["level"]
    assert levels == whole["rows"]["level"] and len(set(levels)) > 1


def test_what_one_worker_finds_wrong_stops_all(crew: Crew) -> None:
    said = crew.run(2, attack_that_cheats)
    assert said[0] == "a self-check failed: on another worker"
    assert said[1].startswith("a self-check failed: fgsm left the threat model (L∞, ε = 8/255)")


def test_a_killed_evaluation_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = net()
    packed = pack(20, model=model)
    params = AttackParameters.model_validate({"attacks": [{"name": "pgd", "steps": 3}], "eps": ["8/255"], **QUICK})
    real, seen = pgd_module.pgd, list[int]()

    def spy(model: Any, subjects: Any, threat: Any, params: Any) -> Attempt:
        if len(seen) > 8 and not resumed:
            raise KeyboardInterrupt
        seen.extend(subjects.index.tolist())
        return real(model, subjects, threat, params)

    def judge(partial: Path | None) -> Judgement:
        where = context(evaluation_batch=2)  # blocks of 8 images
        return evaluate_attack(model, packed, np.arange(20), where, params=params, partial=partial)

    resumed = True
    whole = judge(None)
    monkeypatch.setattr(pgd_module, "pgd", spy)
    resumed = False
    seen.clear()
    with pytest.raises(KeyboardInterrupt):
        judge(tmp_path)
    done = {path.name for path in tmp_path.iterdir()}
    assert done == {"0-8.json"}
    (tmp_path / "torn.json").write_text('{"')
    resumed = True
    seen.clear()
    assert judge(tmp_path) == whole
    assert seen and min(seen) >= 8
    seen.clear()
    with torch.no_grad():
        model.classifier.weight *= 1.5  # type: ignore[union-attr, operator]
    judge(tmp_path)
    assert min(seen) < 8, "rows of other weights were taken"


def test_adversarial_images_go_on_after_a_kill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = net()
    packed = pack(20, model=model)
    params = AttackParameters.model_validate({"attacks": [{"name": "pgd", "steps": 3}], "eps": ["8/255"], **QUICK})
    real, seen, resumed = pgd_module.pgd, list[int](), True

    def spy(model: Any, subjects: Any, threat: Any, params: Any) -> Attempt:
        if len(seen) > 8 and not resumed:
            raise KeyboardInterrupt
        seen.extend(subjects.index.tolist())
        return real(model, subjects, threat, params)

    def judge(partial: Path | None, *, rows: bool = True) -> Judgement:
        where = context(evaluation_batch=2)  # blocks of 8 images
        return evaluate_attack(model, packed, np.arange(20), where, params=params, rows=rows, partial=partial)

    whole = judge(None)
    monkeypatch.setattr(pgd_module, "pgd", spy)
    for rows in (False, True):  # blocks without images are of no use
        resumed = False
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            judge(tmp_path, rows=rows)
        assert min(seen) < 8
    assert {path.name for path in tmp_path.iterdir()} == {"0-8.json", "0-8.safetensors"}
    resumed = True
    seen.clear()
    again = judge(tmp_path)
    assert seen and min(seen) >= 8
    assert again.details == whole.details
    assert {name: rows.tolist() for name, rows in again.arrays.items()} == {
        name: rows.tolist() for name, rows in whole.arrays.items()
    }


@pytest.mark.parametrize(
    ("images", "chunk", "block"), [(0, 256, 64), (100, 256, 64), (1000, 256, 125), (50_000, 256, 1024), (1000, 16, 64)]
)
def test_a_kill_loses_a_block_at_most(images: int, chunk: int, block: int) -> None:
    assert block_size(images, chunk) == block


def test_it_tells_how_far_it_is() -> None:
    model = net()
    told: list[Headway] = []
    params = AttackParameters.model_validate({"attacks": ["fgsm"], "eps": ["8/255"], **QUICK})
    packed = pack(20, model=model)
    found = evaluate_attack(model, packed, np.arange(20), context(), params=params, tell=told.append)
    assert found == evaluate_attack(model, packed, np.arange(20), context(), params=params)
    ends = {each.stage: (each.done, each.total) for each in told}
    assert ends == {"attack": (20, 20), "probes": (32, 32), "median": (6, 6)}
    assert list(ends) == ["attack", "probes", "median"] and told[-1].passes > 100
    assert {each.detail for each in told if each.stage == "probes"} >= {"gradient steps", "square", "twice the steps"}


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu() -> None:
    model = net()
    packed = pack(32, model=model)
    attacks = [{"name": "pgd", "steps": 4}, {"name": "autoattack", "steps": 4, "queries": 10, "targets": 2}]
    before = torch.backends.cudnn.allow_tf32
    found = judged(model, packed, attacks=attacks, eps=["4/255"])
    there = judged(model.cuda(), packed, where=Context(torch.device("cuda")), attacks=attacks, eps=["4/255"])
    assert torch.backends.cudnn.allow_tf32 == before
    assert there.metrics["clean_top1"] == found.metrics["clean_top1"]
    assert there.metrics["robust_top1"] == pytest.approx(found.metrics["robust_top1"], abs=100 / 32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, ResultsStore, Dataset]:
    job = digits_job(digits_spec("ce", epochs=2, precision="bf16"), keep_weights=True)
    store = ResultsStore(tmp_path_factory.mktemp("results"))
    list(Execution(job, store, catalog(), context()))
    return job, store, open_job_data(job, catalog())


def test_it_is_an_evaluation_beside_the_record(trained: tuple[Job, ResultsStore, Dataset], tmp_path: Path) -> None:
    job, store, _ = trained
    said = {"attacks": [{"name": "pgd", "steps": 3}], "eps": ["2/255", "16/255"], **QUICK}
    spec = accuracy_evaluation(limit=20).replace(evaluation=catalog().ref("evaluation", "attack", said))
    path = tmp_path / "adversarial.safetensors"
    found = evaluate(job, spec, store, catalog(), context(), arrays_to=path)
    assert store.evaluation(job.spec.run_id, found.eval_id) == found
    assert not store.partial_evaluation(job.spec.run_id, found.eval_id).exists()
    assert found.details["images"] == 20 and found.details["curve"][0]["eps"] == "0"
    assert load_file(path)["adversarial"].shape[0] == 20
    again = evaluate(job, spec, store, catalog(), context())
    assert again.replace(timings={}, created="") == found.replace(timings={}, created="")
    smaller = evaluate(job, spec.replace(limit=10), store, catalog(), context())
    assert smaller.eval_id != found.eval_id
