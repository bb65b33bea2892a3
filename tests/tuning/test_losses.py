"""The losses against literal loops in float64, gradients, properties, edge cases and errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cuda import never_waited_for
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from coretune.tuning.losses import NORMALIZERS, SCOPES, focal, focal_contrastive, soft_cross_entropy
from coretune.tuning.mixup import hard_pairs

torch.set_num_threads(1)


def unit(rows: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1).to(dtype)


def literal(
    z: Tensor,
    groups: Tensor,
    *,
    anchors: Tensor | None = None,
    owner: Tensor | None = None,
    temperature: float = 0.07,
    gamma: float = 1.0,
    normalizer: str = "positives",
    scope: str = "own",
    weights: Tensor | None = None,
) -> float:
    """The formula, transcribed with Python loops and numbers."""
    size = len(z)
    rows = [[float(v) for v in row] for row in z.double()]
    group = groups.tolist()
    owns = [-1] * size if owner is None else owner.tolist()
    weight = [1.0] * size if weights is None else weights.tolist()
    is_anchor = [True] * size if anchors is None else anchors.tolist()

    def sees(i: int, k: int) -> bool:
        if k == i:
            return False
        if owns[k] in (-1, i):
            return True
        if owns[k] == k or scope == "own":
            return False
        return scope == "all" or group[owns[k]] != group[i]

    total, count = 0.0, 0
    for i in range(size):
        seen = [k for k in range(size) if sees(i, k)]
        positives = [k for k in seen if group[k] == group[i] and weight[k] > 0]
        if not is_anchor[i] or not positives:
            continue
        exps = {k: math.exp(sum(a * b for a, b in zip(rows[i], rows[k], strict=True)) / temperature) for k in seen}
        mass = math.fsum(exps.values())
        inner = sum(weight[k] * (1 - exps[k] / mass) ** gamma * math.log(exps[k] / mass) for k in positives)
        total += inner / (sum(weight[k] for k in positives) if normalizer == "positives" else size)
        count += 1
    return -total / count if count else 0.0


def paper_batch(n: int, classes: int, seed: int) -> dict[str, Tensor]:
    """Groups, owners and anchors as hard pairs give them, with single-sample classes among them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    features = torch.randn(n, 4, generator=generator)
    pairs = hard_pairs(features, labels, classes, generator=generator)
    return {"groups": pairs.groups, "anchors": pairs.anchors, "owner": pairs.owner, "weights": pairs.positive_weights}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_contrastive_equals_the_formula(scope: Any, normalizer: Any, gamma: float, weighted: bool) -> None:
    for seed, (n, classes) in enumerate([(7, 3), (5, 2), (4, 1), (6, 6), (1, 2)]):
        batch = paper_batch(n, classes, seed)
        if not weighted:
            del batch["weights"]
        z = unit(3 * n, 5, seed)
        options = {**batch, "temperature": 0.3, "gamma": gamma, "normalizer": normalizer, "scope": scope}
        assert float(focal_contrastive(z, **options)) == pytest.approx(literal(z, **options), abs=1e-12)


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 10**6), st.sampled_from(SCOPES))
@settings(max_examples=60)
def test_focal_contrastive_equals_the_formula_for_any_masks(n: int, groups: int, seed: int, scope: Any) -> None:
    generator = torch.Generator().manual_seed(seed)
    options: dict[str, Any] = {
        "anchors": torch.rand(n, generator=generator) < 0.6,
        "owner": torch.randint(-1, n, (n,), generator=generator),
        "weights": torch.rand(n, generator=generator, dtype=torch.float64),
        "temperature": 0.2,
        "scope": scope,
    }
    labels = torch.randint(groups, (n,), generator=generator)
    z = unit(n, 3, seed)
    assert float(focal_contrastive(z, labels, **options)) == pytest.approx(literal(z, labels, **options), abs=1e-12)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_gradient_of_focal_contrastive(scope: Any, gamma: float) -> None:
    batch = paper_batch(5, 2, 3)
    z = unit(15, 4, 1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: focal_contrastive(z, **batch, temperature=0.4, gamma=gamma, scope=scope), (z,)
    )


def value_and_gradient(z: Tensor, groups: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = z.detach().requires_grad_()
    loss = focal_contrastive(leaf, groups, **options)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient


@given(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(0, 10**6),
    st.sampled_from(SCOPES),
    st.sampled_from(NORMALIZERS),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.lists(st.sampled_from(["anchors", "owner", "weights"]), unique=True),
)
@settings(max_examples=120)
def test_blocks_change_nothing(
    n: int,
    classes: int,
    block: int,
    seed: int,
    scope: Any,
    normalizer: Any,
    gamma: float,
    left_out: list[str],
) -> None:
    batch = paper_batch(n, classes, seed)
    options: dict[str, Any] = {name: values for name, values in batch.items() if name not in left_out}
    options |= {"temperature": 0.2, "gamma": gamma, "normalizer": normalizer, "scope": scope}
    z = unit(3 * n, 4, seed)
    loss, gradient = value_and_gradient(z, **options, block=3 * n)
    blocked_loss, blocked_gradient = value_and_gradient(z, **options, block=block)
    assert float(blocked_loss) == pytest.approx(float(loss), abs=1e-12)
    assert torch.allclose(blocked_gradient, gradient, rtol=1e-12, atol=1e-12)
    assert float(blocked_loss) == pytest.approx(literal(z, **options), abs=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("scope", SCOPES)
def test_blocks_change_nothing_but_rounding_in_float32(scope: Any, gamma: float) -> None:
    batch = paper_batch(300, 20, 1)
    z = unit(900, 32, 1, torch.float32)
    loss, gradient = value_and_gradient(z, **batch, scope=scope, gamma=gamma, block=900)
    for block in (1, 37, None):
        blocked_loss, blocked_gradient = value_and_gradient(z, **batch, scope=scope, gamma=gamma, block=block)
        assert float(blocked_loss) == pytest.approx(float(loss), rel=1e-6)
        assert torch.allclose(blocked_gradient, gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_gradient_of_focal_contrastive_in_blocks(scope: Any, gamma: float) -> None:
    batch = paper_batch(5, 2, 3)
    z = unit(15, 4, 1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: focal_contrastive(z, **batch, temperature=0.4, gamma=gamma, scope=scope, block=2), (z,)
    )


def test_large_batches_are_worked_on_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = paper_batch(8, 2, 0)
    z = unit(24, 4, 0).requires_grad_()

    def differentiate_twice(**options: Any) -> None:
        torch.autograd.grad(focal_contrastive(z, **batch, **options), z, create_graph=True)

    differentiate_twice()  # as only one block allows
    differentiate_twice(block=8)
    with pytest.raises(RuntimeError, match="no second derivative"):
        differentiate_twice(block=7)
    monkeypatch.setattr("coretune.tuning.blocked.PAIRS", 24 * 7)
    with pytest.raises(RuntimeError, match="no second derivative"):
        differentiate_twice()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_blocks_in_half_precision_and_autocast(dtype: torch.dtype) -> None:
    batch = paper_batch(6, 2, 0)
    z = unit(18, 8, 0, dtype)
    loss, gradient = value_and_gradient(z, **batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        blocked_loss, blocked_gradient = value_and_gradient(z, **batch, block=4)
    assert blocked_loss.dtype == torch.float32 and blocked_gradient.dtype == dtype
    assert float(blocked_loss) == pytest.approx(float(loss), rel=1e-6)
    assert torch.allclose(blocked_gradient.float(), gradient.float(), rtol=1e-2, atol=1e-5)


def test_known_angles() -> None:
    # Two of class 0 at 0° and 60°, one of class 1 at 90°; τ = 1. Only the first two have a positive.
    z = torch.tensor([[math.cos(a), math.sin(a)] for a in (0.0, math.pi / 3, math.pi / 2)], dtype=torch.float64)
    first = math.exp(0.5) / (math.exp(0.5) + math.exp(0.0))
    second = math.exp(0.5) / (math.exp(0.5) + math.exp(math.cos(math.pi / 6)))
    groups = torch.tensor([0, 0, 1])
    expected = -(math.log(first) + math.log(second)) / 2
    assert float(focal_contrastive(z, groups, temperature=1.0, gamma=0.0)) == pytest.approx(expected, abs=1e-12)
    expected = -((1 - first) * math.log(first) + (1 - second) * math.log(second)) / 2
    assert float(focal_contrastive(z, groups, temperature=1.0)) == pytest.approx(expected, abs=1e-12)


@given(st.integers(2, 20), st.integers(1, 4), st.integers(0, 10**6))
@settings(max_examples=40)
def test_gamma_zero_is_supcon(n: int, classes: int, seed: int) -> None:
    z = unit(n, 6, seed)
    labels = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    logits = z @ z.T / 0.1
    off = ~torch.eye(n, dtype=torch.bool)
    log_p = logits - torch.log((logits.exp() * off).sum(1, keepdim=True))
    mask = ((labels[:, None] == labels) & off).double()
    has = mask.sum(1) > 0
    expected = -((mask * log_p).sum(1) / mask.sum(1).clamp(min=1))[has].mean() if has.any() else torch.tensor(0.0)
    got = focal_contrastive(z, labels, temperature=0.1, gamma=0.0)
    assert float(got) == pytest.approx(float(expected), abs=1e-10)


@given(st.integers(1, 10), st.integers(0, 10**6), st.sampled_from(SCOPES))
@settings(max_examples=40)
def test_order_of_rows_does_not_matter(n: int, seed: int, scope: Any) -> None:
    batch = paper_batch(n, 3, seed)
    z = unit(3 * n, 4, seed)
    order = torch.randperm(3 * n, generator=torch.Generator().manual_seed(seed))
    place = order.argsort()
    owner = batch["owner"]
    moved = {name: values[order] for name, values in batch.items()}
    moved["owner"] = torch.where(owner < 0, owner, place[owner.clamp_min(0)])[order]
    expected = float(focal_contrastive(z, **batch, scope=scope))
    assert float(focal_contrastive(z[order], **moved, scope=scope)) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("block", [None, 2])
def test_without_a_positive_the_loss_is_an_attached_zero(block: int | None) -> None:
    z = unit(3, 4, 0).requires_grad_()
    for options in ({"block": block}, {"block": block, "anchors": torch.zeros(3, dtype=torch.bool)}):
        loss = focal_contrastive(z, torch.arange(3), **options)
        (gradient,) = torch.autograd.grad(loss, z)
        assert float(loss.detach()) == 0
        assert torch.equal(gradient, torch.zeros_like(z))


def test_a_single_row_is_an_attached_zero() -> None:
    z = unit(1, 4, 0, torch.float32).requires_grad_()
    loss = focal_contrastive(z, torch.tensor([0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert z.grad is not None and torch.equal(z.grad, torch.zeros_like(z))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("block", [None, 3])
def test_extreme_probabilities_have_finite_gradients(gamma: float, block: int | None) -> None:
    # Duplicates against an opposite vector at a small temperature: p is 1 in float32 for one, 0 for the other.
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    for groups in ([0, 0, 1, 1], [0, 1, 0, 1]):
        loss = focal_contrastive(z, torch.tensor(groups), temperature=1e-3, gamma=gamma, block=block)
        (gradient,) = torch.autograd.grad(loss, z)
        assert loss.isfinite() and gradient.isfinite().all()


def test_focal_keeps_digits_where_p_is_near_one() -> None:
    log_p = torch.tensor([-1e-9], dtype=torch.float32)
    assert float(focal(log_p, 1.0)) == pytest.approx(-1e-18, rel=1e-5)
    assert float(focal(log_p, 2.0)) == pytest.approx(-1e-27, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    batch = paper_batch(6, 2, 0)
    z = unit(18, 8, 0, dtype)
    loss = focal_contrastive(z, **batch)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(literal(z.double(), **batch), rel=1e-4)
    logits, targets = torch.randn(4, 3).to(dtype), torch.eye(4, 3)[[0, 1, 2, 2]]
    got = soft_cross_entropy(logits, targets)
    assert torch.equal(got, soft_cross_entropy(logits.float(), targets))


def test_autocast_does_not_round() -> None:
    batch = paper_batch(6, 2, 0)
    z = unit(18, 8, 0, torch.float32)
    logits, targets = torch.randn(4, 3), torch.full((4, 3), 1 / 3)
    expected = focal_contrastive(z, **batch), soft_cross_entropy(logits, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = focal_contrastive(z, **batch), soft_cross_entropy(logits, targets)
    assert torch.equal(torch.stack(got), torch.stack(expected))


def test_float64_stays() -> None:
    assert focal_contrastive(unit(4, 3, 0), torch.tensor([0, 0, 1, 1])).dtype == torch.float64
    assert soft_cross_entropy(torch.zeros(2, 2, dtype=torch.float64), torch.eye(2)).dtype == torch.float64


@pytest.mark.parametrize("scope", SCOPES)
def test_all_rows_as_on_a_gpu_give_the_same_as_the_anchors_alone(scope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = paper_batch(7, 3, 5)
    z = unit(21, 4, 5)
    expected = float(focal_contrastive(z, **batch, scope=scope))
    monkeypatch.setattr("coretune.tuning.losses._rows", lambda anchors, z: torch.arange(len(z)))
    for block in (None, 4):
        assert float(focal_contrastive(z, **batch, scope=scope, block=block)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.skipif(torch.version.cuda is None, reason="fake CUDA tensors need a torch that was built with CUDA")
@pytest.mark.parametrize("scope", SCOPES)
def test_nothing_depends_on_values_on_a_gpu(scope: Any) -> None:
    # Fake tensors have no values: reading one (`item`, `nonzero`, a bool index) raises.
    with FakeTensorMode():
        z = torch.empty(9, 4, device="cuda", requires_grad=True)
        index = torch.empty(9, dtype=torch.int64, device="cuda")
        flags, weights = torch.empty(9, dtype=torch.bool, device="cuda"), torch.empty(9, device="cuda")
        loss = focal_contrastive(
            z, index, anchors=flags, owner=index, weights=weights, scope=scope, gamma=0.5, normalizer="batch"
        )
        # Blocks without a gradient, since autograd needs a true device.
        loss = loss + focal_contrastive(z.detach(), index, anchors=flags, owner=index, scope=scope, block=4)
        loss = loss + soft_cross_entropy(z, torch.empty(9, 4, device="cuda"))
        assert loss.shape == () and loss.device.type == "cuda"
        with pytest.raises(Exception, match="nonzero"):
            index.nonzero()


@pytest.mark.gpu
@pytest.mark.parametrize("scope", SCOPES)
def test_a_gpu_is_never_waited_for(scope: Any) -> None:
    batch = {name: values.cuda() for name, values in paper_batch(6, 3, 0).items()}
    features, labels = torch.randn(6, 4).cuda().requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 0]).cuda()
    generator = torch.Generator().manual_seed(0)

    def step() -> Tensor:
        pairs = hard_pairs(features, labels, 3, generator=generator)
        z = F.normalize(pairs.features, dim=1)
        loss = soft_cross_entropy(pairs.features[:, :3], pairs.targets) + focal_contrastive(z, **batch, scope=scope)
        loss = loss + focal_contrastive(z, **batch, scope=scope, block=5)
        (gradient,) = torch.autograd.grad(loss, features)
        return gradient

    step()
    with never_waited_for():
        gradient = step()
    assert gradient.isfinite().all()


@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=30)
def test_soft_cross_entropy_equals_the_formula(n: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 10 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    targets = torch.rand(n, classes, generator=generator, dtype=torch.float64) + 1e-3
    targets = targets / targets.sum(1, keepdim=True)
    expected = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        mass = math.fsum(math.exp(v) for v in row)
        expected -= sum(t * math.log(math.exp(v) / mass) for v, t in zip(row, target, strict=True)) / n
    assert float(soft_cross_entropy(logits, targets)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_gradient_of_soft_cross_entropy() -> None:
    targets = torch.softmax(unit(4, 3, 1), dim=1)
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, targets), (unit(4, 3, 0).requires_grad_(),))


def test_soft_cross_entropy_of_large_logits_is_finite() -> None:
    logits = torch.tensor([[1e4, -1e4], [3e38, 0.0]], requires_grad=True)
    loss = soft_cross_entropy(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0 and logits.grad is not None and logits.grad.isfinite().all()


Z = unit(4, 3, 0)
GROUPS = torch.tensor([0, 0, 1, 1])
BAD: list[tuple[dict[str, Any], str]] = [
    ({"z": [1.0]}, r"z: got list, need a floating tensor \(N, d\)"),
    ({"z": Z[0]}, r"z: got shape \(3,\), need a floating tensor \(N, d\)"),
    ({"z": Z[:0]}, r"z: got shape \(0, 3\)"),
    ({"z": Z.long()}, r"z: got torch.int64, need a floating tensor"),
    ({"z": Z * 2}, r"z, lengths of rows: got (2.0|1.99|2)\S* at \[0\], need values in \[0, 1.02\]"),
    ({"z": Z * math.nan}, r"z: got nan at \[0, 0\], need finite values"),
    ({"groups": GROUPS[:3]}, r"groups: got shape \(3,\), need an integer tensor \(4,\)"),
    ({"groups": GROUPS.double()}, r"groups: got torch.float64, need an integer tensor \(4,\)"),
    ({"anchors": GROUPS}, r"anchors: got torch.int64, need a bool tensor \(4,\)"),
    ({"owner": GROUPS + 3}, r"owner: got 4 at \[2\], need values in \[-1, 3\]"),
    ({"owner": GROUPS > 0}, r"owner: got torch.bool, need an integer tensor \(4,\)"),
    ({"weights": -Z[:, 0].abs()}, r"weights: got -\S+ at \[0\], need values in \[0, inf\]"),
    ({"weights": torch.full((4,), math.inf)}, r"weights: got inf at \[0\], need finite values"),
    ({"temperature": 0.0}, r"temperature: got 0.0, need a finite number > 0"),
    ({"temperature": math.inf}, r"temperature: got inf"),
    ({"temperature": "a"}, r"temperature: got 'a', need a finite number > 0"),
    ({"temperature": torch.tensor(0.1)}, r"temperature: got Tensor, need a finite number > 0"),
    ({"gamma": None}, r"gamma: got None, need a finite number >= 0"),
    ({"normalizer": None}, r"normalizer: got None, need one of: positives, batch"),
    ({"scope": 1}, r"scope: got 1, need one of: own, other_class, all"),
    ({"block": "a"}, r"block: got 'a', need an integer >= 1, or None"),
    ({"gamma": -1.0}, r"gamma: got -1.0, need a finite number >= 0"),
    ({"normalizer": "mean"}, r"normalizer: got 'mean', need one of: positives, batch"),
    ({"block": 0}, r"block: got 0, need an integer >= 1, or None"),
    ({"block": 2.0}, r"block: got 2.0, need an integer >= 1, or None"),
    ({"block": True}, r"block: got True, need an integer >= 1, or None"),
    ({"scope": "mine"}, r"scope: got 'mine', need one of: own, other_class, all"),
    ({"groups": torch.empty(4, dtype=torch.int64, device="meta")}, r"groups: got a tensor on meta, need one on cpu"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_wrong_arguments_of_focal_contrastive(change: dict[str, Any], message: str) -> None:
    arguments = {"z": Z, "groups": GROUPS, **change}
    with pytest.raises(ValueError, match=message):
        focal_contrastive(arguments.pop("z"), arguments.pop("groups"), **arguments)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), r"targets: got shape \(3, 2\), need a floating tensor \(2, 3\)"),
        (torch.zeros(2), torch.zeros(2), r"logits: got shape \(2,\), need a floating tensor \(N, C\)"),
        (torch.zeros(1, 2), torch.tensor([[0, 1]]), r"targets: got torch.int64"),
        (torch.tensor([[0.0, math.inf]]), torch.tensor([[0.0, 1.0]]), r"logits: got inf at \[0, 1\]"),
        (torch.zeros(1, 2), torch.tensor([[-1.0, 2.0]]), r"targets: got -1.0 at \[0, 0\], need values in \[0, 1\]"),
        (torch.zeros(1, 2), torch.tensor([[0.5, 0.1]]), r"targets, sums of rows: got 0.6\d* at \[0\]"),
    ],
)
def test_wrong_arguments_of_soft_cross_entropy(logits: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        soft_cross_entropy(logits, targets)


def test_without_validation_a_nan_reaches_the_loss() -> None:
    z = Z.clone()
    z[0, 0] = math.nan
    assert focal_contrastive(z, GROUPS, validate=False).isnan()
