"""Mixture-CE is Core-tuning at η = 0, with the same draws."""

from __future__ import annotations

import pytest
import torch
from support.training import context, reports, tensors_of, toy_parts, toy_spec

from coretune.tuning.loop import train

torch.set_num_threads(1)


@pytest.mark.parametrize(("detach", "mining"), [(False, "hard"), (True, "hard"), (False, "random")])
def test_it_is_core_tuning_without_contrast(detach: bool, mining: str) -> None:
    options = {"alpha": 0.5, "positive_floor": 0.3, "detach_originals": detach, "mining": mining}
    found = []
    for name, more in (("mixture_ce", {}), ("core_tuning", {"eta": 0.0})):
        parts = toy_parts(toy_spec(name, params={**options, **more}))
        training = train(parts, context())
        reports(training)
        found.append((tensors_of(parts), training.history[-1]))
    (own, last), (core, core_last) = found
    assert all(torch.equal(core[key], value) for key, value in own.items())
    assert not [key for key in own if "projector" in key]
    assert last.metrics == core_last.metrics and last.counts == core_last.counts


def test_detached_originals_change_the_training() -> None:
    found = []
    for detach in (False, True):
        parts = toy_parts(toy_spec("mixture_ce", params={"detach_originals": detach}))
        reports(train(parts, context()))
        found.append(tensors_of(parts)["encoder.conv.weight"])
    assert not torch.allclose(*found)
