"""Checks of the arguments of losses and mixup: each message names the argument, what was got and what is right.

Shapes, dtypes and plain numbers are always checked. The values inside tensors are checked on the CPU only: reading
one of a GPU's tensors would make the host wait for it in every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["floating", "integer", "bool"]

_KINDS: dict[Kind, Callable[[torch.dtype], bool]] = {
    "floating": lambda dtype: dtype.is_floating_point,
    "integer": lambda dtype: not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool),
    "bool": lambda dtype: dtype == torch.bool,
}


def bad_argument(argument: str, got: object, need: str) -> ValueError:
    """Returns the error of a wrong argument, to be raised."""
    return ValueError(f"{argument}: got {got}, need {need}")


def check_tensor(argument: str, value: object, kind: Kind, shape: tuple[int | str, ...], like: object) -> None:
    """Refuses what is not a tensor of this kind and shape on the device of another.

    Args:
        argument: Its name.
        value: What was got.
        kind: Family of dtypes.
        shape: Each dimension's size, or a letter for any size of at least 1.
        like: The tensor that is where this one has to be; itself for the first argument.

    Raises:
        ValueError: It is something else.
    """
    sizes = ", ".join(str(size) for size in shape)
    article = "an" if kind == "integer" else "a"
    need = f"{article} {kind} tensor ({sizes}{',' if len(shape) == 1 else ''})"
    if not isinstance(value, Tensor):
        raise bad_argument(argument, type(value).__name__, need)
    fits = len(shape) == value.ndim and all(
        size >= 1 if isinstance(wanted, str) else size == wanted
        for size, wanted in zip(value.shape, shape, strict=True)
    )
    if not fits:
        raise bad_argument(argument, f"shape {tuple(value.shape)}", need)
    if not _KINDS[kind](value.dtype):
        raise bad_argument(argument, value.dtype, need)
    if isinstance(like, Tensor) and value.device != like.device:
        raise bad_argument(argument, f"a tensor on {value.device}", f"one on {like.device}, as the first argument")


def check_between(argument: str, values: Tensor, low: float, high: float) -> None:
    """Refuses a tensor on the CPU with a value outside [low, high]; NaN is outside. On other devices does nothing.

    Raises:
        ValueError: Names the first such value and its place.
    """
    if values.device.type != "cpu":
        return
    inside = (values >= low) & (values <= high)
    if not bool(inside.all()):
        place = [int(index) for index in (~inside).nonzero()[0]]
        raise bad_argument(argument, f"{values[tuple(place)].item()} at {place}", f"values in [{low:g}, {high:g}]")


def check_finite(argument: str, values: Tensor) -> None:
    """Refuses a tensor on the CPU with a NaN or an infinity. On other devices does nothing.

    Raises:
        ValueError: Names the first such value and its place.
    """
    if values.device.type != "cpu" or bool(values.isfinite().all()):
        return
    place = [int(index) for index in (~values.isfinite()).nonzero()[0]]
    raise bad_argument(argument, f"{values[tuple(place)].item()} at {place}", "finite values")


def check_number(argument: str, value: object, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuses what is not a finite number in [low, high], or is `low` itself if that end is open.

    Raises:
        ValueError: It is something else; a bool or a tensor is no number.
    """
    number = _as_float(value)
    if math.isfinite(number) and low <= number <= high and not (open_low and number == low):
        return
    ends = f"> {low:g}" if open_low else f">= {low:g}"
    need = f"a finite number {ends}" + (f" and <= {high:g}" if high < math.inf else "")
    raise bad_argument(argument, value if _is_number(value) else _told(value), need)


def check_whole_number(argument: str, value: object, low: int, *, optional: bool = False) -> None:
    """Refuses what is not an integer of at least `low`, nor None if it is optional.

    Raises:
        ValueError: It is something else; a bool is no integer here.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise bad_argument(argument, _told(value), f"an integer >= {low}" + (", or None" if optional else ""))


def check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses what is not among the choices.

    Raises:
        ValueError: Lists the choices.
    """
    if not isinstance(value, str) or value not in choices:
        raise bad_argument(argument, _told(value), f"one of: {', '.join(choices)}")


def check_generator(argument: str, value: object) -> None:
    """Refuses what is neither a generator of random numbers on the CPU nor None.

    Raises:
        ValueError: It is something else.
    """
    need = "one on the CPU, so that no device changes draws"
    if value is not None and not isinstance(value, torch.Generator):
        raise bad_argument(argument, _told(value), f"a torch.Generator, {need}; or None")
    if value is not None and value.device.type != "cpu":
        raise bad_argument(argument, f"one on {value.device}", need)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_float(value: object) -> float:
    """Returns a number as a float, and what is none as NaN."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _told(value: object) -> str:
    """Returns how a message names what was got: plain values themselves, of others the type."""
    return repr(value) if isinstance(value, (str, int, float, complex, type(None))) else type(value).__name__


def computing_dtype(values: Tensor) -> torch.dtype:
    """Returns the dtype to compute in: float64 stays, everything smaller becomes float32."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Returns a context in which autocast does not round to half precision."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
