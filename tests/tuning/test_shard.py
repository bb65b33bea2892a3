from __future__ import annotations

import numpy as np
import pytest
import torch
from support.crew import Crew
from support.near import assert_near
from support.sharded import agreed, checked, differentiated_twice, gathered, step_result, training_result
from support.training import toy_spec

from coretune.tuning.division import Part
from coretune.tuning.shard import Shard
from coretune.tuning.task import Moment

torch.set_num_threads(1)

MOMENT = Moment(seed=7, epoch=1, step=2, progress=0.5)
WORKERS = [1, 2, 3, 4]


@pytest.mark.parametrize("owner", [[0, 1, 2, 0, 1, 2, 0], [2, 2, 0, 0], [1, 1], [0, 0, 1, 1, 2]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_rows_come_in_the_order_of_the_samples(crew: Crew, owner: list[int], dtype: torch.dtype) -> None:
    part = Part(np.array(owner), (len(owner),), 3, True)
    values = torch.arange(2 * len(owner), dtype=dtype).view(-1, 2)
    weights = 1 + values
    for rank, (rows, gradient) in enumerate(crew.run(3, gathered, part, values, weights)):
        assert torch.equal(rows, values)
        assert gradient is not None and torch.equal(gradient, 3 * weights[torch.tensor(owner) == rank])


def test_one_worker_gets_back_what_it_gives() -> None:
    own = torch.rand(3, 2)
    assert Shard().gather(own, Part(np.zeros(3, np.int64), (3,), 1, False)) is own


@pytest.mark.parametrize("given", [1, 3])
def test_other_rows_than_ones_own_are_refused(given: int) -> None:
    part = Part(np.array([0, 0, 1, 1, 1]), (5,), 2, True)
    with pytest.raises(ValueError, match=rf"rows: got {given}, need 2, those of the images"):
        Shard(0, 2).gather(torch.rand(given, 2), part)


def test_a_gradients_gradient_is_refused(crew: Crew) -> None:
    part = Part(np.array([0, 1, 1]), (3,), 2, True)
    for said in crew.run(2, differentiated_twice, part):
        assert "once_differentiable" in said


def test_workers_that_have_come_apart_are_found(crew: Crew) -> None:
    values = torch.rand(5)
    assert crew.run(3, checked, values, 0.0) == ["alike"] * 3
    assert crew.run(3, checked, values * torch.nan, 0.0) == ["alike"] * 3
    assert all("weights have come apart" in said for said in crew.run(3, checked, values, 1e-6))
    assert crew.run(3, checked, values, 0.0, 1e-5) == ["alike"] * 3
    assert all("losses have come apart" in said for said in crew.run(3, checked, values, 0.0, 0.1))


def test_all_agree_on_the_number_of_the_first(crew: Crew) -> None:
    assert crew.run(3, agreed, 5) == [5, 5, 5]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("n", [12, 13, 7, 2], ids=lambda n: f"n{n}")
@pytest.mark.parametrize(
    "groups",
    [
        {"contrast_batch": 3},  # as many groups as workers, or more: whole groups
        {"contrast_batch": 12},  # one group, whose statistics are synchronised
        {"contrast_batch": 6, "bn_group": 2},
        {"contrast_batch": 3, "bn_group": 6},
        {"contrast_batch": 4, "bn_group": 3},  # neither divides the other
        {"contrast_batch": 12, "bn_group": 4},  # groups of one contrast batch on several workers
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["core_tuning", "core_tuning_released", "moco_v2"])
def test_a_step_is_that_of_one_worker(crew: Crew, workers: int, n: int, groups: dict[str, int], method: str) -> None:
    spec = toy_spec(method, batch=12, **groups)
    alone = step_result(Shard(), spec, n, MOMENT)
    for found in crew.run(workers, step_result, spec, n, MOMENT):
        assert_near(found, alone, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("bn_group", [2, 12])
def test_a_micro_batch_changes_nothing(crew: Crew, bn_group: int) -> None:
    spec = toy_spec("core_tuning", batch=12, contrast_batch=6, bn_group=bn_group)
    alone = step_result(Shard(), spec, 11, MOMENT)
    for found in crew.run(3, step_result, spec, 11, MOMENT, 2):
        assert_near(found, alone, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("groups", [{"contrast_batch": 4}, {"contrast_batch": 16}], ids=str)
def test_weights_after_twenty_steps_are_those_of_one_worker(crew: Crew, workers: int, groups: dict[str, int]) -> None:
    # 5 epochs of 4 steps, of 16, 16, 16 and 3 samples.
    spec = toy_spec("core_tuning", epochs=5, batch=16, weight_decay=1e-3, **groups)
    alone = training_result(Shard(), spec, 51, torch.float32)
    assert alone["images"] == 5 * 51
    for found in crew.run(workers, training_result, spec, 51, torch.float32):
        assert_near(found["tensors"], alone["tensors"], rtol=1e-4, atol=1e-4)
        assert_near(found["metrics"], alone["metrics"], rtol=1e-3, atol=1e-3)
        assert_near(found["train"], alone["train"], rtol=1e-3, atol=1e-3)
        assert found["images"] == alone["images"]


def test_in_double_precision_a_whole_training_is_that_of_one_worker(crew: Crew) -> None:
    spec = toy_spec("core_tuning", epochs=3, batch=16, contrast_batch=8, clip_norm=0.5)
    alone = training_result(Shard(), spec, 51, torch.float64)
    for found in crew.run(3, training_result, spec, 51, torch.float64):
        assert_near(found, alone, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "groups", [{"contrast_batch": 16, "bn_group": 4}, {"contrast_batch": 8, "bn_group": 3}], ids=str
)
def test_a_pretraining_with_shuffled_groups_is_that_of_one_worker(crew: Crew, groups: dict[str, int]) -> None:
    spec = toy_spec("moco_v2", params={"queue": 32, "momentum": 0.9}, epochs=2, batch=16, **groups)
    alone = training_result(Shard(), spec, 51, torch.float64)
    for found in crew.run(3, training_result, spec, 51, torch.float64):
        assert_near(found, alone, rtol=1e-7, atol=1e-9)


def test_workers_keep_the_same_weights_bit_for_bit(crew: Crew) -> None:
    spec = toy_spec("core_tuning", epochs=3, batch=16, contrast_batch=8)
    first, *others = crew.run(3, training_result, spec, 51, torch.float32)
    for other in others:
        assert_near(other, first, rtol=0, atol=0)


def test_a_stopped_training_goes_on_with_another_number_of_workers(crew: Crew) -> None:
    spec = toy_spec("core_tuning", epochs=3, batch=16, contrast_batch=8)
    alone = training_result(Shard(), spec, 51, torch.float64)
    stopped = crew.run(3, training_result, spec, 51, torch.float64, None, 6)
    assert len({str(found["ticks"]) for found in stopped}) == 1, "signs of life come after the same steps"
    assert stopped[0]["ticks"] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
    for found in crew.run(2, training_result, spec, 51, torch.float64, stopped[0]["state"]):
        assert_near(found, alone, rtol=1e-7, atol=1e-9)
