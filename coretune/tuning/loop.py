"""The one training loop: an iterator that its caller steps, stops and resumes."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from coretune.errors import DivergedError
from coretune.nets.model import Model
from coretune.results.selection import better
from coretune.spec.run import TrainSpec
from coretune.spec.seeds import derive_seed
from coretune.tuning.context import Context
from coretune.tuning.divergence import likely_cause
from coretune.tuning.gradient_sum import GradientSum
from coretune.tuning.method import LossTerms, Method, Start
from coretune.tuning.modes import evaluation_mode, private_random_numbers, seed_random_numbers
from coretune.tuning.optimizer import (
    forget,
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
    trained_parameters,
)
from coretune.tuning.pace import Pace
from coretune.tuning.precision import autocast, gradient_scaler
from coretune.tuning.progress import TOTAL, LossLog
from coretune.tuning.snapshot import module_snapshot, snapshot
from coretune.tuning.swad import AVERAGED_BY, DenseAverage
from coretune.tuning.task import Batch, Moment, Task


@dataclass(frozen=True)
class Parts:
    """What is trained.

    Attributes:
        task: Brings batches and evaluates.
        model: Encoder and classifier, on the device.
        method: The loss, and the modules it trains beside the encoder; on the device, prepared.
        train: The recipe.
        seed: The run's seed.
        keep_best: Whether the weights of the best epoch are kept (on the CPU), not only its metrics.
        keep_average: Whether the weights of all steps are averaged as SWAD does (kept on the CPU), by the
            `cross_entropy` of the task's evaluations. The training itself is the same.
    """

    task: Task
    model: Model
    method: Method
    train: TrainSpec
    seed: int
    keep_best: bool = True
    keep_average: bool = False


@dataclass(frozen=True)
class Tick:
    """A sign of life between evaluations.

    Attributes:
        epoch: Zero-based epoch that is being trained.
        step: Finished steps of it.
        images: Images trained on since the training began, also before a resume.
        seconds: Seconds spent on them.
    """

    epoch: int
    step: int
    images: int
    seconds: float


@dataclass(frozen=True)
class EpochReport:
    """The result of an epoch that was evaluated.

    Attributes:
        epoch: Number of finished epochs.
        metrics: Of the validation part; finite.
        train: Mean of the loss and of each of its terms over the epoch.
        counts: Counted events since the start, e.g. anchors without a positive.
        images: Images trained on since the training began, also before a resume.
        seconds: Seconds spent on them, without evaluations.
        evaluate_s: Seconds spent on evaluations.
    """

    epoch: int
    metrics: Mapping[str, float]
    train: Mapping[str, float]
    counts: Mapping[str, int]
    images: int
    seconds: float
    evaluate_s: float


@dataclass(frozen=True)
class Best:
    """The best epoch on the validation part so far, and its weights, on the CPU (none if they are not kept)."""

    epoch: int
    metrics: dict[str, float]
    weights: dict[str, Tensor] = field(repr=False)


@dataclass
class Spent:
    """What a training has cost so far, all sessions together; see `EpochReport`."""

    images: int = 0
    seconds: float = 0.0
    evaluate_s: float = 0.0


def train(parts: Parts, context: Context, state: Mapping[str, Any] | None = None) -> Training:
    """Returns the training of some parts, to be iterated.

    Args:
        parts: What is trained; changed in place.
        context: Where and how.
        state: What `Training.state()` returned, to go on from there: bit for bit the same at one thread count.

    Raises:
        ValueError: The state does not fit the parts, which may be changed in part then.
    """
    return Training(parts, context, state)


class Training(Iterator[Tick | EpochReport]):
    """A running training. Each `next` trains until the next `Tick` or `EpochReport`; `state()` is valid after either.

    Torch's global random numbers, which dropout draws from, are seeded in every step from (seed, epoch, step), and
    are put back before `next` returns.

    A method that `looks_first` does so before the first step, at no step's cost in `seconds`.

    Raises (from `next`):
        DivergedError: The loss or a metric is not finite; says where and the likely cause.

    Attributes:
        best: The best epoch on the validation part so far, or None.
        average: What averages the weights, or None.
        history: All epoch reports so far, also those before a resume.
    """

    def __init__(self, parts: Parts, context: Context, state: Mapping[str, Any] | None) -> None:
        self._parts = parts
        self._context = context
        self._steps = parts.task.steps()
        self._optimizer = make_optimizer(parts.model.encoder, parts.method, parts.train)
        self._trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._gradients = GradientSum(trained_parameters(parts.model.encoder, parts.method), context.shard)
        self._scaler = gradient_scaler(context.device, parts.train.precision)
        self._log = LossLog()
        self._epoch, self._step = 0, 0
        self._spent = Spent()
        self._whole = True
        self.best: Best | None = None
        self.average = DenseAverage(parts.model) if parts.keep_average else None
        self.history: list[EpochReport] = []
        if state is not None:
            self._load(state)
        self._events = self._run()

    def __next__(self) -> Tick | EpochReport:
        self._whole = False
        try:
            with private_random_numbers(self._context.device):
                event = next(self._events)
        except StopIteration:
            self._whole = True
            raise
        self._whole = True
        return event

    def close(self) -> None:
        """Stops the training where it is; `state()` stays valid."""
        self._events.close()

    @property
    def notes(self) -> list[str]:
        """What the record should say of what was counted up to the last epoch report."""
        return self._parts.method.notes(self.history[-1].counts) if self.history else []

    @property
    def resumable(self) -> bool:
        """Whether `state()` is valid: not after `next` raised, e.g. in the middle of a step."""
        return self._whole

    def state(self) -> dict[str, Any]:
        """Returns a copy, tensors (on the CPU) and plain values, from which `train` goes on exactly.

        Raises:
            RuntimeError: The last `next` raised: the weights may be those of half a step.
        """
        if not self._whole:
            raise RuntimeError("a training that was broken off by an error has no state to go on from")
        return {
            "epoch": self._epoch,
            "step": self._step,
            "encoder": module_snapshot(self._parts.model.encoder),
            "method": module_snapshot(self._parts.method),
            "optimizer": snapshot(self._optimizer.state_dict()),
            "scaler": self._scaler.state_dict(),
            "log": self._log.state(),
            "spent": dict(self._spent.__dict__),
            "best": None if self.best is None else dict(self.best.__dict__),
            "average": None if self.average is None else self.average.state(),
            "history": [snapshot(report.__dict__) for report in self.history],
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        try:
            self._epoch, self._step = _position(state, self._parts.train.epochs, self._steps)
            self._parts.model.encoder.load_state_dict(state["encoder"])
            self._parts.method.load_state_dict(state["method"])
            # Copied, since an optimiser takes what it is given for its own and changes it.
            self._optimizer.load_state_dict(snapshot(state["optimizer"]))
            self._scaler.load_state_dict(state["scaler"])
            self._log.load(state["log"])
            self._spent = Spent(**state["spent"])
            self.best = None if state["best"] is None else Best(**state["best"])
            if self.best is not None and self._parts.keep_best and not self.best.weights:
                raise ValueError("it has no weights of the best epoch, which are wanted now")
            if self.average is not None:
                if state.get("average") is None:
                    raise ValueError("it has no average of the weights, which is wanted now")
                self.average.load(state["average"])
            self.history = [EpochReport(**report) for report in state["history"]]
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            raise ValueError(f"the state is not one of this training: {type(error).__name__}: {error}") from error

    def _run(self) -> Generator[Tick | EpochReport, None, None]:
        task, pace = self._parts.task, Pace(self._context)
        if self._epoch == self._step == 0 and self._parts.method.looks_first:
            yield from self._begin(pace)
        while self._epoch < self._parts.train.epochs:
            self._parts.model.train()
            self._parts.method.train()
            if self._step == 0:
                self._start_epoch()
            pace.start()
            for batch in task.batches(self._epoch, self._step, self._context):
                self._train_step(batch)
                if pace.due() and self._step < self._steps:
                    self._pause(pace)
                    yield self._tick()
                    pace.start()
            self._pause(pace)
            yield self._finish_epoch()

    def _begin(self, pace: Pace) -> Iterator[Tick]:
        """Lets the method look at the images before the first step. That time counts as no step's."""
        parts, context = self._parts, self._context
        generator = torch.Generator().manual_seed(derive_seed(parts.seed, "begin"))
        start = Start(parts.model.encoder, parts.model.features, parts.task.examples(context), generator)
        pace.start()
        with evaluation_mode(parts.model, parts.method):
            for _ in parts.method.begin(start):
                if pace.due():
                    yield self._tick()
                    pace.start()

    def _start_epoch(self) -> None:
        seed = derive_seed(self._parts.seed, "epoch", self._epoch)
        generator = torch.Generator().manual_seed(seed)
        forget(self._optimizer, self._parts.method.start_epoch(self._epoch, self._parts.train.epochs, generator))

    def _tick(self) -> Tick:
        return Tick(self._epoch, self._step, self._spent.images, self._spent.seconds)

    def _pause(self, pace: Pace) -> None:
        """Waits for the device, checks the losses since the last pause, and stops the clock."""
        self._check_losses()
        self._spent.seconds += pace.elapsed()

    def _train_step(self, batch: Batch) -> None:
        parts, steps = self._parts, self._steps
        done = self._epoch * steps + self._step
        total = parts.train.epochs * steps
        warmup = parts.train.warmup_epochs * steps
        factor = learning_rate_factor(done, total, warmup, parts.train.schedule, steps)
        set_learning_rate(self._optimizer, parts.train.lr * factor)
        seed_random_numbers(derive_seed(parts.seed, "step", self._epoch, self._step), self._context.device)
        moment = Moment(parts.seed, self._epoch, self._step, done / total)
        with autocast(self._context.device, parts.train.precision):
            loss = parts.task.loss(parts.model, batch, parts.method, moment, self._context)
        self._optimize(loss)
        self._log.add(loss)
        self._step += 1
        self._spent.images += batch.labels.shape[0]

    def _optimize(self, loss: LossTerms) -> None:
        parts = self._parts
        self._optimizer.zero_grad(set_to_none=True)
        with self._gradients.of_backward():
            self._scaler.scale(self._context.shard.part_of(loss.total)).backward()  # type: ignore[no-untyped-call]
        if parts.train.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._trained, parts.train.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        parts.method.after_step(parts.model.encoder)
        if self.average is not None:
            self.average.after_step()

    def _finish_epoch(self) -> Tick | EpochReport:
        done, train = self._epoch + 1, self._parts.train
        report = self._report(done) if done % train.evaluate_every == 0 or done == train.epochs else None
        self._epoch, self._step = done, 0
        self._log.new_epoch()
        if report is None:
            return self._tick()
        self.history.append(report)
        self._remember_best(report)
        if self.average is not None:
            self.average.after_evaluation(report.metrics[AVERAGED_BY])
        return report

    def _report(self, epoch: int) -> EpochReport:
        started = time.perf_counter()
        if self._context.shard.workers > 1:
            self._context.shard.check_alike(self._trained, self._log.means()[TOTAL])
        with (
            evaluation_mode(self._parts.model, self._parts.method),
            torch.no_grad(),
            autocast(self._context.device, self._parts.train.precision),
        ):
            found = self._parts.task.evaluate(self._parts.model, self._context)
        metrics = {name: float(value) for name, value in found.items()}
        self._check_metrics(metrics)
        self._spent.evaluate_s += time.perf_counter() - started
        return EpochReport(epoch, metrics, self._log.means(), self._log.counts(), **self._spent.__dict__)

    def _remember_best(self, report: EpochReport) -> None:
        if self._parts.task.objective is None:
            return
        if self.best is None or self._is_better(report.metrics, self.best.metrics, *self._parts.task.objective):
            weights = snapshot(self._parts.model.state_dict()) if self._parts.keep_best else {}
            self.best = Best(report.epoch, dict(report.metrics), weights)

    def _is_better(
        self, metrics: Mapping[str, float], best: Mapping[str, float], name: str, direction: Literal["max", "min"]
    ) -> bool:
        ties = self._parts.task.ties
        if ties is not None and metrics[name] == best[name]:
            return metrics[ties] < best[ties]
        return better(metrics[name], best[name], direction)

    def _check_losses(self) -> None:
        broken = self._log.breakdown()
        if broken is None:
            return
        why = likely_cause(broken.before, broken.terms, self._parts.train)
        self._diverged("the loss", "at", broken.step + 1, why)

    def _check_metrics(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if not math.isfinite(value):
                why = likely_cause(self._log.recent(), {}, self._parts.train)
                self._diverged(f"the metric {name}", "after", self._step, why)

    def _diverged(self, what: str, when: str, step: int, why: str) -> None:
        epoch = self._epoch + 1
        message = f"{what} is not finite {when} epoch {epoch}, step {step}; {why}"
        raise DivergedError(message, epoch=epoch, step=step)


def _position(state: Mapping[str, Any], epochs: int, steps: int) -> tuple[int, int]:
    epoch, step = int(state["epoch"]), int(state["step"])
    if not (0 <= epoch <= epochs and 0 <= step < max(steps, 1)):
        raise ValueError(f"epoch {epoch}, step {step} is outside of {epochs} epochs of {steps} steps")
    return epoch, step
