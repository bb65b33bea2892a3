"""Why a run failed: from an exception to the cause that its record states."""

from __future__ import annotations

import torch
from pydantic import ValidationError

from coretune.errors import DivergedError, RequestError, UnfitError
from coretune.results.record import Cause

MEMORY = ("not enough memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How torch says on a CPU (Windows, Linux) and cuBLAS on a GPU that memory is used up: plain RuntimeErrors."""
SMALLER_HELPS = " (a smaller resources.micro_batch helps)"
CONNECTION = ("gloo/transport", "NCCL error", "Connection closed by peer", "Connection reset by peer")
"""How gloo and NCCL say that another worker cannot be reached, where they do not raise torch's own `DistError`."""


def cause_of(error: Exception) -> Cause:
    """Returns the cause that a record states for an exception.

    `environment` is for what another try may cure; `error` is a bug, most likely of a plug-in.
    """
    message = str(error) or type(error).__name__
    if isinstance(error, DivergedError):
        return Cause(kind="diverged", message=message, epoch=error.epoch, step=error.step)
    if _is_memory(error, message):
        return Cause(kind="out_of_memory", message=message.splitlines()[0] + SMALLER_HELPS)
    if isinstance(error, ValidationError):
        return Cause(kind="invalid", message=f"{error.title}: {'; '.join(_lines(error))}")
    if isinstance(error, RequestError):
        return Cause(kind="invalid", message=message)
    if isinstance(error, UnfitError | OSError | torch.AcceleratorError) or is_connection(error):
        return Cause(kind="environment", message=message)
    return Cause(kind="error", message=f"{type(error).__name__}: {message}")


def is_connection(error: Exception) -> bool:
    """Returns whether a worker of a run cannot reach another one."""
    known = isinstance(error, RuntimeError) and any(text in str(error) for text in CONNECTION)
    return known or isinstance(error, torch.distributed.DistError)


def _is_memory(error: Exception, message: str) -> bool:
    known = isinstance(error, RuntimeError) and any(text in message for text in MEMORY)
    return known or isinstance(error, MemoryError | torch.OutOfMemoryError)


def _lines(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
