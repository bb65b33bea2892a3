"""How Ray is left."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coretune.errors import DeadClusterError


@contextmanager
def shut_down_after(ray: Any) -> Iterator[None]:
    """Stops Ray after the context; a cluster that is dead is left as it is, at the end of this process too.

    Ray would ask it to forget this process, and wait for an answer.
    """
    try:
        yield
    except DeadClusterError:
        atexit.unregister(ray.shutdown)
        raise
    except BaseException:
        _shut_down(ray)
        raise
    _shut_down(ray)


def _shut_down(ray: Any) -> None:
    """Stops Ray.

    Should another thread free one of Ray's objects meanwhile, Ray would end this process with code 1. The garbage
    collector runs in whichever thread allocates: it runs before, and not during the shutdown.
    """
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if collecting:
            gc.enable()
