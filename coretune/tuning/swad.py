"""SWAD: the average of all weights of a training from where its validation loss is lowest to where it rises again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from coretune.nets.scale_shift import BATCH_NORM
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.snapshot import snapshot

CONVERGED = 3
"""N_s: evaluations of which the first has to be the lowest, for the average to begin there."""
OVERFITTED = 6
"""N_e: evaluations that all have to be above the limit, for the average to end before them."""
TOLERANCE = 1.3
"""r: the limit is r times the mean loss of the N_s evaluations."""

AVERAGED_BY = "cross_entropy"
"""The metric of the validation part that tells the window."""

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Segment:
    """The mean of the weights of consecutive steps, on the CPU.

    Attributes:
        weights: By name in the model's state.
        steps: How many steps' weights it is of.
        first: The first evaluation, from 1, that it reaches up to.
        last: The last one.
    """

    weights: Weights = field(repr=False)
    steps: int
    first: int
    last: int

    def joined(self, other: Segment) -> Segment:
        """Returns the mean over the steps of both; what is no floating number is that of the other one."""
        share = other.steps / (self.steps + other.steps)
        weights = {
            name: torch.lerp(self.weights[name], value, share) if value.is_floating_point() else value
            for name, value in other.weights.items()
        }
        return Segment(weights, self.steps + other.steps, self.first, other.last)


class Valley:
    """Finds the window of SWAD while the training goes on (Cha et al., NeurIPS 2021, arXiv 2102.08604, algorithm 1).

        t_s: the first evaluation whose loss is the lowest of itself and the N_s − 1 that follow
        l = r/N_s · the sum of these losses
        t_e: the last one before N_e evaluations in a row that are all above l; the training's last one without
        θ = the mean of the weights of all steps from t_s to t_e

    N_s = 3, N_e = 6 and r = 1.3 are fixed. Where no t_s is found, the average is over the whole training, which is what
    the algorithm begins with. The paper's t_s and t_e are steps; losses are known at evaluations alone
    (`train.evaluate_every`), and the steps between two of them belong to the later one.

    What cannot be told yet is kept apart, N_e segments at most, so that memory does not grow with the training.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.limit: float | None = None
        self.closed = False
        self._settled: Segment | None = None
        self._open: list[Segment] = []

    def add(self, weights: Weights, steps: int, loss: float) -> None:
        """Adds what lies between two evaluations.

        Args:
            weights: The mean of the weights of its steps; kept, so give a copy.
            steps: How many steps it has.
            loss: The validation loss at its end.
        """
        if self.closed:
            return
        self.losses.append(loss)
        number = len(self.losses)
        self._open.append(Segment(weights, steps, number, number))
        if self.limit is None:
            self._look_for_the_start()
        elif number >= OVERFITTED and min(self.losses[-OVERFITTED:]) > self.limit:
            self.closed = True
            del self._open[-OVERFITTED:]
            self._settle(0)
            return
        self._settle((CONVERGED if self.limit is None else OVERFITTED) - 1)

    def average(self) -> Segment | None:
        """Returns the mean over the window as it is known by now; None before the first evaluation."""
        found = self._settled
        for segment in self._open:
            found = segment if found is None else found.joined(segment)
        return found

    def state(self) -> dict[str, Any]:
        """Returns what `load` goes on from exactly: tensors and plain values."""
        return {
            "losses": list(self.losses),
            "limit": self.limit,
            "closed": self.closed,
            "settled": None if self._settled is None else dict(self._settled.__dict__),
            "open": [dict(segment.__dict__) for segment in self._open],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        self.losses, self.limit, self.closed = list(state["losses"]), state["limit"], state["closed"]
        self._settled = None if state["settled"] is None else Segment(**state["settled"])
        self._open = [Segment(**segment) for segment in state["open"]]

    def _look_for_the_start(self) -> None:
        window = self.losses[-CONVERGED:]
        if len(window) == CONVERGED and window[0] == min(window):
            self.limit = TOLERANCE / CONVERGED * sum(window)
            self._settled = None  # what lies before the start

    def _settle(self, kept: int) -> None:
        """Adds all open segments but the last ones to the average."""
        while len(self._open) > kept:
            segment = self._open.pop(0)
            self._settled = segment if self._settled is None else self._settled.joined(segment)


class DenseAverage:
    """Averages the weights of a model over all steps of a training's window, as the training goes on.

    Buffers of floating numbers (batch-norm statistics) are averaged like weights; `use_average` estimates them anew.
    The last value stands of what is no floating number.

    Args:
        model: Encoder and classifier, as they are trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._mean: Weights = {}
        self._steps = 0
        self.valley = Valley()

    @torch.no_grad()
    def after_step(self) -> None:
        """Takes the weights after a step into the mean. Waits for no device."""
        if self.valley.closed:
            return
        self._steps += 1
        values = self._model.state_dict()
        if self._steps == 1:
            self._mean = {name: value.detach().clone() for name, value in values.items()}
            return
        floating = [name for name, value in values.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self._mean[name] for name in floating], [values[name] for name in floating], 1 / self._steps
        )
        self._mean |= {name: value.clone() for name, value in values.items() if not value.is_floating_point()}

    def after_evaluation(self, loss: float) -> None:
        """Ends a segment, with the validation loss at its end."""
        if self._steps:
            self.valley.add(snapshot(self._mean), self._steps, loss)
        self._mean, self._steps = {}, 0

    def state(self) -> dict[str, Any]:
        """Returns a copy of the state, tensors on the CPU and plain values."""
        return {"mean": snapshot(self._mean), "steps": self._steps, "valley": self.valley.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state, exactly."""
        device = {name: value.device for name, value in self._model.state_dict().items()}
        self._mean = {name: value.to(device[name], copy=True) for name, value in state["mean"].items()}
        self._steps = state["steps"]
        self.valley.load(state["valley"])


@torch.no_grad()
def use_average(model: nn.Module, weights: Weights, batches: Iterable[Tensor]) -> None:
    """Loads averaged weights, and estimates the statistics of batch norm for them.

    These are the means over some batches, as `torch.optim.swa_utils.update_bn` has them, with everything but batch norm
    in evaluation mode. Layers whose statistics never moved in the training (a probe's, or those that a method lets
    rest) are left as they are.

    Args:
        model: As it is trained: its own statistics tell which layers never moved.
        weights: By name in its state.
        batches: Images (n, 3, H, W) in [0, 1]; each batch is one group.
    """
    moved = [
        module
        for name, module in model.named_modules()
        if isinstance(module, BATCH_NORM)
        and module.running_mean is not None
        and not torch.equal(module.running_mean, weights[f"{name}.running_mean"].to(module.running_mean.device))
    ]
    model.load_state_dict(weights)
    if not moved:
        return
    momenta = [module.momentum for module in moved]
    with evaluation_mode(model):
        for module in moved:
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
            module.train()
        for images in batches:
            model(images)
    for module, momentum in zip(moved, momenta, strict=True):
        module.momentum = momentum
