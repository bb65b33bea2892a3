"""Ray's processes apart from the terminal's and the batch system's signals, which are meant for coretune."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def processes_apart() -> Iterator[None]:
    """Gives each process that Ray starts meanwhile a process group of its own.

    `timeout`, batch systems and shells signal a whole process group. Ray's processes would end by it at once, together
    with the runs that coretune wants to store. They end when this process ends all the same: the kernel kills them.
    Where it cannot, Ray has another process for that, which needs them all in one group; then nothing is changed.
    """
    services: Any = sys.modules.get("ray._private.services")
    if services is None or not sys.modules["ray._private.utils"].detect_fate_sharing_support_linux():
        yield
        return
    plain = services.ConsolePopen

    class Apart(plain):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options, process_group=0)

    services.ConsolePopen = Apart
    try:
        yield
    finally:
        services.ConsolePopen = plain
