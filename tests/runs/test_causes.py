from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from coretune.errors import DivergedError, RequestError, StorageError, UnfitError
from coretune.runs.causes import cause_of
from coretune.spec.run import TrainSpec


def exception(action: object) -> Exception:
    try:
        action()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DivergedError("the loss broke", epoch=3, step=7), "diverged", "the loss broke"),
        (MemoryError(), "out_of_memory", "MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmore"), "out_of_memory", "CUDA out of memory. Tried"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "out_of_memory", "not enough memory"),
        (exception(lambda: torch.empty(2**50)), "out_of_memory", "can't allocate memory"),
        (RequestError("version 2 is asked for"), "invalid", "version 2 is asked for"),
        (exception(lambda: TrainSpec(lr=-1.0)), "invalid", "TrainSpec: lr: Input should be greater than 0"),
        (UnfitError("no weights"), "environment", "no weights"),
        (StorageError("disk full"), "environment", "disk full"),
        (FileNotFoundError(2, "gone"), "environment", "gone"),
        (torch.AcceleratorError("illegal memory access"), "environment", "illegal memory access"),
        (ZeroDivisionError("division by zero"), "error", "ZeroDivisionError: division by zero"),
        (KeyError(), "error", "KeyError: KeyError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_kinds_and_messages(error: Exception, kind: str, message: str) -> None:
    cause = cause_of(error)
    assert cause.kind == kind
    assert message in cause.message
    assert "\n" not in cause.message
    diverged = isinstance(error, DivergedError)
    assert (cause.epoch, cause.step) == ((3, 7) if diverged else (None, None))


def test_a_validation_error_is_one() -> None:
    assert isinstance(exception(lambda: TrainSpec(lr=-1.0)), ValidationError)
