"""Whether the process that runs a study is still there."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from coretune_cli.formats import duration, parse_time
from coretune_cli.state import StudyState

QUIET_S = 30.0
"""The driver writes its state every 2 s; after this long, something is the matter."""

Life = Literal["ended", "alive", "quiet", "gone", "unknown"]


@dataclass(frozen=True)
class Driver:
    """What is known about the driver of a study.

    Attributes:
        life: `ended` (it said so), `alive`, `quiet` (alive, but silent), `gone` (without a word), `unknown` (it runs on
            another host and has been silent).
        text: The same in words.
        silent_s: Seconds since it wrote its state, or None if it did not say when.
    """

    life: Life
    text: str
    silent_s: float | None

    @property
    def lost(self) -> bool:
        """Whether nobody will continue the study by itself."""
        return self.life == "gone"


def inspect_driver(state: StudyState, *, host: str | None = None, now: datetime | None = None) -> Driver:
    """Looks for the driver's process.

    Args:
        state: What it said last.
        host: This machine's name; default: asked from the system.
        now: The present; default: the clock's.
    """
    moment = parse_time(state.updated)
    silent = max(0.0, ((now or datetime.now(UTC)) - moment).total_seconds()) if moment is not None else None
    who = f"pid {state.pid} on {state.host}"
    if state.ended:
        return Driver("ended", f"the driver ended ({state.phase})", silent)
    late = silent is None or silent > QUIET_S
    if state.host != (host or socket.gethostname()):
        if late:
            return Driver("unknown", f"the driver, {who}, has not been heard of for {duration(silent)}", silent)
        return Driver("alive", f"the driver runs elsewhere: {who}", silent)
    if not is_running(state.pid, not_after=moment):
        return Driver("gone", f"the driver, {who}, is gone without a word: killed, or the machine went down", silent)
    if late:
        return Driver("quiet", f"the driver, {who}, is there but has been silent for {duration(silent)}", silent)
    return Driver("alive", f"the driver is running: {who}", silent)


def is_running(pid: int, *, not_after: datetime | None = None) -> bool:
    """Returns whether a process exists on this machine.

    Args:
        pid: Its id; ids are used again.
        not_after: A moment at which it existed already: a younger process is another one.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return not_after is None or process.create_time() <= not_after.timestamp() + 2.0
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
