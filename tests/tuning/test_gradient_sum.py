"""Sums of gradients over processes."""

from __future__ import annotations

import pytest
import torch
from support.crew import Crew
from support.near import assert_near
from support.sharded import changed_twice, failed_in_backward, order_of_sending, summed
from torch import nn

from coretune.tuning.gradient_sum import GradientSum, gradient_buckets
from coretune.tuning.shard import Shard

torch.set_num_threads(1)


@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("bucket_bytes", [1, 24, 1000])
def test_gradients_are_summed_and_absent_ones_stay_absent(crew: Crew, workers: int, bucket_bytes: int) -> None:
    given = [
        (torch.float32, [1.0, 2.0]),
        (torch.float32, None),
        (torch.float64, [4.0, 8.0]),
        (torch.float32, None),
        (torch.float32, [3.0, 0.0]),
    ]
    total = workers * (workers - 1) / 2
    expected = [[total, 2 * total], None, [4 * total, 8 * total], None, [3 * total, 0.0]]
    for found in crew.run(workers, summed, given, 8, bucket_bytes):
        assert_near(found, expected, rtol=1e-6, atol=0.0)


def test_one_worker_adds_nothing_up() -> None:
    parameter = nn.Parameter(torch.ones(2))
    with GradientSum([parameter], Shard()).of_backward():
        parameter.square().sum().backward()
    assert parameter.grad is not None and parameter.grad.tolist() == [2.0, 2.0]


def test_buckets_go_from_the_last_parameter_to_the_first_each_of_one_dtype() -> None:
    sizes = [(100, torch.float32), (1, torch.float64), (3, torch.float32), (2, torch.float32), (1, torch.float32)]
    parameters = [nn.Parameter(torch.zeros(size, dtype=dtype)) for size, dtype in sizes]
    number = {parameter: place for place, parameter in enumerate(parameters)}
    found = [[number[parameter] for parameter in bucket] for bucket in gradient_buckets(parameters, 8, 20)]
    assert found == [[4, 3], [2, 0], [1]]
    assert gradient_buckets([], 1, 1) == []


def test_a_bucket_is_sent_before_the_backward_pass_goes_on(crew: Crew) -> None:
    for events in crew.run(2, order_of_sending, 1):
        assert events == ["pass 2", "send", "pass 1", "send", "pass 0", "send"]


def test_what_is_used_twice_is_sent_once_it_is_complete(crew: Crew) -> None:
    for events in crew.run(2, order_of_sending, 2):
        assert events.count("send") == 3
        assert events[-6:] == ["pass 2", "send", "pass 1", "send", "pass 0", "send"]


def test_who_fails_in_the_middle_leaves_and_the_others_notice_at_once(crew: Crew) -> None:
    *others, failed = crew.run(4, failed_in_backward)
    assert failed == "out of memory"
    assert all("onnection" in said for said in others), others


def test_a_second_backward_pass_is_refused(crew: Crew) -> None:
    for said in crew.run(2, changed_twice):
        assert "of shape (3, 3) has changed after the workers began to sum it" in said
