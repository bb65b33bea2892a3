"""What stands in a checkpoint beside its tensors, read without executing anything.

Training scripts put their arguments, the best accuracy or the state of an optimiser beside the weights, and a pickle
names a class or a function for each. A few of these names are common and say nothing about the weights: for them an
`Inert` object is made, which keeps nothing and does nothing. Every other name is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import Any, NoReturn

HARMLESS = ("collections.", "torch.")
"""What the names in a checkpoint begin with that torch itself knows to be of tensors and their containers."""


def named_in(content: bytes) -> Iterator[str]:
    """Yields the classes and functions that a pickle of any protocol names, without executing it.

    Raises:
        ValueError: It is no pickle, or it is truncated.
    """
    said: list[str] = []
    for code, argument, _ in pickletools.genops(content):
        if code.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif code.name == "STACK_GLOBAL" and len(said) > 1:
            yield ".".join(said[-2:])
        elif isinstance(argument, str):
            said.append(argument)


class Inert:
    """Stands for an object that was not read: takes any arguments and any state, and keeps none."""

    def __new__(cls, *arguments: Any, **options: Any) -> Inert:
        """Returns one, whatever it should have been made of."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **options: Any) -> None: ...

    def __setstate__(self, state: object) -> None: ...

    def __reduce__(self) -> NoReturn:
        raise TypeError("what was not read cannot be written")


NAMES = (
    "argparse.Namespace",
    "datetime.datetime",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.dtypes.{kind}DType" for kind in ("Bool", "Int32", "Int64", "Float16", "Float32", "Float64")),
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "easydict.EasyDict",
    "omegaconf.dictconfig.DictConfig",
    "yacs.config.CfgNode",
)
"""The names for which an `Inert` object is made: arguments of a script, numpy's scalars and arrays, paths."""


def strange_name(content: bytes) -> str | None:
    """Returns the first class or function that a pickle names and that is nothing of tensors; None if there is none."""
    try:
        return next((name for name in named_in(content) if name not in NAMES and not name.startswith(HARMLESS)), None)
    except ValueError:
        return None
