from __future__ import annotations

import pytest
import torch
from support.training import CPU
from torch import nn

from coretune.tuning.modes import evaluation_mode, private_random_numbers, seed_random_numbers


def test_every_part_gets_its_own_mode_back_whatever_happens() -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2)))
    net[1][1].eval()
    before = [module.training for module in net.modules()]
    with evaluation_mode(net, net[1]):
        assert not any(module.training for module in net.modules())
    assert [module.training for module in net.modules()] == before
    with pytest.raises(KeyboardInterrupt), evaluation_mode(net):
        raise KeyboardInterrupt
    assert [module.training for module in net.modules()] == before == [True, True, True, True, False]


def test_seeding_is_torchs_and_private() -> None:
    torch.manual_seed(11)
    expected = torch.rand(2)
    torch.manual_seed(4)
    outside = torch.rand(2)
    torch.manual_seed(4)
    with private_random_numbers(CPU):
        seed_random_numbers(11, CPU)
        assert torch.equal(torch.rand(2), expected)
    assert torch.equal(torch.rand(2), outside)
