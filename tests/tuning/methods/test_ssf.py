"""SSF: what is trained and by which recipe, and runs that start from pre-trained weights and are read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.training import (
    TinyNet,
    accuracy_evaluation,
    catalog,
    context,
    digits_job,
    digits_spec,
    reports,
    toy_parts,
    toy_spec,
)

from coretune.nets.scale_shift import merged
from coretune.nets.weights import load_weights
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from coretune.spec.catalog.methods.transfer import SSFParameters
from coretune.spec.run import RunSpec
from coretune.tuning.loop import train
from coretune.tuning.method import Step
from coretune.tuning.methods.ssf import SSF
from coretune.tuning.optimizer import make_optimizer

torch.set_num_threads(1)

RECIPE = dict(catalog().get("method", "ssf").train)


def test_the_loss_is_cross_entropy() -> None:
    torch.manual_seed(0)
    method = SSF(SSFParameters(), features=4, classes=3)
    features, labels = torch.randn(5, 4, requires_grad=True), torch.tensor([0, 2, 1, 1, 0])
    loss = method.loss(Step(features, labels, (), None, torch.Generator(), epoch=0, progress=0.0))
    logits = method.classifier(features).detach()
    expected = sum((torch.logsumexp(row, 0) - row[label]).item() for row, label in zip(logits, labels, strict=True))
    assert loss.total.item() == pytest.approx(expected / 5, abs=1e-6)
    loss.total.backward()
    assert features.grad is not None and bool(features.grad.any())


def test_only_the_classifier_s_weight_decays() -> None:
    parts = toy_parts(toy_spec("ssf", **RECIPE))
    optimizer = make_optimizer(parts.model.encoder, parts.method, parts.train)
    assert isinstance(optimizer, torch.optim.AdamW)
    shares = [(group["weight_decay"], sorted(p.shape for p in group["params"])) for group in optimizer.param_groups]
    assert shares == [(0.0, [(6,)] * 4), (0.05, [(3, 6)]), (0.0, [(3,)])]


def test_a_training_changes_scales_and_shifts_alone_and_merges() -> None:
    parts = toy_parts(toy_spec("ssf", **{**RECIPE, "lr": 0.02}), dropout=0.2)
    before = {key: value.clone() for key, value in parts.model.encoder.state_dict().items()}
    reports(train(parts, context()))
    after = parts.model.encoder.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert changed == {f"{layer}.{what}" for layer in ("conv", "norm") for what in ("scale", "shift")}
    plain = TinyNet().eval()
    plain.load_state_dict(merged(parts.model.encoder).state_dict(), strict=True)
    images = torch.rand(5, 3, 8, 8)
    parts.model.eval()
    torch.testing.assert_close(plain(images), parts.model.encoder(images), rtol=0, atol=1e-6)


def run(spec: RunSpec, root: Path, **options: object) -> Execution:
    evaluations = () if spec.task == "pretraining" else (accuracy_evaluation(),)
    execution = Execution(
        digits_job(spec, evaluations=evaluations, keep_weights=True), ResultsStore(root), catalog(), context()
    )
    list(execution)
    assert execution.record is not None and execution.record.status == "completed", execution.record
    return execution


def test_pre_trained_weights_are_kept(tmp_path: Path) -> None:
    pretraining = digits_spec("moco_v2", epochs=1, batch=850, contrast_batch=850)
    tuned = digits_spec("ssf", weights=f"run:{pretraining.run_id}", **RECIPE)
    store = ResultsStore(tmp_path)
    run(pretraining, tmp_path)
    run(tuned, tmp_path)
    start, _ = load_weights(store.weights_path(pretraining.run_id))
    end, _ = load_weights(store.weights_path(tuned.run_id))
    layers = {key.replace(".layer.", "."): value for key, value in end.items() if ".layer." in key}
    expected = {key: value for key, value in start.items() if key.startswith("encoder.")}
    assert layers.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in layers.items())
