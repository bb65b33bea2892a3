from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from coretune.results.record import Cause, Evaluation, Record

TIME = "2026-01-01T00:00:00.000+00:00"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=30)
@given(
    st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), NUMBERS)),
    st.sampled_from(["completed", "pruned", "failed"]),
)
def test_a_record_reads_back(metrics: dict[str, dict[str, float]], status: str) -> None:
    record = Record.model_validate(
        {"run_id": "a", "status": status, "spec": {"seed": 0}, "metrics": metrics, "started": TIME, "finished": TIME}
    )
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert record.settled == (status != "failed")


def test_metrics_are_finite() -> None:
    with pytest.raises(ValidationError, match="finite"):
        Record(
            run_id="a", status="completed", spec={}, metrics={"last": {"x": float("nan")}}, started=TIME, finished=TIME
        )


def test_a_cause_is_one_of_five() -> None:
    assert Cause(kind="diverged", message="loss is nan", epoch=3, step=7).epoch == 3
    with pytest.raises(ValidationError):
        Cause(kind="bad luck", message="")  # type: ignore[arg-type]


def test_an_evaluation_reads_back() -> None:
    evaluation = Evaluation(eval_id="e", run_id="r", spec={}, metrics={"top1": 99.0}, created=TIME, details={"a": [1]})
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation
