"""Micro-batches give what the full batch gives: features, gradients, running statistics."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.training import TinyNet
from torch import Tensor

from coretune.nets.model import Model
from coretune.tuning.batching import chunk_sizes
from coretune.tuning.encode import encode_in_groups, still_statistics

torch.set_num_threads(1)


def model(dropout: float = 0.0) -> Model:
    torch.manual_seed(0)
    return Model(TinyNet(features=4, dropout=dropout)).double().train()


def images(n: int) -> Tensor:
    return torch.rand(n, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def encoded(net: Model, n: int, group: int, micro_batch: int | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Features, and gradients of a loss that couples all samples."""
    found = encode_in_groups(net.features, images(n), chunk_sizes(n, group), micro_batch)
    torch.softmax(found @ found.T, dim=1).diagonal().log().sum().backward()
    return found, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@settings(max_examples=30)
@given(n=st.integers(2, 13), group=st.integers(2, 14), micro_batch=st.integers(1, 14))
def test_a_micro_batch_is_the_full_batch(n: int, group: int, micro_batch: int) -> None:
    whole, part = model(), model()
    features, gradients = encoded(whole, n, group, None)
    found, micro_gradients = encoded(part, n, group, micro_batch)
    torch.testing.assert_close(found, features, rtol=0, atol=1e-12)
    assert gradients.keys() == micro_gradients.keys() != set()
    for name, gradient in gradients.items():
        torch.testing.assert_close(micro_gradients[name], gradient, rtol=1e-9, atol=1e-9)
    for name, buffer in whole.named_buffers():
        torch.testing.assert_close(part.get_buffer(name), buffer, rtol=0, atol=0)


@settings(max_examples=15)
@given(n=st.integers(2, 9), group=st.integers(2, 10))
def test_groups_are_normalised_by_themselves(n: int, group: int) -> None:
    whole, literal = model(), model()
    found = encode_in_groups(whole.features, images(n), chunk_sizes(n, group), None)
    edges = [0, *torch.tensor(chunk_sizes(n, group)).cumsum(0).tolist()]
    expected = torch.cat([literal.features(images(n)[start:end]) for start, end in pairwise(edges)])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    norm = whole.encoder.norm
    assert int(norm.num_batches_tracked) == len(edges) - 1
    torch.testing.assert_close(norm.running_mean, literal.encoder.norm.running_mean, rtol=0, atol=0)


@pytest.mark.parametrize(("micro_batch", "expected"), [(None, [2] * 4), (8, [2] * 4), (4, [2] * 6), (3, [2] * 7)])
def test_all_but_the_last_micro_batch_are_encoded_again(micro_batch: int | None, expected: list[int]) -> None:
    net, sizes = model(), []
    net.encoder.conv.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    encode_in_groups(net.features, images(8), [2, 2, 2, 2], micro_batch).sum().backward()
    assert sizes == expected


@pytest.mark.parametrize("groups", [[8], [8, 8]])
def test_a_micro_batch_smaller_than_a_group_is_rounded_up_to_it(groups: list[int]) -> None:
    net, sizes = model(), []
    net.encoder.conv.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    encode_in_groups(net.features, images(sum(groups)), groups, 2).sum().backward()
    # A single group cannot be divided: nothing is encoded twice for nothing.
    assert sizes == ([8] if len(groups) == 1 else [8, 8, 8])


def test_dropout_is_the_same_when_encoded_again() -> None:
    gradients = []
    for micro_batch in (None, 2):
        torch.manual_seed(5)
        gradients.append(encoded(model(dropout=0.5), 8, 2, micro_batch)[1])
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-9, atol=1e-9)


def test_frozen_batch_norm_stays_as_it_is() -> None:
    whole, part = model(), model()
    for net in (whole, part):
        net.encoder.norm.eval()
    _, gradients = encoded(whole, 8, 2, None)
    _, micro_gradients = encoded(part, 8, 2, 2)
    torch.testing.assert_close(micro_gradients, gradients, rtol=1e-9, atol=1e-9)
    assert int(part.encoder.norm.num_batches_tracked) == 0


@pytest.mark.parametrize("n", [1, 5])
def test_still_statistics_leaves_every_buffer(n: int) -> None:
    net = model()
    before = copy.deepcopy(net.state_dict())
    with still_statistics(net):
        net.features(images(n))
    after = net.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    net.features(images(n))
    assert int(net.encoder.norm.num_batches_tracked) == 1


def test_what_has_no_module_cannot_be_encoded_again() -> None:
    net = model()
    with pytest.raises(TypeError, match="module or a method of one"):
        encode_in_groups(lambda batch: net.features(batch), images(4), [2, 2], 2)
