"""A copy runs behind the model's normalisation, and leaves the encoder it stands in for alone."""

from __future__ import annotations

import pytest
import torch
from support.training import TinyNet
from torch import Tensor

from coretune.nets.model import Model
from coretune.tuning.copies import EncoderCopy

torch.set_num_threads(1)


def model() -> Model:
    torch.manual_seed(0)
    return Model(TinyNet()).train()


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def disturb(net: Model) -> None:
    with torch.no_grad():
        for parameter in net.encoder.parameters():
            parameter.add_(1.0)


@pytest.mark.parametrize("resting", [False, True])
def test_a_copy_gives_what_the_encoder_gave(resting: bool) -> None:
    net = model()
    expected = Model(EncoderCopy(net.encoder).net).train(not resting).features(images()).detach()
    copied = EncoderCopy(net.encoder, resting=resting).train()
    disturb(net)
    found = copied(images(), net.features)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert not torch.equal(net.features(images()), expected)


@pytest.mark.parametrize("resting", [False, True])
def test_the_encoder_keeps_its_statistics_and_modes(resting: bool) -> None:
    net = model()
    net.encoder.norm.eval()
    copied = EncoderCopy(net.encoder, resting=resting).train()
    before = [buffer.clone() for buffer in net.buffers()]
    modes = [part.training for part in net.modules()]
    copied(images(), net.features)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), before, strict=True))
    assert [part.training for part in net.modules()] == modes
    assert copied.training is not resting


def test_a_copy_follows() -> None:
    net = model()
    copied = EncoderCopy(net.encoder)
    start = [p.clone() for p in copied.net.parameters()]
    disturb(net)
    copied.follow(net.encoder, 0.75)
    for old, own in zip(start, copied.net.parameters(), strict=True):
        torch.testing.assert_close(own, old + 0.25)
    assert not any(p.requires_grad for p in copied.parameters())


def test_a_copy_is_saved_once_and_holds_no_encoder() -> None:
    net = model()
    keys = set(EncoderCopy(net.encoder).state_dict())
    assert keys == {f"net.{key}" for key in net.encoder.state_dict()}
