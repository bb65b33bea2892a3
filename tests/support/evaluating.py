"""Further evaluations of runs that nobody trained."""

from __future__ import annotations

from typing import Any

from coretune.results.record import Evaluation
from coretune.spec.components import Ref
from coretune.spec.run import EvalSpec


def put(builder: Any, run_id: str, spec: EvalSpec, metrics: dict[str, float], details: dict[str, Any]) -> None:
    """Writes an evaluation beside a run's record."""
    builder.store.put_evaluation(
        Evaluation(
            eval_id=spec.eval_id(run_id),
            run_id=run_id,
            spec=spec.model_dump(mode="json", exclude_defaults=True),
            metrics=metrics,
            details=details,
            created="2026-11-01T10:00:14+00:00",
        )
    )


def spec(name: str, **options: Any) -> EvalSpec:
    """The description of an evaluation."""
    params = options.pop("params", {})
    return EvalSpec(evaluation=Ref(name=name, version=1, params=params), **options)
