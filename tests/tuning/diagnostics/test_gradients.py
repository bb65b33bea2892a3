"""Gradient shares: closed forms, a whole method, the graph left as it was, terms without a gradient, errors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coretune.tuning.diagnostics import gradient_shares
from coretune.tuning.losses import focal_contrastive, soft_cross_entropy

torch.set_num_threads(1)


def directions(*vectors: list[float]) -> tuple[nn.Parameter, list[tuple[str, Tensor]]]:
    """Linear terms w·θ, whose gradients are the vectors."""
    theta = nn.Parameter(torch.randn(len(vectors[0])))
    return theta, [(f"t{k}", (torch.tensor(vector) * theta).sum()) for k, vector in enumerate(vectors)]


def test_known_gradients() -> None:
    theta, terms = directions([3.0, 4.0], [-4.0, 3.0], [-3.0, -4.0])
    found = gradient_shares(terms, [theta])
    assert found.norms == pytest.approx({"t0": 5.0, "t1": 5.0, "t2": 5.0})
    assert found.shares == pytest.approx(dict.fromkeys(found.norms, 1 / 3))
    assert found.cosines == pytest.approx({("t0", "t1"): 0.0, ("t0", "t2"): -1.0, ("t1", "t2"): 0.0}, abs=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**20), terms=st.integers(1, 4), scale=st.floats(1e-3, 1e3))
def test_it_is_numpy_on_flat_gradients_and_follows_the_weights(seed: int, terms: int, scale: float) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, terms)).double()
    out = net(torch.randn(5, 3, dtype=torch.float64)).square().mean(dim=0)
    named = [(f"t{k}", out[k]) for k in range(terms)]
    found = gradient_shares(named, net.parameters())
    flat = []
    for _, loss in named:
        net.zero_grad()
        loss.backward(retain_graph=True)
        flat.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    norms = [float(g.norm()) for g in flat]
    assert list(found.norms.values()) == pytest.approx(norms, rel=1e-12)
    assert sum(found.shares.values()) == pytest.approx(1.0)
    for (one, other), cosine in found.cosines.items():
        a, b = int(one[1:]), int(other[1:])
        assert cosine == pytest.approx(float(flat[a] @ flat[b]) / norms[a] / norms[b], abs=1e-12)
    scaled = gradient_shares([(name, scale * loss) for name, loss in named], net.parameters())
    assert scaled.shares == pytest.approx(found.shares, rel=1e-9)
    assert scaled.cosines == pytest.approx(found.cosines, abs=1e-9)


def test_the_terms_of_a_loss_and_the_step_after() -> None:
    torch.manual_seed(0)
    net, head = nn.Linear(6, 5), nn.Linear(5, 3)
    features, labels = net(torch.randn(12, 6)), torch.arange(12) % 3
    cross_entropy = soft_cross_entropy(head(features), F.one_hot(labels, 3).float())
    contrast = focal_contrastive(F.normalize(features, dim=1), labels)
    found = gradient_shares([("ce", cross_entropy), ("contrast", 0.1 * contrast)], net.parameters())
    assert all(parameter.grad is None for parameter in net.parameters())
    (cross_entropy + 0.1 * contrast).backward()
    total = math.sqrt(sum(float(p.grad.square().sum()) for p in net.parameters() if p.grad is not None))
    a, b, cosine = *found.norms.values(), found.cosines["ce", "contrast"]
    assert total == pytest.approx(math.sqrt(a * a + b * b + 2 * a * b * cosine), rel=1e-5)


def test_terms_that_do_not_reach_the_parameters() -> None:
    theta, other = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    rest = nn.Parameter(torch.ones(2), requires_grad=False)
    terms = [("own", theta.sum()), ("other", other.sum()), ("constant", torch.tensor(3.0)), ("nought", 0 * theta.sum())]
    found = gradient_shares(terms, [theta, rest])
    assert found.norms == pytest.approx({"own": math.sqrt(2), "other": 0.0, "constant": 0.0, "nought": 0.0})
    assert found.shares == {"own": 1.0, "other": 0.0, "constant": 0.0, "nought": 0.0}
    assert set(found.cosines.values()) == {0.0}
    assert gradient_shares(terms[2:], [theta]).shares == {"constant": 0.0, "nought": 0.0}


def test_wrong_arguments() -> None:
    theta, terms = directions([1.0, 2.0])
    with pytest.raises(ValueError, match=r"terms: got \[\]"):
        gradient_shares([], [theta])
    with pytest.raises(ValueError, match=r"terms: got \['t0', 't0'\], need at least one, each name once"):
        gradient_shares(terms * 2, [theta])
    with pytest.raises(ValueError, match=r"terms, long: got shape \(2,\), need a scalar"):
        gradient_shares([("long", 2 * theta)], [theta])
    with pytest.raises(ValueError, match="parameters: got none that asks for a gradient"):
        gradient_shares(terms, [nn.Parameter(torch.ones(1), requires_grad=False)])
