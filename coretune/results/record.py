"""What a finished run and a finished evaluation left. Written once, atomically."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from coretune.spec.frozen import Frozen

Status = Literal["completed", "pruned", "failed"]
CauseKind = Literal["diverged", "out_of_memory", "invalid", "environment", "error"]


class Cause(Frozen):
    """Why a run failed.

    `environment` failures (a lost process or node, a full disk) are retried by a resume; `diverged` ones only with
    `--retry-failed`; `invalid`, `out_of_memory` and `error` would happen again and are retried with it too.
    """

    kind: CauseKind
    message: str
    epoch: int | None = None
    step: int | None = None


class Record(Frozen):
    """What a finished run left.

    Attributes:
        spec: The canonical RunSpec.
        metrics: On the validation part, by weights: `last`, and `best` with its `epoch`. Accuracies in per cent.
        timings: Seconds (`train_s`, `evaluate_s`, `total_s`) and `images_per_s`.
        environment: Versions, platform, device, threads: what may change the result within rounding.
        notes: What a reader should know, e.g. how many anchors had no positive.
        failed_evaluations: Why a further evaluation has no result, by its id.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC.
    """

    schema_version: int = 1
    run_id: str
    status: Status
    cause: Cause | None = None
    spec: dict[str, Any]
    metrics: dict[str, dict[str, float]] = Field({})
    timings: dict[str, float] = Field({})
    environment: dict[str, Any] = Field({})
    notes: tuple[str, ...] = ()
    failed_evaluations: dict[str, Cause] = Field({})
    started: str
    finished: str

    @property
    def settled(self) -> bool:
        """Whether a resume leaves this run alone: completed or pruned."""
        return self.status in ("completed", "pruned")


class Evaluation(Frozen):
    """What a finished evaluation left, beside the record of its run."""

    schema_version: int = 1
    eval_id: str
    run_id: str
    spec: dict[str, Any]
    metrics: dict[str, float]
    details: dict[str, Any] = Field({}, description="Anything beyond numbers, e.g. the class-to-index map.")
    timings: dict[str, float] = Field({}, description="Seconds.")
    created: str
