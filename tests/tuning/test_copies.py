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


def test_a_resting_copy_rests_from_the_start() -> None:
    net = model()
    copied = EncoderCopy(net.encoder, resting=True)
    before = [buffer.clone() for buffer in copied.buffers()]
    copied(images(), net.features)
    assert not copied.training
    assert all(torch.equal(a, b) for a, b in zip(copied.buffers(), before, strict=True))
    assert EncoderCopy(net.encoder).training


@pytest.mark.parametrize("resting", [False, True])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_a_compiled_encoder_and_its_copy_stay_apart(
    resting: bool, half: bool, memory_format: torch.memory_format
) -> None:
    """Steps of training give the same features, statistics and weights as without torch.compile."""
    found = []
    for compiled in (False, True):
        net = model()
        copied = EncoderCopy(net.encoder, resting=resting).train()
        for module in (net, copied):
            module.to(memory_format=memory_format)
        if compiled:
            net.encoder.compile(backend="eager")
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        seen = []
        for _ in range(3):
            inputs = images().contiguous(memory_format=memory_format)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                trained, other = net.features(inputs), copied(inputs, net.features)
                loss = (trained - other.float() - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            assert all(parameter.grad is not None for parameter in net.encoder.parameters())
            optimizer.step()
            copied.follow(net.encoder, 0.5)
            seen += [trained.detach().clone(), other]
        found.append([*seen, *net.state_dict().values(), *copied.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert not torch.equal(found[0][0], found[0][2])


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
