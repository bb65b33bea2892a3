"""What attacks draw for an image follows from (seed, purpose, its number), whatever stands beside it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from coretune.robust.draws import DrawsApart, SampleDraws, normal_of, normal_rows, uniform_rows


def test_rows_belong_to_images() -> None:
    index = np.array([7, 3, 12])
    rows = uniform_rows(1, "start", 0, index, 6)
    assert rows.shape == (3, 6) and bool(((rows >= 0) & (rows < 1)).all())
    assert torch.equal(uniform_rows(1, "start", 0, index[[2, 0]], 6), rows[[2, 0]])
    for other in (uniform_rows(2, "start", 0, index, 6), uniform_rows(1, "end", 0, index, 6)):
        assert not torch.equal(other, rows)
    assert not torch.equal(uniform_rows(1, "start", 1, index, 6), rows)
    assert uniform_rows(1, "start", 0, index[:0], 6).shape == (0, 6)


def test_normal_numbers_are_normal() -> None:
    found = normal_rows(0, "start", 0, np.arange(4), 5000)
    assert abs(float(found.mean())) < 0.03 and abs(float(found.std()) - 1) < 0.03
    assert bool(normal_of(torch.tensor([0.0, 1 - 2.0**-24])).isfinite().all())


def test_torchs_draws_become_draws_by_image() -> None:
    index = np.array([5, 9, 2])

    def drawn(rows: list[int]) -> list[torch.Tensor]:
        with SampleDraws(3, "square", index[rows]):
            n = len(rows)
            like = torch.zeros(n, 2, 3, 3)
            return [
                torch.rand((n, 2, 3, 3)),
                torch.randn(n, 2, 1, 1),
                torch.randn_like(like),
                torch.empty_like(like).uniform_(-2, 2),
                torch.empty_like(like).normal_(),
                torch.rand([1]).expand(n),
            ]

    together, alone = drawn([0, 1, 2]), drawn([1])
    for one, other in zip(together[:5], alone[:5], strict=True):
        assert torch.equal(one[1:2], other)
    assert torch.equal(together[5][:1], alone[5])
    assert float(together[3].abs().max()) > 1 and float(together[3].abs().max()) <= 2
    assert len({float(each.flatten()[0]) for each in together}) == 6


def test_images_that_are_done_take_their_rows_with_them() -> None:
    index = np.array([5, 9, 2])
    with SampleDraws(3, "square", index) as draws:
        torch.rand(3, 1, 2, 2)
        draws.keep(torch.tensor([True, False, True]))
        left = torch.rand(2, 1, 2, 2)
    with SampleDraws(3, "square", index) as draws:
        torch.rand(3, 1, 2, 2)
        assert torch.equal(torch.rand(3, 1, 2, 2)[[0, 2]], left)


def test_a_model_draws_for_itself() -> None:
    class Noisy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images + torch.rand(images.shape)

    images = torch.zeros(2, 1, 2, 2)
    torch.manual_seed(0)
    plain = [Noisy()(images), Noisy()(images)]
    torch.manual_seed(0)
    with SampleDraws(0, "x", np.arange(2)) as draws:
        first = torch.rand(2, 1, 2, 2)
        apart = DrawsApart(Noisy(), draws)
        found = [apart(images), apart(images)]
        second = torch.rand(2, 1, 2, 2)
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
    with SampleDraws(0, "x", np.arange(2)):
        assert torch.equal(torch.rand(2, 1, 2, 2), first) and torch.equal(torch.rand(2, 1, 2, 2), second)


def test_torchs_generators_are_left_alone() -> None:
    before = torch.get_rng_state()
    with SampleDraws(0, "x", np.arange(2)):
        torch.rand(2, 1, 1, 1)
    assert torch.equal(torch.get_rng_state(), before)
