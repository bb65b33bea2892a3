from __future__ import annotations

import numpy as np
import pytest
import torch
from support.crew import Crew
from support.sharded import dropped_out, encoded_again
from support.training import TinyNet, context

from coretune.nets.model import Model
from coretune.tuning.division import Part
from coretune.tuning.encode_part import encode_part, encoding
from coretune.tuning.shard import Shard

torch.set_num_threads(1)


def test_a_divided_group_without_synchronisation_is_refused(crew: Crew) -> None:
    with pytest.raises(AssertionError, match="has to say `views = 2`"):
        crew.run(2, encoded_again, Part(np.array([0, 0, 1, 1]), (4,), 2, False))


def test_a_worker_without_a_share_of_it_refuses_too() -> None:
    part = Part(np.array([0, 0, 1, 1]), (4,), 3, False)
    with pytest.raises(RuntimeError, match="has to say `views = 2`"):
        encoded_again(Shard(2, 3), part)


def test_all_workers_get_all_features(crew: Crew) -> None:
    first, second = crew.run(2, encoded_again, Part(np.array([0, 0, 1, 1, 1]), (2, 3), 2, False))
    assert first.shape == (5, 6) and torch.equal(first, second)


def test_one_worker_encodes_by_the_model_itself() -> None:
    model = Model(TinyNet()).eval()
    part = Part(np.zeros(5, np.int64), (2, 3), 1, False)
    images = torch.rand(5, 3, 8, 8)
    assert encoding(model, part, context()) == model.features
    torch.testing.assert_close(encode_part(model, images, part, context()), model.features(images))


def test_workers_drop_out_other_values_and_go_on_alike(crew: Crew) -> None:
    found = crew.run(2, dropped_out, Part(np.array([0, 1, 0, 1]), (4,), 2, False))
    (features, after), (others, after_too) = found
    assert torch.equal(features, others) and torch.equal(after, after_too)
    assert len(features.unique(dim=0)) == 4, "all samples are alike, and no two of them are treated alike"
    assert torch.equal(crew.run(2, dropped_out, Part(np.array([0, 1, 0, 1]), (4,), 2, False))[0][0], features)


def test_micro_batches_of_a_net_that_shares_nothing_may_be_of_any_size() -> None:
    model = Model(TinyNet()).eval()
    part, sizes = Part(np.zeros(5, np.int64), (5,), 1, False), []
    model.encoder.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    images = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(encode_part(model, images, part, context(micro_batch=2)), model.features(images))
    assert sizes[:3] == [2, 2, 1]
