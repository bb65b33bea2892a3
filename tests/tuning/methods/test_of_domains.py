"""CORAL, GroupDRO and IRM: each is its equation, written out slowly, and needs domains."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.spec.catalog.methods.domains import COMPONENTS, CoralParameters, GroupDroParameters, IrmParameters
from coretune.spec.components import needs_domains
from coretune.tuning.domain_means import domain_means, memberships
from coretune.tuning.method import Step
from coretune.tuning.methods.coral import Coral, misalignment
from coretune.tuning.methods.group_dro import GroupDro
from coretune.tuning.methods.irm import Irm, full_penalty_from, invariance
from coretune.tuning.methods.of_domains import OfDomains

torch.set_num_threads(1)

METHODS: list[tuple[type[OfDomains], Any]] = [
    (Coral, CoralParameters()),
    (GroupDro, GroupDroParameters()),
    (Irm, IrmParameters()),
]


def made(kind: type[OfDomains], params: Any, domains: int = 3) -> Any:
    torch.manual_seed(0)
    method = kind(params, features=4, classes=3)
    method.tell_domains(domains)
    return method.double()


def step(n: int, domains: int = 3, seed: int = 0) -> Step:
    draws = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 4, generator=draws, dtype=torch.float64)
    labels, domain = (torch.randint(high, (n,), generator=draws) for high in (3, domains))
    return Step(features, labels, (), None, draws, epoch=0, progress=0.0, domain=domain)  # type: ignore[arg-type]


def by_domain(method: OfDomains, at: Step) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    """Features, logits and labels of each domain that is there."""
    logits = at.features @ method.classifier.weight.T + method.classifier.bias
    assert at.domain is not None
    rows = {one: [i for i, its in enumerate(at.domain.tolist()) if its == one] for one in range(method.domains)}
    return {one: (at.features[own], logits[own], at.labels[own]) for one, own in rows.items() if own}


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    rows = zip(logits.detach(), labels, strict=True)
    return float(sum(-torch.log_softmax(z, 0)[y] for z, y in rows) / len(labels))


sizes = st.integers(1, 12)
seeds = st.integers(0, 10**6)


@settings(max_examples=50)
@given(n=sizes, domains=st.integers(1, 4), seed=seeds)
def test_coral_equals_its_equation(n: int, domains: int, seed: int) -> None:
    method, at = made(Coral, CoralParameters(gamma=0.7), domains), step(n, domains, seed)
    found, there = method.loss(at), by_domain(method, at)
    cross_entropy = np.mean([mean_loss(logits, labels) for _, logits, labels in there.values()])
    usable = [features.detach().numpy() for features, _, _ in there.values() if len(features) > 1]
    distances = []
    for i, one in enumerate(usable):
        for other in usable[i + 1 :]:
            gap, turn = one.mean(0) - other.mean(0), np.cov(one.T, ddof=1) - np.cov(other.T, ddof=1)
            distances.append((gap**2).mean() + (turn**2).mean())
    penalty = np.mean(distances) if distances else 0.0
    assert found.terms["cross_entropy"].item() == pytest.approx(cross_entropy)
    assert found.terms["alignment"].item() == pytest.approx(penalty)
    assert found.total.item() == pytest.approx(cross_entropy + 0.7 * penalty)


@settings(max_examples=50)
@given(n=sizes, domains=st.integers(1, 4), seed=seeds, eta=st.sampled_from([0.0, 0.01, 1.0]))
def test_group_dro_equals_its_algorithm_over_several_steps(n: int, domains: int, seed: int, eta: float) -> None:
    method = made(GroupDro, GroupDroParameters(eta=eta), domains)
    q = [1.0 / domains] * domains
    for number in range(3):
        at = step(n, domains, seed + number)
        losses = {one: mean_loss(logits, labels) for one, (_, logits, labels) in by_domain(method, at).items()}
        q = [weight * math.exp(eta * losses.get(one, 0.0)) for one, weight in enumerate(q)]
        q = [weight / sum(q) for weight in q]
        there = sum(q[one] for one in losses)
        found = method.loss(at)
        assert method.q.tolist() == pytest.approx(q)
        assert found.total.item() == pytest.approx(sum(q[one] * loss / there for one, loss in losses.items()))
        assert found.terms["cross_entropy"].item() == pytest.approx(np.mean(list(losses.values())))
        assert found.terms["largest_weight"].item() == pytest.approx(max(q))


@settings(max_examples=50)
@given(n=sizes, domains=st.integers(1, 4), seed=seeds)
def test_irm_equals_its_equation_by_autograd(n: int, domains: int, seed: int) -> None:
    method, at = made(Irm, IrmParameters(penalty=5.0, anneal=0.5), domains), step(n, domains, seed)
    there, penalties = by_domain(method, at), []
    for _, logits, labels in there.values():
        if len(labels) < 2:
            continue
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        halves = [F.cross_entropy(logits[half::2].detach() * scale, labels[half::2]) for half in (0, 1)]
        one, other = (torch.autograd.grad(loss, scale)[0] for loss in halves)
        penalties.append(float(one * other))
    cross_entropy = np.mean([mean_loss(logits, labels) for _, logits, labels in there.values()])
    penalty = np.mean(penalties) if penalties else 0.0
    for epoch, weight in ((0, 1.0), (4, 1.0), (5, 5.0)):
        method.start_epoch(epoch, 10, at.generator)
        found = method.loss(at)
        assert found.terms["invariance"].item() == pytest.approx(penalty)
        assert found.total.item() == pytest.approx((cross_entropy + weight * penalty) / weight)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_gradients(number: int) -> None:
    at = step(8, number)
    assert at.domain is not None
    members = memberships(at.domain, number)
    features = at.features.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: misalignment(x, members), features)
    logits = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: invariance(z, at.labels, members), logits)
    method = made(GroupDro, GroupDroParameters(), number)
    weights = method.q.clone()

    def loss(x: Tensor) -> Tensor:
        method.q.copy_(weights)
        total: Tensor = method.loss(replace(at, features=x)).total
        return total

    # No gradient flows through q; at η = 0 it does not move, and the check is exact.
    method.eta = 0.0
    assert torch.autograd.gradcheck(loss, features)


def test_group_dro_moves_towards_the_domain_that_is_learned_worst() -> None:
    method, at = made(GroupDro, GroupDroParameters(eta=1.0)), step(30)
    losses = {one: mean_loss(logits, labels) for one, (_, logits, labels) in by_domain(method, at).items()}
    for _ in range(50):
        method.loss(at)
    assert int(method.q.argmax()) == max(losses, key=lambda one: losses[one])


@settings(max_examples=20)
@given(seed=seeds)
def test_the_same_samples_in_every_domain_are_aligned_and_cost_nothing(seed: int) -> None:
    at = step(6, 1, seed)
    twice = replace(
        at,
        features=at.features.repeat(2, 1),
        labels=at.labels.repeat(2),
        domain=torch.arange(2).repeat_interleave(6),
    )
    coral = made(Coral, CoralParameters(), 2).loss(twice)
    assert coral.terms["alignment"].item() == pytest.approx(0.0, abs=1e-12)
    plain = made(Coral, CoralParameters(), 1).loss(at)
    assert coral.terms["cross_entropy"].item() == pytest.approx(plain.terms["cross_entropy"].item())


def test_the_penalty_of_irm_jumps_once_and_the_optimiser_forgets_then() -> None:
    method = made(Irm, IrmParameters(penalty=7.0, anneal=0.25))
    encoder = torch.nn.Linear(2, 2)
    method.prepare(encoder)
    forgotten, weights = [], []
    for epoch in range(8):
        forgotten.append(len(list(method.start_epoch(epoch, 8, torch.Generator()))))
        weights.append(float(method.weight))
    assert weights == [1.0] * 2 + [7.0] * 6
    assert forgotten == [0, 0, 4, 0, 0, 0, 0, 0], "encoder and classifier: two parameters each"
    assert "encoder" not in dict(method.named_modules())
    assert [full_penalty_from(anneal, 10) for anneal in (0.0, 0.05, 0.1, 1.0)] == [0, 1, 1, 10]


@pytest.mark.parametrize(
    ("kind", "params", "enough", "why"),
    [
        (Coral, CoralParameters(), 2, "no two domains had two images: nothing was aligned"),
        (Irm, IrmParameters(), 1, "no domain had two images: there was no penalty"),
    ],
)
def test_contrast_batches_in_which_nothing_is_compared_are_counted_and_said(
    kind: type[OfDomains], params: Any, enough: int, why: str
) -> None:
    method, missed = made(kind, params), 0
    total = dict.fromkeys(("contrast_batches", "contrast_batches_left_out"), 0)
    for seed in range(40):
        at = step(4, seed=seed)
        assert at.domain is not None
        missed += sum(at.domain.tolist().count(one) >= 2 for one in range(3)) < enough
        for name, count in method.loss(at).counts.items():
            total[name] += int(count)
    assert total == {"contrast_batches": 40, "contrast_batches_left_out": missed}
    assert method.notes(total) == ([f"in {missed} of 40 contrast batches {why}"] if missed else [])
    few = method.loss(step(1)).counts
    assert method.notes({name: int(count) for name, count in few.items()}) == [f"in 1 of 1 contrast batches {why}"]


def test_the_division_of_irm_leaves_sgd_a_part_of_the_step_and_is_said_where_it_is_listed() -> None:
    method, at = made(Irm, IrmParameters(penalty=100.0, anneal=0.5)), step(12)
    method.start_epoch(9, 10, at.generator)
    (found,) = torch.autograd.grad(method.loss(at).total, method.classifier.weight)
    logits, losses = method.losses(at)
    members = memberships(at.domain, 3)
    by_hand = domain_means(losses, members).over_domains() / 100 + invariance(logits, at.labels, members)
    (expected,) = torch.autograd.grad(by_hand, method.classifier.weight)
    assert torch.allclose(found, expected)
    (listed,) = (each for each in COMPONENTS if each.name == "irm")
    assert "divided by the penalty's weight" in listed.source
    assert "1/λ of lr" in str(IrmParameters.model_fields["penalty"].description)


@pytest.mark.parametrize(("kind", "params"), METHODS)
def test_data_without_domains_are_refused(kind: type[OfDomains], params: Any) -> None:
    assert needs_domains(params)
    with pytest.raises(ValueError, match=f"the domain of each sample.*{kind.__name__}"):
        made(kind, params).loss(replace(step(4), domain=None))
