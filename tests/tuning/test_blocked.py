"""Blocks of rows: the same mean and gradient as in one piece, and memory that is linear in rows, measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coretune.tuning.blocked import PAIRS, mean_over_rows, rows_per_block
from coretune.tuning.mixup import VARIANTS

torch.set_num_threads(1)


def squares(logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """A loss by rows: (row + 1) times the sum of squared logits, of which the even rows count."""
    return ((rows[:, None] + 1) * logits.square()).sum(), (rows % 2 == 0).sum()


def points(size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 10**9))
@settings(max_examples=60)
def test_a_block_has_as_many_rows_as_fit(columns: int) -> None:
    rows = rows_per_block(columns)
    assert rows == 1 or rows * columns <= PAIRS
    assert (rows + 1) * columns > PAIRS


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 10), st.integers(0, 10**6))
@settings(max_examples=60)
def test_blocks_give_the_mean_of_the_formula(size: int, chosen: int, block: int, seed: int) -> None:
    z = points(size, seed).requires_grad_()
    rows = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:chosen].sort().values
    expected, count = 0.0, 0
    values = z.tolist()
    for i in rows.tolist():
        for k in range(size):
            expected += (i + 1) * (sum(a * b for a, b in zip(values[i], values[k], strict=True)) / 0.5) ** 2
        count += i % 2 == 0
    mean = mean_over_rows(squares, z, rows, 0.5, block)
    assert float(mean.detach()) == pytest.approx(expected / max(count, 1), rel=1e-12)
    (gradient,) = torch.autograd.grad(3 * mean, z)
    (whole,) = torch.autograd.grad(3 * mean_over_rows(squares, z, rows, 0.5, max(chosen, 1)), z)
    assert torch.allclose(gradient, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("block", [1, 2, 5])
def test_gradient(block: int) -> None:
    rows = torch.tensor([0, 1, 3, 4])
    assert torch.autograd.gradcheck(
        lambda z: mean_over_rows(squares, z, rows, 0.7, block), (points(5).requires_grad_(),)
    )


def test_several_blocks_refuse_a_second_derivative_and_one_gives_it() -> None:
    z, rows = points(4).requires_grad_(), torch.arange(4)
    assert torch.autograd.gradgradcheck(lambda z: mean_over_rows(squares, z, rows, 1.0, 4), (z,))
    with pytest.raises(RuntimeError, match="several blocks has no second derivative"):
        torch.autograd.grad(mean_over_rows(squares, z, rows, 1.0, 3), z, create_graph=True)


def test_without_gradients_nothing_is_differentiated() -> None:
    def watched(logits: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(logits.requires_grad)
        return squares(logits, rows)

    asked: list[bool] = []
    z, rows = points(4).requires_grad_(), torch.arange(4)
    with torch.no_grad():
        mean_over_rows(watched, z, rows, 1.0, 2)
    assert not mean_over_rows(watched, z.detach(), rows, 1.0, 2).requires_grad
    assert asked == [False] * 4
    assert mean_over_rows(watched, z, rows, 1.0, 2).requires_grad
    assert asked[4:] == [True] * 2


MEASURE = """
import sys
import torch
import torch.nn.functional as F
from coretune.tuning.losses import focal_contrastive
from coretune.tuning.mixup import hard_pairs

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) / 1024

def work(n, width):
    generator = torch.Generator().manual_seed(0)
    if what != "loss":
        labels = torch.randint(100, (n,), generator=generator)
        features = torch.randn(n, width, generator=generator)
        pairs = hard_pairs(features, labels, 100, variant=what, generator=generator)
        return pairs.features
    order, labels = torch.arange(n), torch.arange(n) % 100
    z = F.normalize(torch.randn(3 * n, width, generator=generator), dim=1).requires_grad_()
    loss = focal_contrastive(
        z,
        torch.cat([labels, 100 + order, labels]),
        anchors=torch.cat([order >= 0, order < 0, order < 0]),
        owner=torch.cat([torch.full_like(order, -1), order, order]),
        block=3 * n if whole else None,
    )
    return torch.autograd.grad(loss, z)[0]

torch.set_num_threads(1)
what, whole = sys.argv[1], sys.argv[2] == "whole"
work(32, 8)
before = status("VmRSS")
result = work(int(sys.argv[3]), int(sys.argv[4]))
assert result.isfinite().all()
print(status("VmHWM") - before)
"""


def growth(what: str, n: int, width: int, *, whole: bool = False) -> float:
    """Peak of the memory of a process of its own, less what it had before, in MB."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", MEASURE, what, "whole" if whole else "blocks", str(n), str(width)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the kernel tells the peak of memory on Linux"
)


@linux
def test_memory_of_the_loss_is_bounded() -> None:
    # 6,144 rows: 380 MB in one piece.
    assert growth("loss", 2048, 64) < 200


@linux
@pytest.mark.parametrize("variant", VARIANTS)
def test_memory_of_hard_pairs_is_bounded(variant: str) -> None:
    # 230 MB in one piece, which holds some squares of 64 MB at once.
    assert growth(variant, 4096, 64) < 100


@linux
@pytest.mark.slow
def test_memory_is_linear_at_8192_samples() -> None:
    # 24,576 rows: in one piece more than 6 GB for the loss, and 0.95 GB for the pairs.
    assert growth("loss", 8192, 256) < 400
    for variant in VARIANTS:
        assert growth(variant, 8192, 512) < 300


@linux
@pytest.mark.slow
def test_in_one_piece_memory_is_quadratic() -> None:
    # So that the bounds above mean something.
    assert growth("loss", 2048, 64, whole=True) > 300
