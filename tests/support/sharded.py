"""What one of several workers does in the tests of sharding. All workers import it, and so does the test."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from coretune.errors import CheckError
from coretune.nets.model import Model
from coretune.robust import pgd
from coretune.robust.attack import Attempt, Subjects
from coretune.robust.calibration import evaluate_calibration
from coretune.robust.corruption_error import evaluate_corruptions
from coretune.robust.evaluation import evaluate_attack
from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.spec.catalog.evaluations import CorruptionParameters, NeighbourParameters
from coretune.spec.run import RunSpec
from coretune.tuning.batch_norm import joined_statistics, synchronised_batch_norm
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.division import Part, divide
from coretune.tuning.encode_part import encode_part
from coretune.tuning.gradient_sum import GradientSum
from coretune.tuning.loop import Tick, train
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.neighbours import evaluate_neighbours
from coretune.tuning.optimizer import trained_parameters
from coretune.tuning.shard import Link, Shard
from coretune.tuning.task import Batch, Moment
from support.training import TinyNet, context, reports, tensors_of, through_disk, toy_dataset, toy_parts, toy_spec


def step_result(shard: Shard, spec: RunSpec, n: int, moment: Moment, micro_batch: int | None = None) -> dict[str, Any]:
    """The loss, averaged gradients and buffers of one step on n samples, three classes in turn."""
    parts = toy_parts(spec, dtype=torch.float64)
    parts.model.train()
    parts.method.train()
    where = context(micro_batch=micro_batch, shard=shard)
    draws = torch.Generator().manual_seed(n)
    images = [torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=draws) for _ in range(parts.method.views)]
    images[0][1] = images[0][0]  # a tie
    if not parts.method.whole_images:
        division = divide(n, spec.train, shard.workers, views=parts.method.views, regroups=parts.method.regroups)
        own = torch.from_numpy(division.whole.own(shard.rank))
        images = [view[own] for view in images]
    data = Batch(tuple(images), torch.arange(n) % 3, torch.arange(n), torch.arange(n) // 2 % 2)
    loss = contrast_loss(parts.model, data, parts.method, spec.train, moment, where)
    with GradientSum(trained_parameters(parts.model.encoder, parts.method), shard).of_backward():
        shard.part_of(loss.total).backward()  # type: ignore[no-untyped-call]
    modules = nn.ModuleDict({"encoder": parts.model.encoder, "method": parts.method})
    return {
        "loss": {"total": loss.total.detach(), **loss.terms},
        "counts": dict(loss.counts),
        "gradients": {name: p.grad for name, p in modules.named_parameters() if p.grad is not None},
        "buffers": {name: value.clone() for name, value in modules.named_buffers()},
    }


def adversarial_step(shard: Shard, spec: RunSpec, moment: Moment) -> dict[str, Any]:
    """The loss and gradients of one step on adversarial images of noise, those of a task's own batch."""
    parts = toy_parts(spec, dtype=torch.float64)
    where = context(shard=shard)
    batch = next(parts.task.batches(moment.epoch, moment.step, where))
    batch = replace(batch, views=tuple(view.double() for view in batch.views))
    parts.model.train()
    parts.method.train()
    loss = parts.task.loss(parts.model, batch, parts.method, moment, where)
    with GradientSum(trained_parameters(parts.model.encoder, parts.method), shard).of_backward():
        shard.part_of(loss.total).backward()  # type: ignore[no-untyped-call]
    modules = nn.ModuleDict({"encoder": parts.model.encoder, "method": parts.method})
    return {
        "loss": {"total": loss.total.detach(), **loss.terms},
        "gradients": {name: p.grad for name, p in modules.named_parameters() if p.grad is not None},
        "buffers": {name: value.clone() for name, value in modules.named_buffers()},
    }


def numbers_given(shard: Shard, spec: RunSpec, n: int, moment: Moment) -> dict[str, list[int]]:
    """How many numbers this worker gives to each collective of one step on n samples, by kind."""
    given: dict[str, list[int]] = {"all_reduce": [], "all_gather": []}

    def reduced(real: Any, tensor: Tensor, **options: Any) -> Any:
        given["all_reduce"].append(tensor.numel())
        return real(tensor, **options)

    def gathered_from(real: Any, received: list[Tensor], own: Tensor, **options: Any) -> Any:
        given["all_gather"].append(own.numel())
        return real(received, own, **options)

    with (
        mock.patch.object(dist, "all_reduce", partial(reduced, dist.all_reduce)),
        mock.patch.object(dist, "all_gather", partial(gathered_from, dist.all_gather)),
    ):
        step_result(shard, spec, n, moment)
    return given


def training_result(
    shard: Shard, spec: RunSpec, labelled: int, dtype: torch.dtype, state: dict[str, Any] | None = None, stop: int = -1
) -> dict[str, Any]:
    """What a whole training leaves, or the state after `stop` signs of life, of which there is one after each step."""
    parts = toy_parts(spec, toy_dataset(labelled=labelled), dtype=dtype)
    if dtype == torch.float64:
        parts.model.normalise.register_forward_pre_hook(_to_double)
    training = train(parts, context(shard=shard, tick_s=1e9 if stop < 0 else 0.0), state)
    if stop >= 0:
        events = [next(training) for _ in range(stop)]
        training.close()
        ticks = [(event.epoch, event.step) for event in events if isinstance(event, Tick)]
        return {"state": through_disk(training.state()), "ticks": ticks}
    reports(training)
    return {
        "tensors": tensors_of(parts),
        "metrics": [report.metrics for report in training.history],
        "train": [report.train for report in training.history],
        "images": training.history[-1].images,
    }


def _to_double(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].double(),)


def gathered(shard: Shard, part: Part, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None]:
    """Rows of all workers, and the gradient of their weighted sum with respect to one's own, as it comes back."""
    own = values[torch.from_numpy(part.own(shard.rank))].clone().requires_grad_()
    rows = shard.gather(own, part)
    (rows * weights).sum().backward()  # type: ignore[no-untyped-call]
    return rows.detach(), own.grad


def differentiated_twice(shard: Shard, part: Part) -> str:
    """What is said to whoever asks for the gradient of a gradient."""
    own = torch.rand(len(part.own(shard.rank)), 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(shard.gather(own, part).square().sum(), own, create_graph=True)
    try:
        gradient.sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return str(error)
    return "nothing"


def summed(
    shard: Shard, given: list[tuple[torch.dtype, list[float] | None]], first_bytes: int, bucket_bytes: int
) -> list[list[float] | None]:
    """Gradients after summing; worker r has its number times the given ones."""
    parameters = [nn.Parameter(torch.zeros(2, dtype=dtype)) for dtype, _ in given]
    sums = GradientSum(parameters, shard, first_bytes=first_bytes, bucket_bytes=bucket_bytes)
    with sums.of_backward():
        losses = [
            (parameter * torch.tensor(gradient, dtype=parameter.dtype) * shard.rank).sum().float()
            for parameter, (_, gradient) in zip(parameters, given, strict=True)
            if gradient is not None
        ]
        torch.stack(losses).sum().backward()
    return [None if parameter.grad is None else parameter.grad.tolist() for parameter in parameters]


class Chain(nn.Module):
    """Layers, one after the other."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3, bias=False, dtype=torch.float64) for _ in range(layers))

    def forward(self, values: Tensor) -> Tensor:
        for layer in self.layers:
            values = layer(values)
        return values


def order_of_sending(shard: Shard, passes: int) -> list[str]:
    """What happens in the backward pass of a chain of three layers, used so often, each a bucket of its own."""
    events: list[str] = []
    chain = Chain(3)
    values = torch.ones(2, 3, dtype=torch.float64)

    def send(real: Any, tensor: Tensor, **options: Any) -> Any:
        events.append("send")
        return real(tensor, **options)

    def note(number: int, _: nn.Module, __: object) -> None:
        events.append(f"pass {number}")

    for number, layer in enumerate(chain.layers):
        layer.register_full_backward_pre_hook(partial(note, number))
    with (
        mock.patch.object(dist, "all_reduce", partial(send, dist.all_reduce)),
        GradientSum(list(chain.parameters()), shard, first_bytes=1, bucket_bytes=1).of_backward(),
    ):
        torch.stack([chain(values.requires_grad_()).sum() for _ in range(passes)]).sum().backward()
    return events


def failed_in_backward(shard: Shard) -> str:
    """What is said when the last of all workers fails in the middle of its backward pass, and all leave their group."""
    group = dist.new_group(list(range(shard.workers)))
    assert isinstance(group, dist.ProcessGroup)
    link = Link(group)
    del group
    chain = Chain(3)
    if shard.rank == shard.workers - 1:
        chain.layers[0].register_full_backward_pre_hook(_fail)
    sums = GradientSum(list(chain.parameters()), Shard(shard.rank, shard.workers, link), first_bytes=1, bucket_bytes=1)
    try:
        with sums.of_backward():
            chain(torch.ones(2, 3, dtype=torch.float64)).sum().backward()
    except RuntimeError as error:
        link.leave()
        return str(error)
    return "nothing"


def _fail(*_: object) -> None:
    raise RuntimeError("out of memory")


def changed_twice(shard: Shard) -> str:
    """What is said when gradients are added to after they were sent."""
    chain = Chain(2)
    try:
        with GradientSum(list(chain.parameters()), shard, first_bytes=1, bucket_bytes=1).of_backward():
            for _ in range(2):
                chain(torch.ones(2, 3, dtype=torch.float64)).sum().backward()
    except RuntimeError as error:
        return str(error)
    return "nothing"


def checked(shard: Shard, values: Tensor, drift: float, loss_drift: float = 0.0) -> str:
    """What is said of weights and a loss that are off by so much on the last of the workers."""
    last = shard.rank == shard.workers - 1
    own = values + drift * last
    try:
        shard.check_alike([own, own[:1]], 2.0 + loss_drift * last)
    except RuntimeError as error:
        return str(error)
    return "alike"


def agreed(shard: Shard, number: int) -> int:
    """The number of the first worker."""
    return shard.agree(number + shard.rank, torch.device("cpu"))


def normalised(shard: Shard, layer: nn.Module, values: Tensor, weights: Tensor, bounds: list[int]) -> dict[str, Any]:
    """A batch-norm layer's outputs and gradients for one's own slice of a batch, and its buffers."""
    low, high = bounds[shard.rank], bounds[shard.rank + 1]
    own = values[low:high].clone().requires_grad_()
    with synchronised_batch_norm(layer, shard):
        outputs = layer(own)
    (outputs * weights[low:high]).sum().backward()
    return {
        "outputs": outputs.detach(),
        "inputs": own.grad,
        "parameters": [shard.sum(p.grad.clone()) for p in layer.parameters() if p.grad is not None],
        "buffers": [buffer.clone() for buffer in layer.buffers()],
    }


class TwiceOrNever(nn.Module):
    """Layers that run once, twice and never."""

    def __init__(self) -> None:
        super().__init__()
        self.once, self.twice, self.never = (nn.BatchNorm1d(4, momentum=0.3).double() for _ in range(3))
        for buffer in self.buffers():
            buffer.fill_(5)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.twice(3 + self.twice(self.once(values)))
        return found


def whole_groups(shard: Shard, module: nn.Module, groups: list[Tensor], owner: list[int]) -> list[Tensor]:
    """A module's buffers once each worker has run it, in training mode, on the groups that are its own, one by one."""
    own = [group for group, rank in zip(groups, owner, strict=True) if rank == shard.rank]
    order = (sum(rank < shard.rank for rank in owner), len(own), sum(rank > shard.rank for rank in owner))
    with joined_statistics(module, order, shard):
        for group in own:
            module(group)
        if not own:
            with evaluation_mode(module):
                module(groups[0][:0])
    return [buffer.clone() for buffer in module.buffers()]


def encoded_again(shard: Shard, part: Part) -> Tensor:
    """Features of a part by a net in training mode."""
    model = Model(TinyNet()).train()
    return encode_part(model, torch.rand(len(part.own(shard.rank)), 3, 8, 8), part, context(shard=shard))


def dropped_out(shard: Shard, part: Part) -> tuple[Tensor, Tensor]:
    """Features of samples that are all the same image by a net with dropout, and a random number drawn afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Model(TinyNet(dropout=0.5)).eval()
        model.encoder.dropout.train()  # type: ignore[union-attr]
        images = torch.ones(len(part.own(shard.rank)), 3, 8, 8)
        return encode_part(model, images, part, context(shard=shard)), torch.rand(2)


def calibration(shard: Shard) -> dict[str, float]:
    """The calibration of a toy model on 13 images, with a temperature of 7 others."""
    data, parts = toy_dataset(labelled=13, validation=7), toy_parts(toy_spec("ce"))
    with evaluation_mode(parts.model), torch.no_grad():
        found = evaluate_calibration(
            parts.model, data.packed, data.split.labelled, context(shard=shard), validation=data.split.validation
        )
    return dict(found.metrics)


def attacked(shard: Shard, **said: Any) -> dict[str, Any]:
    """What attacks leave of a toy model on 13 images; of the last worker, its own rows too."""
    parts, data = toy_parts(toy_spec()), toy_dataset(labelled=13)
    said = {"attacks": ["fgsm", {"name": "square", "queries": 5}], "eps": ["8/255", "32/255"], **said}
    small = {"median_images": 7, "median_steps": 3, "probe_images": 9}
    params = AttackParameters.model_validate({**said, **small})
    with evaluation_mode(parts.model):
        found = evaluate_attack(
            parts.model, data.packed, data.split.labelled, context(shard=shard), params=params, rows=True
        )
    rows = {name: values.tolist() for name, values in found.arrays.items() if name != "adversarial"}
    return {"metrics": dict(found.metrics), "details": dict(found.details), "rows": rows}


def attack_that_cheats(shard: Shard) -> str:
    """What is said where an attack leaves its ball on the last worker alone."""
    last = shard.rank == shard.workers - 1

    def cheat(model: Any, subjects: Subjects, threat: Any, params: Any) -> Attempt:
        images = 1 - subjects.images if last else subjects.images
        return Attempt(images, torch.zeros_like(subjects.labels, dtype=torch.bool))

    with mock.patch.object(pgd, "fgsm", cheat):
        try:
            attacked(shard, attacks=["fgsm"])
        except CheckError as error:
            return str(error)
    return "nothing"


def corruption_errors(shard: Shard, batch: int = 256) -> dict[str, Any]:
    """The errors of a toy model under three corruptions, on 13 images."""
    data, parts = toy_dataset(labelled=13), toy_parts(toy_spec("ce"))
    params = CorruptionParameters(corruptions=("gaussian_noise", "fog", "contrast"), severities=(1, 5))
    where = context(shard=shard, evaluation_batch=batch)
    with evaluation_mode(parts.model):
        found = evaluate_corruptions(parts.model, data.packed, data.split.labelled, where, params=params)
    return {**found.metrics, **found.details}


def neighbours(shard: Shard, n: int) -> dict[str, float]:
    """What nearest neighbours say of n images with a net that was not trained."""
    data, parts = toy_dataset(labelled=20, validation=n), toy_parts(toy_spec("moco_v2"))
    parts.model.eval()
    params = NeighbourParameters(k=3, bank=17)
    return evaluate_neighbours(
        parts.model, data.packed, data.split.validation, context(shard=shard), labelled=data.split.train, params=params
    )
