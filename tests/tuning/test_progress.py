from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.tuning.method import LossTerms
from coretune.tuning.progress import Breakdown, LossLog

torch.set_num_threads(1)


def terms(loss: float, dtype: torch.dtype = torch.float64, **counts: int) -> LossTerms:
    total = torch.tensor(loss, dtype=dtype, requires_grad=True)
    return LossTerms(total, {"half": total / 2}, {name: torch.tensor(count) for name, count in counts.items()})


def filled(losses: list[float], fetch: set[int] = frozenset()) -> LossLog:  # type: ignore[assignment]
    log = LossLog()
    for number, loss in enumerate(losses):
        log.add(terms(loss, odd=number))
        if number in fetch:
            log.breakdown()
    return log


@settings(max_examples=40)
@given(losses=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), fetch=st.sets(st.integers(0, 19)))
def test_numbers_do_not_depend_on_when_they_were_read(losses: list[float], fetch: set[int]) -> None:
    log, whole = filled(losses, fetch), filled(losses)
    assert log.means() == whole.means()
    assert log.means()["loss"] == sum(losses) / len(losses)
    assert log.counts() == {"odd": sum(range(len(losses)))}
    restored = LossLog()
    restored.load(json.loads(json.dumps(log.state())))
    restored.add(terms(7.0))
    whole.add(terms(7.0))
    assert restored.means() == whole.means()
    assert restored.recent() == whole.recent()


@settings(max_examples=40)
@given(
    before=st.lists(st.floats(-10, 10), max_size=12),
    epoch=st.lists(st.floats(-10, 10), max_size=12),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
)
def test_a_breakdown_has_its_step_and_what_came_before(before: list[float], epoch: list[float], bad: float) -> None:
    log = filled(before)
    log.new_epoch()
    for loss in epoch:
        log.add(terms(loss))
    assert log.breakdown() is None
    for loss in (bad, 1.0, math.nan):
        log.add(terms(loss))
    found = log.breakdown()
    assert isinstance(found, Breakdown)
    assert found.step == len(epoch)
    assert found.before == tuple([*before, *epoch][-5:])
    assert math.isnan(found.terms["half"]) or math.isinf(found.terms["half"])


def test_counts_are_of_the_training_and_means_of_the_epoch() -> None:
    log = filled([1.0, 3.0])
    log.new_epoch()
    assert log.means() == {}
    log.add(terms(5.0, odd=10))
    assert log.means() == {"loss": 5.0, "half": 2.5}
    assert log.counts() == {"odd": 11}


def test_terms_may_be_of_any_dtype_and_need_not_come_in_every_step() -> None:
    log = LossLog()
    log.add(LossTerms(torch.tensor(1.0), {"a": torch.tensor(2.0, dtype=torch.bfloat16)}))
    log.add(LossTerms(torch.tensor(3.0, dtype=torch.float64), {"a": torch.tensor(4.0), "loss": torch.tensor(9.0)}))
    log.add(LossTerms(torch.tensor(2.0)))
    assert log.means() == {"loss": 2.0, "a": 3.0}


def test_no_graph_is_kept() -> None:
    log = LossLog()
    step = terms(1.0)
    log.add(step)
    assert all(not tensor.requires_grad for found in log._fresh.values() for tensor in found)


def test_a_state_without_its_parts_is_refused() -> None:
    with pytest.raises(KeyError):
        LossLog().load({"values": {}})
