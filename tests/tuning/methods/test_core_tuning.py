"""Core-tuning as a method: its loss is what the functions say, and it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.spec.catalog.methods.core_tuning import CoreTuningParameters, MixtureParameters
from coretune.spec.components import needs_domains
from coretune.tuning.losses import focal_contrastive
from coretune.tuning.method import Step
from coretune.tuning.methods.core_tuning import CoreTuning
from coretune.tuning.methods.mixture_ce import MixtureCE
from coretune.tuning.mixup import hard_pairs

torch.set_num_threads(1)


def make(features: int = 6, classes: int = 3, seed: int = 0, **options: Any) -> CoreTuning:
    torch.manual_seed(seed)
    params = CoreTuningParameters(projection_dim=4, **options)
    return CoreTuning(params, features=features, classes=classes)


def step(features: Tensor, labels: Tensor, seed: int = 5) -> Step:
    return Step(features, labels, (), None, torch.Generator().manual_seed(seed), epoch=0, progress=0.0)


def sample(n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=generator, dtype=dtype), torch.randint(3, (n,), generator=generator)


def literal(method: CoreTuning, features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Both terms for `scope: own`, with loops over samples, from the paper's definition of P_i and A_i."""
    params, n = method.params, len(labels)
    pairs = hard_pairs(
        features,
        labels,
        3,
        alpha=params.alpha,
        generator=torch.Generator().manual_seed(5),
        negative_floor=params.negative_floor,
        positive_floor=params.positive_floor,
        mining=params.mining,
    )
    log_q = torch.log_softmax(pairs.features @ method.classifier.weight.T + method.classifier.bias, dim=1)
    cross_entropy = -float((pairs.targets * log_q).sum().detach()) / (3 * n)
    first, _, second = method.projector.layers
    z = torch.relu(pairs.features @ first.weight.T + first.bias) @ second.weight.T + second.bias
    z = (z / z.norm(dim=1, keepdim=True)).detach()
    total, anchors = 0.0, 0
    several = len(set(labels.tolist())) > 1
    for i in range(n):
        same = [j for j in range(n) if j != i and labels[j] == labels[i]]
        if not same:
            continue
        anchors += 1
        own = [2 * n + i, n + i] if several else []
        seen = [j for j in range(n) if j != i] + own
        mass = sum(math.exp(float(z[i] @ z[k]) / params.temperature) for k in seen)
        inner, weights = 0.0, 0.0
        for k in same + own[:1]:
            p = math.exp(float(z[i] @ z[k]) / params.temperature) / mass
            weight = float(pairs.positive_mix[i]) if params.positive_weight == "lambda" and k >= n else 1.0
            inner += weight * (1 - p) ** params.gamma * math.log(p)
            weights += weight
        total -= inner / weights
    return cross_entropy, total / anchors if anchors else 0.0


@given(
    st.integers(1, 9),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from(["one", "lambda"]),
    st.sampled_from(["hard", "random"]),
)
@settings(max_examples=70)
def test_loss_equals_the_paper(n: int, seed: int, gamma: float, floor: float, weight: str, mining: str) -> None:
    options = {"gamma": gamma, "positive_floor": floor, "positive_weight": weight, "mining": mining}
    method = make(eta=0.7, temperature=0.3, **options).double()
    features, labels = sample(n, seed)
    loss = method.loss(step(features, labels))
    cross_entropy, contrastive = literal(method, features, labels)
    assert loss.terms["cross_entropy"].item() == pytest.approx(cross_entropy, abs=1e-11)
    assert loss.terms["contrastive"].item() == pytest.approx(contrastive, abs=1e-11)
    assert loss.total.item() == pytest.approx(cross_entropy + 0.7 * contrastive, abs=1e-11)
    alone = sum(int((labels == label).sum()) == 1 for label in labels)
    assert loss.counts["anchors_without_positive"].item() == alone


@pytest.mark.parametrize("scope", ["own", "other_class", "all"])
def test_gradient(scope: str) -> None:
    method = make(eta=0.5, temperature=0.4, scope=scope).double()
    features, labels = sample(7, 3)
    assert torch.autograd.gradcheck(lambda x: method.loss(step(x, labels)).total, (features.requires_grad_(),))


def test_scopes_see_more_and_more() -> None:
    features, labels = sample(12, 1)
    own, other, everything = (
        make(eta=1.0, scope=scope, gamma=0.0).double().loss(step(features, labels)).terms["contrastive"].item()
        for scope in ("own", "other_class", "all")
    )
    assert own < other
    assert everything not in (own, other)


def test_eta_zero_is_cross_entropy_on_the_mixtures() -> None:
    method = make(eta=0.0).double()
    features, labels = sample(8)
    features.requires_grad_()
    loss = method.loss(step(features, labels))
    assert loss.total.item() == pytest.approx(literal(method, features.detach(), labels)[0], abs=1e-12)
    assert loss.terms["contrastive"].item() == 0
    loss.total.backward()
    assert features.grad is not None and bool((features.grad != 0).any())
    assert all(parameter.grad is None for parameter in method.projector.parameters())


def test_every_parameter_gets_a_gradient() -> None:
    method = make(eta=0.5)
    features, labels = sample(8, dtype=torch.float32)
    method.loss(step(features, labels)).total.backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in method.parameters())


def test_draws_come_from_the_step_alone() -> None:
    method = make()
    features, labels = sample(8, dtype=torch.float32)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = method.loss(step(features, labels)).total
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(method.loss(step(features, labels)).total, first)
    assert not torch.equal(method.loss(step(features, labels, seed=6)).total, first)


@pytest.mark.parametrize("labels", [[0], [1, 1, 1], [0, 1, 2]])
def test_batches_without_pairs_are_finite(labels: list[int]) -> None:
    method = make(eta=1.0)
    features = torch.randn(len(labels), 6, requires_grad=True)
    loss = method.loss(step(features, torch.tensor(labels)))
    loss.total.backward()
    assert loss.total.isfinite() and features.grad is not None and features.grad.isfinite().all()


def test_losses_are_float32_under_autocast() -> None:
    method = make(eta=1.0)
    features, labels = sample(8, dtype=torch.float32)
    full = method.loss(step(features, labels))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = method.loss(step(features.bfloat16(), labels))
    for name, value in cast.terms.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(full.terms[name].item(), rel=0.05)


def test_a_nan_reaches_the_loss() -> None:
    features, labels = sample(8, dtype=torch.float32)
    features[0, 0] = math.nan
    assert make().loss(step(features, labels)).total.isnan()


def test_learns_a_separable_toy() -> None:
    torch.manual_seed(0)
    labels = torch.arange(24) % 3
    inputs = torch.eye(3)[labels] + 0.3 * torch.randn(24, 3)
    encoder = torch.nn.Linear(3, 6)
    method = make(eta=0.5, temperature=0.2)
    optimizer = torch.optim.SGD([*encoder.parameters(), *method.parameters()], lr=0.3, momentum=0.9)
    losses = []
    for number in range(80):
        loss = method.loss(step(encoder(inputs), labels, seed=number))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.75 * losses[0]
    assert float((method.classifier(encoder(inputs)).argmax(1) == labels).float().mean()) > 0.95


def test_options_shape_the_heads() -> None:
    method = make(classifier_bias=False, projection_hidden=5)
    assert method.classifier.bias is None
    assert method.projector.layers[0].out_features == 5
    assert method.projector.layers[2].out_features == 4


def test_wrong_number_of_classes() -> None:
    with pytest.raises(ValueError, match=r"classes: got 0, need an integer >= 1"):
        make(classes=0)


def test_without_both_uses_of_the_mixtures_it_is_cross_entropy_and_focal_supcon() -> None:
    method = make(eta=0.7, gamma=1.5, temperature=0.3, smooth_classifier=False, contrast_mixtures=False).double()
    features, labels = sample(9, 2)
    loss = method.loss(step(features, labels))
    logits = method.classifier(features)
    assert loss.terms["cross_entropy"].item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels).item(), abs=1e-12
    )
    expected = focal_contrastive(method.projector(features), labels, temperature=0.3, gamma=1.5)
    assert loss.terms["contrastive"].item() == pytest.approx(expected.item(), abs=1e-12)


def test_random_pairs_change_both_terms() -> None:
    features, labels = sample(9, 2)
    hard, drawn = (make(eta=0.7, mining=mining).double().loss(step(features, labels)) for mining in ("hard", "random"))
    for name in ("cross_entropy", "contrastive"):
        assert hard.terms[name].item() != drawn.terms[name].item()


@pytest.mark.parametrize("switch", ["smooth_classifier", "contrast_mixtures"])
def test_each_switch_changes_its_own_term_alone(switch: str) -> None:
    features, labels = sample(9, 2)
    on, off = (make(eta=0.7, **{switch: value}).double().loss(step(features, labels)).terms for value in (True, False))
    changed = "cross_entropy" if switch == "smooth_classifier" else "contrastive"
    assert on[changed].item() != off[changed].item()
    other = {"cross_entropy", "contrastive"} - {changed}
    assert all(on[name].item() == off[name].item() for name in other)


def test_pairs_across_domains_are_those_of_hard_pairs_and_fallbacks_are_told() -> None:
    features, labels = sample(9)
    domain = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0, 0])
    for method in (
        make(pairs="cross_domain"),
        MixtureCE(MixtureParameters(pairs="cross_domain"), features=6, classes=3),
    ):
        method.double()
        at = replace(step(features, labels), domain=domain)
        loss, pairs = method.loss(at), method.pairs(replace(at, generator=torch.Generator().manual_seed(5)))
        options = {"pairs": "cross_domain", "domains": domain, "generator": torch.Generator().manual_seed(5)}
        expected = hard_pairs(features, labels, 3, **options)  # type: ignore[arg-type]
        assert torch.equal(pairs.features, expected.features)
        assert int(loss.counts["positives_of_any_domain"]) == int(expected.positive_fallback.sum()) > 0
        assert loss.terms["positive_fallback"].item() == pytest.approx(float(expected.positive_fallback.float().mean()))
        assert loss.terms["negative_fallback"].item() * 9 == pytest.approx(int(loss.counts["negatives_of_any_domain"]))
        plain = make().double().loss(step(features, labels))
        assert plain.terms.keys() == {"cross_entropy", "contrastive"}
        assert plain.counts.keys() == {"anchors_without_positive"}


def test_pairs_of_some_domains_need_domains() -> None:
    assert needs_domains(CoreTuningParameters(pairs="within_domain")) and not needs_domains(CoreTuningParameters())
    features, labels = sample(4)
    with pytest.raises(ValueError, match="the domain of each sample"):
        make(pairs="within_domain").double().loss(step(features, labels))
