from __future__ import annotations

from typing import Any

import pytest
import torch
from support.crew import Crew
from support.segmenting import make_model, workers_step

from coretune.segment.encode import encoded
from coretune.tuning.context import Context
from coretune.tuning.division import Part, divide
from coretune.tuning.shard import Shard

GROUPS = (
    {"contrast_batch": 4},  # as many groups as workers, or more: whole groups
    {"contrast_batch": 12},  # one group, whose statistics are synchronised, in the head, too
    {"contrast_batch": 6, "bn_group": 3},
)


def close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for kind in ("loss", "gradients", "buffers"):
        assert found[kind].keys() == expected[kind].keys()
        for name, value in expected[kind].items():
            assert torch.allclose(found[kind][name], value, rtol=1e-6, atol=1e-8), f"{kind} {name}"
    assert {name: int(value) for name, value in found["counts"].items()} == {
        name: int(value) for name, value in expected["counts"].items()
    }


@pytest.mark.parametrize("keys", GROUPS, ids=str)
@pytest.mark.parametrize("method", ["ce", "core_tuning"])
def test_workers_come_to_the_loss_and_gradients_of_one(crew: Crew, method: str, keys: dict[str, int]) -> None:
    for n in (12, 7):
        alone = workers_step(Shard(), method, n, dict(keys))
        for workers in (2, 3):
            for found in crew.run(workers, workers_step, method, n, dict(keys)):
                close(found, alone)


@pytest.mark.parametrize("head", ["deeplabv3", "lraspp"])
def test_other_heads_too(crew: Crew, head: str) -> None:
    keys = {"contrast_batch": 12, "head": head}
    alone = workers_step(Shard(), "core_tuning", 6, dict(keys))
    for found in crew.run(2, workers_step, "core_tuning", 6, dict(keys)):
        close(found, alone)


def test_micro_batches_change_nothing() -> None:
    keys = {"contrast_batch": 12, "bn_group": 3}
    whole = workers_step(Shard(), "core_tuning", 12, dict(keys))
    close(workers_step(Shard(), "core_tuning", 12, dict(keys), micro_batch=3), whole)


def test_outputs_are_those_of_the_model() -> None:
    model = make_model().eval()
    images = torch.rand(5, 3, 32, 24)
    spec = Part(*_alone(5))
    found = encoded(model, images, spec, Context(device=torch.device("cpu")), auxiliary=True)
    expected = model.outputs(images, auxiliary=True)
    assert torch.allclose(found.features, expected.features, atol=1e-5)
    assert torch.allclose(found.logits, expected.logits, atol=1e-5)
    assert found.auxiliary is not None and expected.auxiliary is not None
    assert torch.allclose(found.auxiliary, expected.auxiliary, atol=1e-5)
    assert encoded(model, images, spec, Context(device=torch.device("cpu")), auxiliary=False).auxiliary is None


def _alone(n: int) -> tuple[Any, ...]:
    from coretune.spec.run import TrainSpec

    part = divide(n, TrainSpec(batch=8, contrast_batch=8), 1, views=1).whole
    return part.owner, part.groups, part.workers, part.synchronised
