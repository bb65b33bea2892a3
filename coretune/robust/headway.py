"""How far an evaluation is that takes minutes: told stage by stage, with a sign of life from every forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

EVERY_S = 0.25
"""Seconds between two signs of life of which nothing but the passes differ."""


@dataclass(frozen=True)
class Headway:
    """How far an evaluation is.

    Attributes:
        stage: What is done: `attack`, `probes`, `median`.
        detail: What of it, e.g. `square at ε = 4/255`; empty where there is nothing to say.
        done: Units of work of the stage that are done: images, or tries of an image.
        total: How many units the stage has.
        passes: Images that went through the model since the evaluation began.
    """

    stage: str = ""
    detail: str = ""
    done: int = 0
    total: int = 0
    passes: int = 0


Tell = Callable[[Headway], None]


class Teller:
    """Tells how far an evaluation is.

    Args:
        tell: Is told so, in this process and at once; None: nobody.
        clock: Seconds, growing.
    """

    def __init__(self, tell: Tell | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._now = Headway()
        self._told = clock()

    def begin(self, stage: str, total: int) -> None:
        """Begins a stage of so many units."""
        self._say(replace(self._now, stage=stage, detail="", done=0, total=total))

    def at(self, detail: str) -> None:
        """Says what is done now."""
        if self._tell is not None and detail != self._now.detail:
            self._say(replace(self._now, detail=detail))

    def advance(self, units: int) -> None:
        """Notes that so many units more are done."""
        self._say(replace(self._now, done=self._now.done + units))

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Counts what goes through a model, images (n, ...) by images."""
        if self._tell is None:
            yield
            return
        hook = model.register_forward_pre_hook(self._passed)
        try:
            yield
        finally:
            hook.remove()

    def _passed(self, _model: nn.Module, given: tuple[Any, ...]) -> None:
        self._now = replace(self._now, passes=self._now.passes + len(given[0]))
        if self._clock() - self._told >= EVERY_S:
            self._say(self._now)

    def _say(self, now: Headway) -> None:
        self._now = now
        if self._tell is not None:
            self._told = self._clock()
            self._tell(now)
