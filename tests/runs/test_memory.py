"""Out of memory: half the micro-batch, as long as there is less to be had by that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.near import assert_near
from support.odd_method import ODD
from support.training import accuracy_evaluation, context, digits_job, digits_spec, toy_parts, toy_spec

from coretune.nets.weights import load_weights
from coretune.results.record import Cause
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.runs.memory import exhausted, halved, largest_micro_batch, smallest_micro_batch
from coretune.spec.catalog import load_catalog
from coretune.tuning.context import Context
from coretune.tuning.shard import Shard

torch.set_num_threads(1)


def job_with_room(room: int, **options: Any) -> Job:
    """A run of two epochs of one batch of 40, in batch-norm groups of 5, with room for so many samples' activations."""
    spec = digits_spec(epochs=2, batch=40, contrast_batch=5)
    method = load_catalog((ODD,)).ref("method", "odd", {"room": room, **options})
    spec = spec.replace(method=method, data=spec.data.replace(labels_per_class=4))
    return digits_job(spec, plugins=(ODD,), keep_weights=True)


def executed(job: Job, root: Path, **options: Any) -> Execution:
    execution = Execution(job, ResultsStore(root), load_catalog(job.plugins), context(**options))
    list(execution)
    return execution


def sizes(where: Context, *, shares: bool = True, **train: Any) -> list[int | None]:
    parts = toy_parts(toy_spec("core_tuning", **train))
    parts.model.train(shares)
    found: list[int | None] = [largest_micro_batch(parts, where), smallest_micro_batch(parts, where)]
    now: Context | None = where
    while (now := halved(parts, now)) is not None:
        found.append(now.micro_batch)
    return found


@pytest.mark.parametrize(
    ("train", "options", "expected"),
    [
        ({"batch": 32, "contrast_batch": 8}, {}, [32, 8, 16, 8]),
        ({"batch": 32, "contrast_batch": 8}, {"micro_batch": 100}, [32, 8, 16, 8]),
        ({"batch": 32, "contrast_batch": 8}, {"micro_batch": 11}, [11, 8, 8]),
        ({"batch": 32, "contrast_batch": 32, "bn_group": 2}, {}, [32, 2, 16, 8, 4, 2]),
        ({"batch": 32, "contrast_batch": 32}, {}, [32, 32]),
        ({"batch": 32, "contrast_batch": 8}, {"shard": Shard(1, 2)}, [16, 8, 8]),
        ({"batch": 32, "contrast_batch": 32}, {"shard": Shard(1, 4)}, [8, 8]),
    ],
    ids=str,
)
def test_micro_batches_are_halved_down_to_a_batch_norm_group(
    train: dict[str, Any], options: dict[str, Any], expected: list[int]
) -> None:
    assert sizes(context(**options), **train) == expected


def test_without_batch_norm_they_are_halved_down_to_one_sample() -> None:
    assert sizes(context(), shares=False, batch=12, contrast_batch=12) == [12, 1, 6, 3, 1]


def test_evaluations_are_made_in_smaller_batches_too() -> None:
    parts = toy_parts(toy_spec(batch=32, contrast_batch=8))
    parts.model.train()
    now = halved(parts, context())
    assert now is not None and now.evaluation_batch == 16
    assert replace(now, micro_batch=None, evaluation_batch=256) == context()


@pytest.mark.parametrize(("room", "micro_batch"), [(40, None), (25, 20), (10, 10), (5, 5)])
def test_a_run_fits_by_smaller_micro_batches_with_the_same_result(
    tmp_path: Path, room: int, micro_batch: int | None
) -> None:
    job, alone = job_with_room(room), job_with_room(1000)
    found, expected = executed(job, tmp_path).record, executed(alone, tmp_path).record
    assert found is not None and expected is not None and found.status == "completed", found
    assert found.environment["micro_batch"] == micro_batch
    assert_near(found.metrics, expected.metrics, rtol=1e-4, atol=1e-4)
    said = [note for note in found.notes if "out of memory" in note]
    assert bool(said) == (micro_batch is not None)
    if micro_batch is not None:
        assert said[-1] == f"out of memory: trained with micro-batches of {micro_batch}, the same mathematics"
    weights = [load_weights(ResultsStore(tmp_path).weights_path(each.spec.run_id))[0] for each in (job, alone)]
    assert_near(*weights, rtol=1e-4, atol=1e-5)
    (evaluation,) = ResultsStore(tmp_path).evaluations(job.spec.run_id)
    assert evaluation.spec == accuracy_evaluation().model_dump(mode="json", exclude_defaults=True)


def test_at_the_smallest_micro_batch_a_run_fails_with_the_reason(tmp_path: Path) -> None:
    record = executed(job_with_room(4), tmp_path).record
    assert record is not None and record.status == "failed" and record.cause is not None
    assert record.cause.kind == "out_of_memory"
    assert record.cause.message == (
        "CUDA out of memory. Tried to keep 5 images. "
        "(with micro-batches of 5, one batch-norm group of a worker, and there are no smaller ones)"
    )
    assert record.environment["micro_batch"] == 5


def test_out_of_memory_in_the_middle_goes_on_from_the_stored_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coretune.runs.execute.STATE_EVERY_S", 0.0)
    job = job_with_room(0, what="memory", at=9, once=str(tmp_path / "once"))
    record = executed(job, tmp_path, tick_s=0.0).record
    assert record is not None and record.status == "completed"
    log = (ResultsStore(tmp_path).run_folder(job.spec.run_id) / "log.txt").read_text()
    assert "resume at epoch 2" in log
    lines = (ResultsStore(tmp_path).run_folder(job.spec.run_id) / "metrics-0.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert record.timings["total_s"] < 60


def test_the_smallest_micro_batch_of_one_is_said_plainly() -> None:
    cause = Cause(kind="out_of_memory", message="no room (a smaller resources.micro_batch helps)")
    assert exhausted(cause, 1).message == "no room (with micro-batches of 1, and there are no smaller ones)"
