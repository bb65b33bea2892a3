"""Comparison of nested results."""

from __future__ import annotations

from typing import Any

import torch


def assert_near(found: Any, expected: Any, *, rtol: float, atol: float, where: str = "") -> None:
    """Numbers and tensors in dictionaries and lists are equal up to a tolerance; whatever else, exactly."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_near(found[key], value, rtol=rtol, atol=atol, where=f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_near(one, other, rtol=rtol, atol=atol, where=f"{where}[{number}]")
    elif isinstance(expected, float | torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=rtol, atol=atol, msg=lambda text: f"{where}: {text}")
    else:
        assert found == expected, where
