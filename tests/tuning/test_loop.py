"""The loop: exact resume after any event, what diverges and how it is said, evaluation, and against a bare loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.cuda import never_waited_for
from support.training import (
    CPU,
    assert_same_tensors,
    context,
    reports,
    tensors_of,
    through_disk,
    toy_dataset,
    toy_parts,
    toy_spec,
)
from torch import Tensor, nn

import coretune.tuning.loop
import coretune.tuning.pace
from coretune.data.augment import augment
from coretune.data.draws import uniforms
from coretune.errors import DivergedError
from coretune.nets.model import Model
from coretune.spec.components import NoParameters
from coretune.spec.run import TrainSpec
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.context import Context
from coretune.tuning.loop import EpochReport, Parts, Tick, Training, train
from coretune.tuning.method import Examples, LossTerms, Method
from coretune.tuning.methods.cross_entropy import CrossEntropy
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)

VARIANTS: dict[str, dict[str, Any]] = {
    "ce": {"method": "ce"},
    "adamw": {"method": "ce", "optimizer": "adamw", "warmup_epochs": 0.7, "clip_norm": 0.5},
    "core_tuning": {"method": "core_tuning"},
    "micro_batch": {"method": "core_tuning", "bn_group": 2},
    "dropout": {"method": "ce", "momentum": 0.0, "evaluate_every": 2},
    "bf16": {"method": "core_tuning", "precision": "bf16"},
    "fp16": {"method": "ce", "precision": "fp16"},
    "moco": {"method": "moco_v2", "params": {"queue": 16}},
}


def make(variant: str) -> tuple[Parts, dict[str, Any]]:
    options = {"micro_batch": 3} if variant == "micro_batch" else {}
    return toy_parts(toy_spec(**VARIANTS[variant]), dropout=0.4 * (variant == "dropout")), options


def said(report: EpochReport) -> tuple[Any, ...]:
    return report.epoch, report.metrics, report.train, report.counts, report.images


def outcome(parts: Parts, training: Training) -> tuple[Any, ...]:
    best = None if training.best is None else (training.best.epoch, training.best.metrics)
    return [said(report) for report in training.history], best


class Fake:
    """A task whose loss and metrics are made up: `losses` by global step."""

    objective = None
    ties = None

    def __init__(self, losses: Mapping[int, float], metrics: Mapping[str, float] | None = None, steps: int = 4) -> None:
        self._losses = losses
        self._metrics = metrics or {}
        self._steps = steps

    def steps(self) -> int:
        return self._steps

    def batches(self, epoch: int, start: int, context: Context) -> Iterator[Batch]:
        for step in range(start, self._steps):
            yield Batch((torch.zeros(2, 3, 8, 8),), torch.zeros(2, dtype=torch.int64), torch.arange(2) + step)

    def examples(self, context: Context) -> Examples:
        raise NotImplementedError

    def loss(self, model: Model, batch: Batch, method: Method, moment: Moment, context: Context) -> LossTerms:
        number = moment.epoch * self._steps + moment.step
        value = self._losses.get(number, 2.0 - 0.01 * number)
        total = model.features(batch.views[0]).sum() * 0 + value
        return LossTerms(total, {"odd": torch.tensor(float("inf")), "fine": torch.tensor(1.0)})

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        assert not any(module.training for module in model.modules())
        return self._metrics


def faked(task: Any, **recipe: Any) -> Parts:
    parts = toy_parts(toy_spec("ce", **recipe))
    return Parts(task, parts.model, parts.method, parts.train, parts.seed)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resume_after_any_event_is_exact(variant: str) -> None:
    parts, options = make(variant)
    whole = train(parts, context(**options))
    reports(whole)
    events = 0
    while True:
        events += 1
        first, _ = make(variant)
        stopped = train(first, context(tick_s=0, **options))
        seen = [event for event, _ in zip(stopped, range(events), strict=False)]
        if len(seen) < events:
            break
        state = through_disk(stopped.state())
        second, _ = make(variant)
        resumed = train(second, context(**options), state)
        reports(resumed)
        assert_same_tensors(tensors_of(second), tensors_of(parts))
        assert outcome(second, resumed) == outcome(parts, whole)
        if whole.best is not None and resumed.best is not None:
            assert_same_tensors(resumed.best.weights, whole.best.weights)
    assert events > 9


def test_a_state_does_not_change_while_the_training_goes_on() -> None:
    parts, _ = make("moco")
    training = train(parts, context(tick_s=0))
    next(training)
    state = training.state()
    kept = through_disk(state)
    reports(training)
    fresh, _ = make("moco")
    train(fresh, context(), state)
    other, _ = make("moco")
    train(other, context(), kept)
    assert_same_tensors(tensors_of(fresh), tensors_of(other))


def test_a_state_can_be_gone_on_from_twice() -> None:
    parts, _ = make("moco")
    training = train(parts, context(tick_s=0))
    next(training)
    state = training.state()
    found = []
    for _ in range(2):
        fresh, _ = make("moco")
        reports(train(fresh, context(), state))
        found.append(tensors_of(fresh))
    assert_same_tensors(*found)


def test_seconds_and_images_of_an_earlier_session_are_added() -> None:
    parts, _ = make("ce")
    training = train(parts, context(tick_s=0))
    for _ in range(4):
        last = next(training)
    fresh, _ = make("ce")
    resumed = train(fresh, context(), training.state())
    report = next(resumed)
    assert isinstance(report, EpochReport)
    assert report.images == 40
    assert report.seconds > last.seconds > 0
    assert report.evaluate_s > 0


def test_close_at_any_time_leaves_a_valid_state() -> None:
    parts, _ = make("ce")
    training = train(parts, context(tick_s=0))
    before = tensors_of(parts)
    training.close()
    assert_same_tensors(before, tensors_of(parts))
    assert training.state()["epoch"] == 0

    training = train(parts, context(tick_s=0))
    next(training)
    training.close()
    assert training.resumable
    assert training.state()["step"] == 1
    with pytest.raises(StopIteration):
        next(training)


def test_a_step_that_was_broken_off_leaves_no_state() -> None:
    parts, _ = make("ce")

    def interrupt(encoder: nn.Module) -> None:
        raise KeyboardInterrupt

    parts.method.after_step = interrupt  # type: ignore[method-assign]
    training = train(parts, context())
    with pytest.raises(KeyboardInterrupt):
        next(training)
    assert not training.resumable
    with pytest.raises(RuntimeError, match="no state to go on from"):
        training.state()


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 7},
        {"step": -1},
        {"encoder": {}},
        {"method": {"classifier.weight": torch.zeros(1)}},
        {"optimizer": None},
        {"log": {}},
        {"history": [{"epoch": 1}]},
        {"spent": {"unknown": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    parts, _ = make("ce")
    training = train(parts, context(tick_s=0))
    next(training)
    with pytest.raises(ValueError, match="not one of this training"):
        train(make("ce")[0], context(), training.state() | change)
    lacking = training.state()
    del lacking[next(iter(change))]
    with pytest.raises(ValueError, match="not one of this training"):
        train(make("ce")[0], context(), lacking)


def test_events_are_ticks_and_a_report_per_evaluation() -> None:
    parts, _ = make("ce")
    events = list(train(parts, context(tick_s=0)))
    assert [type(event) for event in events] == [Tick, Tick, EpochReport] * 3
    assert [(event.epoch, event.step) for event in events if isinstance(event, Tick)][:2] == [(0, 1), (0, 2)]
    assert [event.epoch for event in events if isinstance(event, EpochReport)] == [1, 2, 3]
    assert [event.images for event in events] == [8, 16, 20, 28, 36, 40, 48, 56, 60]
    assert all(one.seconds <= other.seconds for one, other in pairwise(events))


def test_evaluate_every_skips_evaluations_but_never_the_last() -> None:
    parts = toy_parts(toy_spec("ce", epochs=5, evaluate_every=2))
    events = list(train(parts, context()))
    assert [(type(event), event.epoch) for event in events] == [
        (Tick, 1),
        (EpochReport, 2),
        (Tick, 3),
        (EpochReport, 4),
        (EpochReport, 5),
    ]


class Clock(Fake):
    """A task whose steps take 20 ms and whose evaluations take a second, by a clock of its own."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def loss(self, *arguments: Any) -> LossTerms:
        self.now += 0.02
        return super().loss(*arguments)

    def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
        self.now += 1.0
        return {}


def test_ticks_come_in_time_and_only_training_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock({}, steps=20)
    monkeypatch.setattr(coretune.tuning.loop, "time", clock)
    monkeypatch.setattr(coretune.tuning.pace, "time", clock)
    events = []
    for event in train(faked(clock, epochs=2), context(tick_s=0.05)):
        events.append(event)
        clock.now += 10.0  # the caller's own time
    ticks = [event for event in events if isinstance(event, Tick)]
    assert [tick.step for tick in ticks] == [3, 6, 9, 12, 15, 18] * 2
    assert [tick.seconds for tick in ticks[:6]] == pytest.approx([0.06, 0.12, 0.18, 0.24, 0.30, 0.36])
    found = [event for event in events if isinstance(event, EpochReport)]
    assert [(report.seconds, report.evaluate_s) for report in found] == [
        pytest.approx((0.4, 1.0)),
        pytest.approx((0.8, 2.0)),
    ]


@pytest.mark.parametrize("tick_s", [0.0, 1e9], ids=["fine", "coarse"])
@pytest.mark.parametrize("number", [0, 3, 4, 6, 11])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_divergence_is_found_where_it_began(number: int, value: float, tick_s: float) -> None:
    training = train(faked(Fake({number: value, number + 1: math.nan})), context(tick_s=tick_s))
    with pytest.raises(DivergedError, match=rf"epoch {number // 4 + 1}, step {number % 4 + 1};") as caught:
        list(training)
    assert (caught.value.epoch, caught.value.step) == (number // 4 + 1, number % 4 + 1)
    assert not training.resumable


def test_divergence_after_a_resume_is_found_where_it_began() -> None:
    task = Fake({6: math.nan})
    first = train(faked(task), context(tick_s=0))
    for _ in range(6):
        next(first)
    resumed = train(faked(task), context(), through_disk(first.state()))
    with pytest.raises(DivergedError, match=r"epoch 2, step 3; .*it was 1\.95 the step before"):
        next(resumed)


def test_a_metric_that_is_not_finite_is_a_divergence() -> None:
    training = train(faked(Fake({}, {"cross_entropy": math.nan})), context())
    with pytest.raises(DivergedError, match="metric cross_entropy is not finite after epoch 1, step 4") as caught:
        next(training)
    assert (caught.value.epoch, caught.value.step) == (1, 4)


def test_a_high_learning_rate_is_named() -> None:
    with pytest.raises(DivergedError, match=r"train\.lr = 1e\+06 is probably too high"):
        reports(train(toy_parts(toy_spec("ce", lr=1e6, epochs=60)), context()))


def test_a_term_that_is_not_finite_does_not_stop_a_finite_loss() -> None:
    report = reports(train(faked(Fake({})), context()))[0]
    assert report.train == {"loss": pytest.approx(1.985), "odd": math.inf, "fine": 1.0}


def test_of_equal_epochs_the_lower_loss_is_best_where_the_task_says_so() -> None:
    class Tied(Fake):
        objective = ("score", "max")
        ties = "loss"
        found = iter([(3.0, 0.9), (3.0, 0.7), (3.0, 0.7), (3.0, 0.8), (2.0, 0.1)])

        def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
            score, loss = next(self.found)
            return {"score": score, "loss": loss}

    training = train(faked(Tied({}), epochs=5), context())
    reports(training)
    assert training.best is not None and training.best.epoch == 2


def test_best_is_the_first_of_the_best_epochs() -> None:
    class Scored(Fake):
        objective = ("score", "max")
        scores = iter([1.0, 3.0, 3.0])

        def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
            with torch.no_grad():
                next(model.parameters()).add_(1)
            return {"score": next(self.scores)}

    class Least(Scored):
        objective = ("score", "min")
        scores = iter([3.0, 1.0, 1.0])

    for task in (Scored({}), Least({})):
        parts = faked(task, weight_decay=0.0, momentum=0.0)
        before = next(parts.model.parameters()).clone()
        training = train(parts, context())
        reports(training)
        assert training.best is not None
        assert training.best.epoch == 2
        torch.testing.assert_close(training.best.weights["encoder.conv.weight"], before.detach() + 2)


def test_weights_of_the_best_epoch_are_kept_on_request_only() -> None:
    parts, _ = make("ce")
    training = train(Parts(parts.task, parts.model, parts.method, parts.train, parts.seed, keep_best=False), context())
    reports(training)
    assert training.best is not None
    assert training.best.weights == {}
    assert training.best.metrics["top1"] == max(report.metrics["top1"] for report in training.history)


def test_evaluation_leaves_modes_and_gradients_as_they_were() -> None:
    parts, _ = make("ce")
    training = train(parts, context())
    next(training)
    assert all(module.training for module in parts.model.modules())
    # A layer that the method freezes stays frozen through an evaluation.
    parts.model.encoder.norm.eval()
    training._report(1)
    assert not parts.model.encoder.norm.training
    assert parts.model.encoder.conv.training


def test_torchs_own_random_numbers_are_left_alone_and_do_not_matter() -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(3)
        torch.manual_seed(seed)
        parts, _ = make("dropout")
        reports(train(parts, context()))
        torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
        results.append(tensors_of(parts))
    assert_same_tensors(*results)


def test_methods_of_one_seed_see_the_same_batches() -> None:
    seen: dict[str, list[tuple[Tensor, ...]]] = {}
    for name in ("ce", "core_tuning"):
        parts = toy_parts(toy_spec(name))
        found = seen.setdefault(name, [])
        loss = parts.method.loss

        def spy(step: Any, loss: Any = loss, found: Any = found) -> LossTerms:
            found.append((step.labels.clone(), step.views[0].clone()))
            terms: LossTerms = loss(step)
            return terms

        parts.method.loss = spy  # type: ignore[method-assign]
        reports(train(parts, context()))
    assert len(seen["ce"]) == len(seen["core_tuning"]) > 10
    for one, other in zip(seen["ce"], seen["core_tuning"], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def bare_loop(parts: Parts, spec: TrainSpec, seed: int) -> None:
    """What `train` promises for cross-entropy, written out with torch's own optimiser."""
    data = toy_dataset()
    encoder, classifier = parts.model.encoder, parts.method.classifier
    assert classifier is not None
    rates = [(encoder.parameters(), 1.0), (classifier.parameters(), spec.head_lr)]
    groups = [{"params": list(found), "lr": spec.lr * scale} for found, scale in rates]
    optimizer = torch.optim.SGD(groups, momentum=spec.momentum, nesterov=True, weight_decay=spec.weight_decay)
    steps, sizes, number = 3 * spec.epochs, chunk_sizes(20, spec.batch), 0
    for epoch in range(spec.epochs):
        parts.model.train()
        order = next(iter([batch.index for batch in _one_batch(parts, epoch)]))
        draws = torch.from_numpy(uniforms(seed, "augment0", epoch, 32, 8))
        for chosen in order.split(sizes):
            for group, (_, scale) in zip(optimizer.param_groups, rates, strict=True):
                done = epoch / spec.epochs if spec.schedule == "cosine_by_epoch" else number / steps
                group["lr"] = spec.lr * scale * 0.5 * (1 + math.cos(math.pi * done))
            images = augment(torch.from_numpy(data.packed.images)[chosen], draws[chosen], toy_spec().data.augment)
            labels = torch.from_numpy(data.packed.labels)[chosen]
            total = torch.zeros(())
            for part in torch.arange(len(chosen)).split(spec.contrast_batch):
                logits = classifier(encoder(parts.model.normalise(images[part])))
                total = total + nn.functional.cross_entropy(logits, labels[part]) * len(part) / len(chosen)
            optimizer.zero_grad()
            total.backward()
            if spec.clip_norm is not None:
                nn.utils.clip_grad_norm_(parts.model.parameters(), spec.clip_norm)
            optimizer.step()
            number += 1


def _one_batch(parts: Parts, epoch: int) -> list[Batch]:
    batches = list(parts.task.batches(epoch, 0, context()))
    return [Batch(batches[0].views, batches[0].labels, torch.cat([batch.index for batch in batches]))]


@pytest.mark.parametrize(("clip_norm", "schedule"), [(None, "cosine"), (0.3, "cosine"), (None, "cosine_by_epoch")])
def test_the_loop_does_what_a_bare_loop_does(clip_norm: float | None, schedule: str) -> None:
    spec = toy_spec("ce", head_lr=3.0, weight_decay=0.01, clip_norm=clip_norm, schedule=schedule)
    ours, theirs = toy_parts(spec), toy_parts(spec)
    reports(train(ours, context()))
    bare_loop(theirs, spec.train, spec.seed)
    found, expected = tensors_of(ours), tensors_of(theirs)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_channels_last_and_bf16_agree_within_rounding() -> None:
    losses = {}
    for name, recipe, options in (
        ("plain", {}, {}),
        ("channels_last", {}, {"channels_last": True}),
        ("bf16", {"precision": "bf16"}, {}),
    ):
        parts = toy_parts(toy_spec("core_tuning", lr=0.01, **recipe))
        where = context(**options)
        parts.model.to(memory_format=where.memory_format)
        losses[name] = [report.train["loss"] for report in reports(train(parts, where))]
    assert losses["channels_last"] == pytest.approx(losses["plain"], rel=1e-4)
    assert losses["bf16"] == pytest.approx(losses["plain"], rel=0.05)
    assert losses["bf16"] != losses["plain"]


def test_evaluation_computes_in_the_precision_of_the_training() -> None:
    seen = []

    class Looks(Fake):
        def evaluate(self, model: Model, context: Context) -> Mapping[str, float]:
            seen.append(model.features(torch.zeros(2, 3, 8, 8)).dtype)
            seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
            return {}

    for precision in ("bf16", "fp32"):
        reports(train(faked(Looks({}), epochs=1, precision=precision), context()))
    assert seen[1] == torch.bfloat16
    assert seen[3] is None


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gpu_step_does_not_wait_for_the_device(variant: str) -> None:
    device = torch.device("cuda")
    parts, options = make(variant)
    parts.model.to(device)
    parts.method.to(device)
    training = train(parts, context(**{**options, "device": device}))
    next(training)
    batches = list(parts.task.batches(1, 0, context(device=device)))
    with torch.cuda.device(device), never_waited_for():
        for batch in batches[:-1]:
            training._train_step(batch)


@pytest.mark.gpu
def test_a_training_goes_on_from_the_cpu_to_the_gpu() -> None:
    first = train(make("ce")[0], context(tick_s=0))
    for _ in range(4):
        next(first)
    parts, _ = make("ce")
    parts.model.to("cuda")
    parts.method.to("cuda")
    resumed = train(parts, context(device=torch.device("cuda")), through_disk(first.state()))
    whole = train(make("ce")[0], context())
    expected = reports(whole)[-1].metrics["cross_entropy"]
    assert reports(resumed)[-1].metrics["cross_entropy"] == pytest.approx(expected, rel=1e-3)
    assert resumed.state()["encoder"]["conv.weight"].device == CPU


class Restarting(CrossEntropy):
    """Sets its bias anew before the second epoch."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls: list[tuple[int, int, float]] = []

    def start_epoch(self, epoch: int, epochs: int, generator: torch.Generator) -> Iterator[nn.Parameter]:
        self.calls.append((epoch, epochs, float(torch.rand((), generator=generator))))
        if epoch == 1:
            with torch.no_grad():
                self.classifier.bias.fill_(3.0)
            yield self.classifier.bias


def restarting() -> tuple[Parts, Restarting]:
    parts = toy_parts(toy_spec("ce"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        method = Restarting(NoParameters(), features=6, classes=3)
    model = Model(parts.model.encoder, method.classifier)
    return Parts(parts.task, model, method, parts.train, parts.seed), method


def test_what_an_epoch_sets_anew_has_no_momentum() -> None:
    parts, method = restarting()
    training = train(parts, context(tick_s=0))
    steps = parts.task.steps()
    for _ in range(steps):
        next(training)
    assert method.calls[0][:2] == (0, 3) and len(method.calls) == 1
    optimizer = training._optimizer
    assert bool(optimizer.state[method.classifier.bias]["momentum_buffer"].any())
    next(training)
    found = optimizer.state[method.classifier.bias]["momentum_buffer"]
    torch.testing.assert_close(found, method.classifier.bias.grad + 1e-4 * 3.0, atol=1e-4, rtol=0)
    reports(training)
    assert [call[0] for call in method.calls] == [0, 1, 2]
    assert len({call[2] for call in method.calls}) == 3, "a generator of its own for each epoch"


def test_an_epoch_begins_once_however_often_it_is_resumed() -> None:
    whole, _ = restarting()
    reports(train(whole, context()))
    events = len(list(train(restarting()[0], context(tick_s=0))))
    for stop in range(1, events):
        first, _ = restarting()
        stopped = train(first, context(tick_s=0))
        for _ in range(stop):
            next(stopped)
        second, method = restarting()
        reports(train(second, context(), through_disk(stopped.state())))
        assert_same_tensors(tensors_of(second), tensors_of(whole))
        assert len(method.calls) == 3 - stop // whole.task.steps() - (stop % whole.task.steps() > 0)
