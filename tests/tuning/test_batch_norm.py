from __future__ import annotations

import copy

import pytest
import torch
from support.crew import Crew
from support.near import assert_near
from support.sharded import TwiceOrNever, normalised, whole_groups
from torch import nn

from coretune.tuning.batch_norm import joined_statistics, sharing_layers, synchronised_batch_norm
from coretune.tuning.shard import Shard

torch.set_num_threads(1)


@pytest.mark.parametrize("bounds", [[0, 3, 5, 7], [0, 7, 7, 7], [0, 1, 1, 7]], ids=str)
@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4, momentum=0.3),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.BatchNorm1d(4, eps=0.1),
    ],
    ids=["affine", "plain", "without statistics", "vectors"],
)
def test_several_workers_normalise_as_one(crew: Crew, layer: nn.Module, bounds: list[int]) -> None:
    layer = copy.deepcopy(layer).double()
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(4, generator=draws))
    shape = (7, 4) if isinstance(layer, nn.BatchNorm1d) else (7, 4, 3, 2)
    # Far from zero, where sums of squares would lose what the variance is made of.
    values = 100 + torch.randn(shape, generator=draws, dtype=torch.float64)
    weights = torch.randn(shape, generator=draws, dtype=torch.float64)
    alone = copy.deepcopy(layer)
    inputs = values.clone().requires_grad_()
    outputs = alone(inputs)
    (outputs * weights).sum().backward()
    assert inputs.grad is not None
    for rank, found in enumerate(crew.run(3, normalised, layer, values, weights, bounds)):
        own = slice(bounds[rank], bounds[rank + 1])
        assert_near(found["outputs"], outputs[own].detach(), rtol=1e-9, atol=1e-9)
        assert_near(found["inputs"], inputs.grad[own], rtol=1e-7, atol=1e-9)
        assert_near(found["parameters"], [p.grad for p in alone.parameters()], rtol=1e-7, atol=1e-9)
        assert_near(found["buffers"], list(alone.buffers()), rtol=1e-9, atol=1e-12)


def test_half_precision_is_normalised_in_single(crew: Crew) -> None:
    values = 300 + torch.randn(8, 4, 5, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    layer = nn.BatchNorm2d(4)
    expected = copy.deepcopy(layer)(values.float()).detach()
    for rank, found in enumerate(crew.run(2, normalised, layer, values, torch.ones_like(values), [0, 3, 8])):
        assert found["outputs"].dtype == torch.bfloat16
        own = slice(0, 3) if rank == 0 else slice(3, 8)
        torch.testing.assert_close(found["outputs"].float(), expected[own], rtol=0.01, atol=0.01)


@pytest.mark.parametrize("owner", [[0, 0, 1, 1, 2], [0, 2, 2, 2, 2], [1, 1, 1, 1, 1]], ids=str)
def test_whole_groups_leave_the_statistics_of_one_worker(crew: Crew, owner: list[int]) -> None:
    draws = torch.Generator().manual_seed(1)
    groups = [torch.randn(3, 4, generator=draws, dtype=torch.float64) for _ in owner]
    alone = TwiceOrNever()
    for group in groups:
        alone(group)
    for found in crew.run(3, whole_groups, TwiceOrNever(), groups, owner):
        assert_near(found, list(alone.buffers()), rtol=1e-12, atol=1e-12)


class Rectified(nn.BatchNorm1d):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(values))


def test_a_layer_that_does_more_than_normalise_is_not_synchronised() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), Rectified(2))
    with pytest.raises(ValueError, match="Rectified: batch norm with a forward"), synchronised_batch_norm(net, Shard()):
        pass
    assert "forward" not in vars(net[0])


def test_layers_that_rest_are_left_alone() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).eval())
    assert sharing_layers(net) == [net[0]]
    assert sharing_layers(net.eval()) == []


def test_the_layers_are_their_own_again_afterwards() -> None:
    net = nn.BatchNorm1d(2)
    mean = net.running_mean
    with pytest.raises(KeyError), synchronised_batch_norm(net, Shard()):
        raise KeyError
    assert "forward" not in vars(net)
    with pytest.raises(KeyError), joined_statistics(net, (0, 1, 0), Shard()):
        raise KeyError
    assert net.running_mean is mean


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 0)])
def test_a_cumulative_average_is_refused(order: tuple[int, int, int]) -> None:
    net = nn.BatchNorm1d(2, momentum=None)
    with pytest.raises(ValueError, match="momentum None"), joined_statistics(net, order, Shard()):
        pass
