"""Copies of states, so that what is stored does not change while the training goes on."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def snapshot(value: Any) -> Any:
    """Returns a copy of tensors (on the CPU) and plain values in dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value


def module_snapshot(module: nn.Module) -> dict[str, Any]:
    """Returns a copy of a module's state, with the versions that torch keeps beside the keys."""
    state: dict[str, Any] = module.state_dict()
    for key, value in state.items():
        state[key] = snapshot(value)
    return state
