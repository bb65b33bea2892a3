"""DELTA: the distance of feature maps equals its formula, whatever a batch is divided into."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.crew import Crew
from support.near import assert_near
from support.sharded import training_result
from support.training import (
    CLASSES,
    TinyNet,
    assert_same_tensors,
    catalog,
    context,
    reports,
    tensors_of,
    through_disk,
    toy_parts,
    toy_spec,
)
from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.model import Model
from coretune.nets.small_resnet import SmallResNet
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.catalog.methods.regularisers import DeltaParameters
from coretune.spec.run import RunSpec, TrainSpec
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.linear_fit import fit_linear
from coretune.tuning.loop import train
from coretune.tuning.method import Examples, LossTerms, Start, Step
from coretune.tuning.methods.delta import Delta, map_distances, weights_of
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.shard import Shard
from coretune.tuning.task import Batch, Moment

torch.set_num_threads(1)
MOMENT = Moment(seed=7, epoch=1, step=2, progress=0.5)
N = 6


def build(**options: Any) -> tuple[Model, Delta]:
    """A net of two stages that has moved away from its start."""
    torch.manual_seed(0)
    encoder = SmallResNet(SmallResNetParameters(widths=(2, 3)))
    method = Delta(DeltaParameters(**options), features=3, classes=CLASSES)
    method.prepare(encoder)
    model = Model(encoder, method.classifier).double().train()
    method.double().train()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, dtype=parameter.dtype))
    return model, method


def batch(n: int = N) -> Batch:
    draws = torch.Generator().manual_seed(n)
    images = torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=draws)
    return Batch((images,), torch.arange(n) % CLASSES, torch.arange(n))


def run(model: Model, method: Delta, micro_batch: int | None = None, **recipe: int) -> LossTerms:
    train = TrainSpec(batch=24, **{"contrast_batch": 3, **recipe})
    return contrast_loss(model, batch(), method, train, MOMENT, context(micro_batch=micro_batch))


def forward(encoder: nn.Module, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The outputs of both last convolutions, and the features."""
    hidden, maps = torch.relu(encoder.norm(encoder.conv(images))), []
    for block in encoder.blocks:
        maps.append(block.conv2(torch.relu(block.norm1(block.conv1(hidden)))))
        hidden = torch.relu(block.norm2(maps[-1]) + block.shortcut(hidden))
    return maps, hidden.mean((2, 3))


def literal(model: Model, method: Delta, group: int) -> tuple[Tensor, float]:
    """The loss, attached to the graph, and the mean distance, with loops over samples and channels."""
    assert method.source is not None
    params, data = method.params, batch()
    frozen_net = SmallResNet(SmallResNetParameters(widths=(2, 3))).double().eval()
    frozen_net.load_state_dict(method.source.net.state_dict())
    distance, cross_entropy = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for start in range(0, N, group):
        images = model.normalise(data.views[0][start : start + group])
        live, features = forward(model.encoder, images)
        frozen, _ = forward(frozen_net, images)
        for i in range(len(images)):
            for here, there in zip(live, frozen, strict=True):
                for channel in range(here.shape[1]):
                    squares = (here[i, channel] - there[i, channel].detach()) ** 2
                    distance = distance + squares.sum() / here.shape[1]
            logits = model.classifier(features[i])
            cross_entropy = cross_entropy - torch.log_softmax(logits, 0)[data.labels[start + i]]
    head = sum(float(w) ** 2 for p in method.classifier.parameters() for w in p.detach().flatten()) / 2
    distance = distance / N
    total = cross_entropy / N + params.alpha * distance + params.beta * head
    return total, distance.item()


@pytest.mark.parametrize(("alpha", "beta"), [(0.01, 0.01), (0.3, 0.0), (0.0, 0.2)])
@pytest.mark.parametrize(("contrast_batch", "bn_group"), [(3, None), (6, None), (2, 3), (6, 3), (3, 6)])
def test_loss_equals_the_formula(alpha: float, beta: float, contrast_batch: int, bn_group: int | None) -> None:
    model, method = build(alpha=alpha, beta=beta)
    loss = run(model, method, contrast_batch=contrast_batch, bn_group=bn_group)
    total, distance = literal(*build(alpha=alpha, beta=beta), bn_group or contrast_batch)
    assert distance > 0
    assert loss.terms["distance"].item() == pytest.approx(distance, rel=1e-10)
    assert loss.total.item() == pytest.approx(total.item(), rel=1e-10)


@pytest.mark.parametrize("micro_batch", [None, 2, 3])
def test_gradients_equal_those_of_the_formula(micro_batch: int | None) -> None:
    model, method = build(alpha=0.3)
    run(model, method, micro_batch, bn_group=3, contrast_batch=2).total.backward()
    reference, expected = build(alpha=0.3)
    literal(reference, expected, 3)[0].backward()
    for (name, found), other in zip(model.encoder.named_parameters(), reference.encoder.parameters(), strict=True):
        torch.testing.assert_close(found.grad, other.grad, rtol=1e-9, atol=1e-11, msg=name)
    assert method.source is not None and all(parameter.grad is None for parameter in method.source.parameters())


@pytest.mark.parametrize("layers", [1, 2, 9])
def test_only_the_last_stages_count(layers: int) -> None:
    model, method = build(layers=layers)
    found = run(model, method, contrast_batch=6).terms["distance"].item()
    last = build(layers=1)
    if layers == 1:
        assert found < literal(*last, 6)[1]
    else:
        assert found == pytest.approx(literal(*last, 6)[1], rel=1e-10)


def test_an_unchanged_backbone_in_evaluation_mode_has_no_distance() -> None:
    torch.manual_seed(0)
    encoder = SmallResNet(SmallResNetParameters(widths=(2, 3)))
    method = Delta(DeltaParameters(), features=3, classes=CLASSES)
    method.prepare(encoder)
    model = Model(encoder, method.classifier).double().eval()
    assert run(model, method.double()).terms["distance"].item() == 0


def test_the_frozen_backbone_stays_as_it_was() -> None:
    model, method = build()
    assert method.source is not None
    before = {key: value.clone() for key, value in method.source.state_dict().items()}
    run(model, method).total.backward()
    assert all(torch.equal(value, before[key]) for key, value in method.source.state_dict().items())


def test_batches_follow_each_other_with_and_without_a_backward_pass() -> None:
    model, method = build()
    for micro_batch in (None, 3, 3, None):
        fresh = build()
        fresh[0].load_state_dict(model.state_dict())
        expected = run(*fresh).total.item()
        found = run(model, method, micro_batch).total
        assert found.item() == pytest.approx(expected, rel=1e-12)
        if micro_batch is not None:
            found.backward()
        model.eval()
        model.features(batch().views[0])  # as an evaluation does
        model.train()


def test_a_batch_that_was_broken_off_leaves_nothing_behind() -> None:
    model, method = build()
    method.mix(*batch().views, batch().labels, torch.Generator())
    model.features(batch(4).views[0])
    fresh, other = build()
    assert run(model, method).total.item() == pytest.approx(run(fresh, other).total.item(), rel=1e-12)


@settings(max_examples=20)
@given(n=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_map_distances_are_those_of_each_sample_alone(n: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    shapes = [(n, 2, 3, 3), (n, 5, 1, 2)]
    live = tuple(torch.randn(shape, generator=draws, dtype=torch.float64) for shape in shapes)
    frozen = tuple(torch.randn(shape, generator=draws, dtype=torch.float64) for shape in shapes)
    found = map_distances(live, frozen)
    for i in range(n):
        alone = sum(float((x[i] - y[i]).square().sum()) / x.shape[1] for x, y in zip(live, frozen, strict=True))
        assert found[i].item() == pytest.approx(alone, rel=1e-12)
    inputs = tuple(value.requires_grad_() for value in live)
    assert torch.autograd.gradcheck(lambda *given: map_distances(given, frozen), inputs)


def test_maps_of_half_precision_are_compared_in_single() -> None:
    live, frozen = (torch.full((2, 3, 4, 4), 300.0),), (torch.full((2, 3, 4, 4), 1.0),)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = map_distances(tuple(x.half() for x in live), tuple(x.half() for x in frozen))
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([16 * 299**2] * 2)


def test_the_frozen_backbone_is_that_of_the_first_session() -> None:
    _, method = build()
    torch.manual_seed(9)
    encoder = SmallResNet(SmallResNetParameters(widths=(2, 3)))
    resumed = Delta(DeltaParameters(), features=3, classes=CLASSES)
    resumed.prepare(encoder)
    resumed.double().load_state_dict(method.state_dict())
    assert method.source is not None and resumed.source is not None
    for one, other in zip(method.source.parameters(), resumed.source.parameters(), strict=True):
        assert torch.equal(one, other) and not other.requires_grad


def literal_rises(model: Model, method: Delta, images: Tensor, labels: Tensor) -> list[list[float]]:
    """How much the mean loss of a fitted classifier rises without each channel, with one forward pass for each."""
    net, normalised = model.encoder, model.normalise(images)
    fitted = fit_linear(net(normalised), labels, CLASSES)

    def loss() -> float:
        return float(nn.functional.cross_entropy(fitted(net(normalised).double()), labels))

    plain, rises = loss(), []
    for block in net.blocks:
        rises.append([])
        for channel in range(block.conv2.out_channels):
            kept = block.conv2.weight[channel].clone()
            block.conv2.weight[channel] = 0  # as the authors' script does; there is no bias
            rises[-1].append(loss() - plain)
            block.conv2.weight[channel] = kept
    return rises


def begun(method: Delta, model: Model, images: Tensor, labels: Tensor, rows: int, seed: int = 0) -> int:
    """Lets a method look at images; returns how often it gave a sign of life."""

    def batches(chosen: Tensor) -> Iterator[Tensor]:
        yield from torch.split(images[chosen], rows)

    start = Start(model.encoder, model.features, Examples(labels, batches, rows), torch.Generator().manual_seed(seed))
    with evaluation_mode(model, method):
        return sum(1 for _ in method.begin(start))


@torch.no_grad()
@pytest.mark.parametrize("weighting", ["ablation", "ablation_released"])
@pytest.mark.parametrize(("rows", "chunk"), [(4, 64), (3, 2), (100, 64)])
def test_channels_are_weighted_by_what_their_loss_costs(
    weighting: str, rows: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coretune.tuning.methods.delta.CHUNK", chunk)
    model, method = build(weighting=weighting)
    images, labels = batch(12).views[0], torch.arange(12) % CLASSES
    model.features(images)
    model.eval()
    rises = literal_rises(model, method, images, labels)
    assert begun(method, model, images, labels, rows) > 2
    expected = []
    for layer in rises:
        if weighting == "ablation_released":
            spread = np.std(layer)
            layer = [(rise - np.mean(layer)) / spread / 5 for rise in layer]
        mass = sum(math.exp(rise) for rise in layer)
        expected += [math.exp(rise) / mass for rise in layer]
    assert method.channel_weights.tolist() == pytest.approx(expected, rel=1e-5)
    assert method.channel_weights[:2].tolist() != pytest.approx([1 / 2, 1 / 2], rel=1e-4)


@torch.no_grad()
def test_a_sample_of_the_images_weighs_and_its_draw_is_its_own() -> None:
    images, labels = batch(12).views[0], torch.arange(12) % CLASSES
    found = []
    for size, seed in ((4, 0), (4, 0), (4, 1), (12, 0), (99, 0)):
        model, method = build(weighting="ablation", ablation_images=size)
        state = torch.get_rng_state()
        begun(method, model.eval(), images, labels, 5, seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(method.channel_weights.clone())
    assert torch.equal(found[0], found[1]) and torch.equal(found[3], found[4])
    assert not torch.equal(found[0], found[2]) and not torch.equal(found[0], found[3])


def test_the_distance_is_weighted_by_channel() -> None:
    model, method = build(weighting="ablation")
    plain, other = build()
    expected = run(plain, other).terms["distance"].item()
    assert run(model, method).terms["distance"].item() == pytest.approx(expected, rel=1e-6), "equal before `begin`"
    weights = torch.tensor([0.9, 0.1, 0.2, 0.3, 0.5], dtype=torch.float64)
    method.channel_weights.copy_(weights)
    maps = tuple(torch.randn(2, channels, 3, 3, dtype=torch.float64) for channels in (2, 3))
    zero = tuple(torch.zeros_like(values) for values in maps)
    found = map_distances(maps, zero, torch.split(weights, [2, 3]))
    for i in range(2):
        total, place = 0.0, 0
        for values in maps:
            for channel in range(values.shape[1]):
                total += weights[place].item() * float(values[i, channel].square().sum())
                place += 1
        assert found[i].item() == pytest.approx(total, rel=1e-12)
    assert run(model, method).terms["distance"].item() != pytest.approx(expected, rel=1e-3)


def test_weights_of_channels_that_all_cost_the_same_are_equal() -> None:
    for released in (False, True):
        assert weights_of(torch.full((4,), 0.3), released).tolist() == pytest.approx([0.25] * 4)
        assert weights_of(torch.tensor([2.0]), released).tolist() == [1.0]


def ablated_spec(**recipe: Any) -> RunSpec:
    params = {"weighting": "ablation_released", "ablation_images": 7}
    return toy_spec("delta", params=params, weight_decay=0.0, **recipe)


def test_a_training_weighs_channels_before_its_first_step_and_resumes_exactly() -> None:
    often = {"tick_s": 0, "evaluation_batch": 14}
    whole = toy_parts(ablated_spec())
    training = train(whole, context(evaluation_batch=14))
    reports(training)
    weights = tensors_of(whole)["method.channel_weights"]
    assert weights.sum().item() == pytest.approx(1) and weights.max() > weights.min() + 0.01
    steps = whole.task.steps()
    events = sum(1 for _ in train(toy_parts(ablated_spec()), context(**often)))
    looked = events - 3 * steps
    assert looked >= 3, "signs of life while it looks"
    for stop in range(1, events):
        stopped = train(toy_parts(ablated_spec()), context(**often))
        for _ in range(stop):
            next(stopped)
        parts = toy_parts(ablated_spec())
        state = through_disk(stopped.state())
        if stop > looked:
            parts.method.begin = lambda start: pytest.fail("it looks again")  # type: ignore[assignment, method-assign]
        resumed = train(parts, context(evaluation_batch=14), state)
        reports(resumed)
        assert_same_tensors(tensors_of(parts), tensors_of(whole))


def test_looking_first_moves_no_draw() -> None:
    seen: list[list[Tensor]] = []
    for weighting in ("none", "ablation"):
        parts = toy_parts(toy_spec("delta", params={"weighting": weighting}))
        training = train(parts, context(tick_s=0))
        original, images = parts.method.loss, []

        def spy(step: Step, original: Any = original, images: list[Tensor] = images) -> LossTerms:
            images.append(step.views[0].clone())
            return original(step)  # type: ignore[no-any-return]

        parts.method.loss = spy  # type: ignore[method-assign]
        reports(training)
        seen.append(images)
    assert len(seen[0]) == len(seen[1]) > 3
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))


def test_several_workers_weigh_alike(crew: Crew) -> None:
    described = ablated_spec(epochs=2)
    alone = training_result(Shard(), described, 19, torch.float64)
    for found in crew.run(3, training_result, described, 19, torch.float64):
        assert_near(found, alone, rtol=1e-6, atol=1e-8)


def test_a_heavy_penalty_keeps_the_maps() -> None:
    distances = []
    for alpha in (0.0, 0.05):
        parts = toy_parts(toy_spec("delta", params={"alpha": alpha}), dtype=torch.float64)
        data = Batch((batch(12).views[0],), torch.arange(12) % CLASSES, torch.arange(12))
        optimizer = torch.optim.SGD([*parts.model.parameters()], lr=0.02)
        for _ in range(30):
            loss = contrast_loss(parts.model, data, parts.method, parts.train, MOMENT, context())
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
        distances.append(loss.terms["distance"].item())
    assert distances[1] < 0.5 * distances[0]


def test_the_recipe() -> None:
    assert catalog().get("method", "delta").train == {"weight_decay": 0.0}
    assert not Delta.compilable


def test_loss_without_an_encoder() -> None:
    with pytest.raises(RuntimeError, match=r"before Delta.prepare\(encoder\)"):
        Delta(DeltaParameters(), features=3, classes=2).loss(step(torch.zeros(2, 3)))


def test_loss_without_encoding() -> None:
    method = Delta(DeltaParameters(), features=6, classes=2)
    method.prepare(TinyNet())
    with pytest.raises(RuntimeError, match="feature maps of 2 more samples are needed"):
        method.loss(replace(step(torch.zeros(2, 6)), views=(torch.zeros(2, 3, 8, 8),)))


def test_an_encoder_without_feature_maps_is_refused() -> None:
    with pytest.raises(RequestError, match="no layer that puts out feature maps"):
        Delta(DeltaParameters(), features=2, classes=2).prepare(nn.Sequential(nn.Flatten(), nn.Linear(12288, 2)))


def step(features: Tensor) -> Step:
    labels = torch.zeros(len(features), dtype=torch.int64)
    return Step(features, labels, (), None, torch.Generator().manual_seed(0), epoch=0, progress=0.0)
