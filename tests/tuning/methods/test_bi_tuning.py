"""Bi-tuning: both contrasts by loops, the queue of each class, momentum, where gradients go, the state."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coretune.spec.catalog.methods.contrast import BiTuningParameters
from coretune.tuning.method import Step
from coretune.tuning.methods.bi_tuning import BiTuning

torch.set_num_threads(1)

Encode = Callable[[Tensor], Tensor]
CLASSES = 3
TERMS = ("cross_entropy", "classifier_contrast", "category_contrast")


def make(seed: int = 0, **options: Any) -> tuple[BiTuning, nn.Module, Encode]:
    """A method in double precision, its encoder, and the encoder behind a normalisation, as a model has it."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    params = BiTuningParameters(**{"queue": 2, "momentum": 0.9, "temperature": 0.3, "projection_dim": 4, **options})
    method = BiTuning(params, features=5, classes=CLASSES)
    method.prepare(encoder)
    disturb(method.key_encoder)
    disturb(method.key_projector)
    return method.double(), encoder.double(), lambda images: encoder((images - 0.4) / 0.2)


def make_step(encode: Encode, labels: list[int], seed: int = 1) -> Step:
    draws = torch.Generator().manual_seed(seed)
    views = tuple(torch.rand(2, len(labels), 3, 6, 6, generator=draws, dtype=torch.float64).unbind())
    return Step(encode(views[0]), torch.tensor(labels), views, encode, draws, epoch=0, progress=0.0)


def disturb(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def unit(vector: Tensor) -> list[float]:
    return (vector / vector.norm()).tolist()


def expected_keys(method: BiTuning, images: Tensor) -> tuple[list[list[float]], list[list[float]]]:
    """Keys h and z by copies of the key networks, so that no statistics of batch norm are touched."""
    encoder, projector = copy.deepcopy(method.key_encoder.net), copy.deepcopy(method.key_projector)
    features = encoder((images - 0.4) / 0.2).detach()
    hidden = [unit(torch.cat([row, torch.ones(1, dtype=row.dtype)])) for row in features]
    return hidden, projector(features).tolist()


def contrast(anchor: list[float], positives: list[list[float]], others: list[list[float]], temperature: float) -> float:
    """The mean over positives of −log softmax among positives and others."""
    scores = [
        math.exp(sum(a * b for a, b in zip(anchor, key, strict=True)) / temperature) for key in positives + others
    ]
    return -sum(math.log(score / sum(scores)) for score in scores[: len(positives)]) / len(positives)


def literal(method: BiTuning, step: Step, queues: list[deque[tuple[list[float], list[float]]]]) -> list[float]:
    """The three terms with loops over samples, classes and keys; `queues` has the keys (h, z) of each class."""
    n, temperature = len(step.labels), method.params.temperature
    weights = torch.cat([method.classifier.weight, method.classifier.bias[:, None]], dim=1).detach()
    queries = method.projector(step.features).tolist()
    _, keys = expected_keys(method, step.views[1])
    found = [0.0, 0.0, 0.0]
    for i, label in enumerate(step.labels.tolist()):
        logits = (method.classifier.weight @ step.features[i] + method.classifier.bias).tolist()
        hidden = unit(torch.cat([step.features[i].detach(), torch.ones(1, dtype=torch.float64)]))
        own = ([hidden, *(h for h, _ in queues[label])], [keys[i], *(z for _, z in queues[label])])
        others = [key for other, queue in enumerate(queues) if other != label for key in queue]
        found[0] += math.log(sum(math.exp(value) for value in logits)) - logits[label]
        found[1] += contrast(unit(weights[label]), own[0], [h for h, _ in others], temperature)
        found[2] += contrast(queries[i], own[1], [z for _, z in others], temperature)
    return [value / n for value in found]


@given(
    st.integers(1, 4),
    st.lists(st.lists(st.integers(0, CLASSES - 1), min_size=2, max_size=6), min_size=1, max_size=4),
    st.integers(0, 10**6),
)
@settings(max_examples=30)
def test_losses_and_queue_equal_loops(size: int, batches: list[list[int]], seed: int) -> None:
    """From the empty queue on, with fewer and with more samples of a class than it holds."""
    method, _, encode = make(queue=size, eta=0.7, seed=seed)
    queues: list[deque[tuple[list[float], list[float]]]] = [deque(maxlen=size) for _ in range(CLASSES)]
    for number, labels in enumerate(batches):
        step = make_step(encode, labels, seed + number)
        expected = literal(method, step, queues)
        for label, *key in zip(labels, *expected_keys(method, step.views[1]), strict=True):
            queues[label].append((key[0], key[1]))
        loss = method.loss(step)
        assert [loss.terms[name].item() for name in TERMS] == pytest.approx(expected, abs=1e-10)
        assert loss.total.item() == pytest.approx(expected[0] + 0.7 * (expected[1] + expected[2]), abs=1e-10)
    counts = [sum(labels.count(label) for labels in batches) for label in range(CLASSES)]
    assert method.enqueued.tolist() == counts
    for label, queue in enumerate(queues):
        oldest = counts[label] % size if len(queue) == size else 0
        rows = [label * size + (oldest + k) % size for k in range(len(queue))]
        torch.testing.assert_close(method.hidden_keys[rows].tolist(), [h for h, _ in queue], rtol=0, atol=1e-12)
        torch.testing.assert_close(method.projected_keys[rows].tolist(), [z for _, z in queue], rtol=0, atol=1e-12)


def test_with_an_empty_queue_both_contrasts_are_zero() -> None:
    method, _, encode = make()
    loss = method.loss(make_step(encode, [0, 1, 0, 2]))
    assert loss.terms["classifier_contrast"].item() == loss.terms["category_contrast"].item() == 0
    assert loss.total.item() == loss.terms["cross_entropy"].item()


def filled(**options: Any) -> tuple[BiTuning, nn.Module, Encode]:
    method, encoder, encode = make(**options)
    method.loss(make_step(encode, [0, 1, 0, 2], seed=9))
    return method, encoder, encode


def test_gradients_reach_queries_and_classifier_and_never_a_key() -> None:
    method, encoder, encode = filled()
    method.loss(make_step(encode, [0, 1, 0, 2])).total.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder[0].parameters() if p.ndim > 1)
    assert all(p.grad is not None and bool(p.grad.any()) for p in method.projector.parameters())
    for module in (method.key_encoder, method.key_projector):
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    trained = {name.split(".")[0] for name, p in method.named_parameters() if p.requires_grad}
    assert trained == {"classifier", "projector"}


def test_the_classifier_learns_from_its_contrast() -> None:
    found = []
    for eta in (0.0, 5.0):
        method, _, encode = filled(eta=eta)
        method.loss(make_step(encode, [0, 1, 0, 2])).total.backward()
        found.append(method.classifier.weight.grad)
    assert not torch.allclose(*found)


def test_gradient() -> None:
    method, _, encode = filled(eta=0.5)
    method.eval()  # so that the queue stays as it is
    at = make_step(encode, [0, 1, 0, 2, 2])

    def total(features: Tensor, weight: Tensor) -> Tensor:
        step = Step(features, at.labels, at.views, encode, at.generator, epoch=0, progress=0.0)
        given = {"classifier.weight": weight}
        found = torch.func.functional_call(Total(method), {f"method.{k}": v for k, v in given.items()}, (step,))
        assert isinstance(found, Tensor)
        return found

    weight = method.classifier.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (at.features.detach().requires_grad_(), weight))


class Total(nn.Module):
    """The total of a method's loss, as a module whose weights can be replaced."""

    def __init__(self, method: BiTuning) -> None:
        super().__init__()
        self.method = method

    def forward(self, step: Step) -> Tensor:
        return self.method.loss(step).total


def test_momentum_update_is_exact() -> None:
    method, encoder, _ = make(momentum=0.9)
    pairs = ((encoder, method.key_encoder.net), (method.projector, method.key_projector))
    before = [[p.clone() for p in key.parameters()] for _, key in pairs]
    method.after_step(encoder)
    for (trained, key), old in zip(pairs, before, strict=True):
        for new, now, was in zip(trained.parameters(), key.parameters(), old, strict=True):
            assert torch.allclose(now, 0.9 * was + 0.1 * new, atol=1e-12)
            assert not torch.equal(now, was)


def test_evaluation_leaves_the_queue_alone() -> None:
    method, _, encode = filled()
    method.eval()
    before = copy.deepcopy(method.state_dict())
    method.loss(make_step(encode, [0, 1, 0, 2]))
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_keys_leave_the_encoder_alone() -> None:
    method, encoder, encode = make()
    step = make_step(encode, [0, 1, 0])
    before = copy.deepcopy(encoder.state_dict())
    method.loss(step)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert int(method.key_encoder.net[1].num_batches_tracked) == 1


def run(method: BiTuning, encoder: nn.Module, encode: Encode, steps: range) -> None:
    trained = [p for p in [*encoder.parameters(), *method.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for number in steps:
        loss = method.loss(make_step(encode, [number % CLASSES, 1, 2, 1], seed=number))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        method.after_step(encoder)


def test_state_goes_on_exactly() -> None:
    method, encoder, encode = make()
    run(method, encoder, encode, range(3))
    state = copy.deepcopy((method.state_dict(), encoder.state_dict()))
    run(method, encoder, encode, range(3, 6))
    again, other, encode_other = make(seed=1)
    again.load_state_dict(state[0])
    other.load_state_dict(state[1])
    run(again, other, encode_other, range(3, 6))
    for name, value in method.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert {"hidden_keys", "projected_keys", "enqueued", "key_encoder.net.0.weight"} <= set(state[0])


def test_both_contrasts_fall() -> None:
    method, encoder, encode = make(queue=8, momentum=0.5, eta=1.0)
    trained = [p for p in [*encoder.parameters(), *method.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.9)
    draws = torch.Generator().manual_seed(0)
    colours = torch.eye(3, dtype=torch.float64)
    history: list[list[float]] = []
    for _ in range(60):
        labels = torch.randint(CLASSES, (12,), generator=draws)
        images = colours[labels][:, :, None, None].expand(-1, -1, 6, 6)
        noise = 0.1 * torch.randn(2, 12, 3, 6, 6, generator=draws, dtype=torch.float64)
        views = tuple((images + noise).unbind())
        loss = method.loss(Step(encode(views[0]), labels, views, encode, draws, epoch=0, progress=0.0))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        method.after_step(encoder)
        history.append([loss.terms[name].item() for name in TERMS])
    full = torch.tensor(history[6:10]).mean(dim=0)
    last = torch.tensor(history[-4:]).mean(dim=0)
    least = math.log(9)  # of nine positives, the own entry and eight keys, each has at most a ninth
    assert bool((last[1:] - least < 0.7 * (full[1:] - least)).all()) and bool((last[1:] >= least).all())
    assert float(last[0]) < 0.3


def test_the_last_key_of_a_place_stays_in_whatever_order_places_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU writes the rows of one index in no particular order."""
    labels = [1, 1, 2, 1, 1, 1]
    expected, _, encode = make(queue=2)
    expected.loss(make_step(encode, labels))
    write = Tensor.index_copy_
    monkeypatch.setattr(Tensor, "index_copy_", lambda self, dim, i, x: write(self, dim, i.flip(0), x.flip(0)))
    found, _, encode = make(queue=2)
    found.loss(make_step(encode, labels))
    assert torch.equal(found.hidden_keys, expected.hidden_keys)
    assert torch.equal(found.projected_keys, expected.projected_keys)


def test_losses_are_float32_under_autocast() -> None:
    method, encoder, encode = filled()
    views = tuple(view.float() for view in make_step(encode, [0, 1, 0, 2]).views)
    method, encoder = method.float().eval(), encoder.float().eval()
    features = encode(views[0]).detach()
    step = Step(features, torch.tensor([0, 1, 0, 2]), views, encode, torch.Generator(), epoch=0, progress=0.0)
    full = method.loss(step).terms
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = method.loss(step).terms
    for name in TERMS:
        assert cast[name].dtype == torch.float32
        assert cast[name].item() == pytest.approx(full[name].item(), rel=0.05)
    # No layer stands between these features and the contrast, so nothing of it may be rounded.
    assert cast["classifier_contrast"].item() == pytest.approx(full["classifier_contrast"].item(), rel=1e-6)
    assert method.hidden_keys.dtype == torch.float32


def test_a_nan_reaches_the_loss() -> None:
    method, _, encode = filled()
    step = make_step(encode, [0, 1, 0, 2])
    features = step.features.detach().clone()
    features[0, 0] = math.nan
    loss = method.loss(Step(features, step.labels, step.views, encode, step.generator, epoch=0, progress=0.0))
    assert loss.total.isnan()


def test_keys_are_unit_vectors() -> None:
    method, _, _ = filled()
    rows = [0, 1, 2, 4]
    for keys in (method.hidden_keys, method.projected_keys):
        assert torch.allclose(keys[rows].norm(dim=1), torch.ones(4, dtype=torch.float64))
        assert not keys[[3, 5]].any()
    assert method.views == 2


def test_unprepared() -> None:
    method = BiTuning(BiTuningParameters(projection_dim=4), features=5, classes=CLASSES)
    step = Step(torch.rand(2, 5), torch.tensor([0, 1]), (), F.relu, torch.Generator(), epoch=0, progress=0.0)
    with pytest.raises(RuntimeError, match=r"BiTuning.loss before BiTuning.prepare"):
        method.loss(step)


@pytest.mark.parametrize(
    "wrong", [{"eta": -1}, {"temperature": 0}, {"momentum": 1}, {"queue": 0}, {"projection_dim": 1}], ids=str
)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BiTuningParameters(**wrong)
