from __future__ import annotations

import dataclasses
import pickle

import pytest
from support.training import digits_job


def test_a_job_travels_between_processes_and_is_not_changed() -> None:
    job = digits_job(plugins=("a.py",))
    assert pickle.loads(pickle.dumps(job)) == job
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.keep_weights = True  # type: ignore[misc]
