"""What happened in a study, newest last, for the screen and `state.json`."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coretune.errors import StorageError
from coretune.results.files import append_line
from coretune.results.times import now_iso

Level = Literal["info", "warning", "error"]
KEPT = 50


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    time: str
    level: Level
    text: str


class EventLog:
    """The newest events in memory, and all of them in a log file.

    Events are added wherever something goes wrong, so that adding one never fails: that the log cannot be written is an
    event itself, once.

    Args:
        path: The log file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._incomplete = False
        self._lock = threading.RLock()  # a signal handler may add while this thread does

    def add(self, level: Level, text: str) -> None:
        """Notes something, on one line."""
        event = Event(now_iso(), level, " ".join(text.split()))
        with self._lock:
            self._events.append(event)
            try:
                append_line(self._path, f"{event.time} {level} {event.text}")
            except StorageError as error:
                if not self._incomplete:
                    self._events.append(Event(now_iso(), "warning", f"the log is incomplete: {error}"))
                self._incomplete = True

    def newest(self) -> list[dict[str, str]]:
        """Returns the newest events as plain values."""
        with self._lock:
            return [{"time": event.time, "level": event.level, "text": event.text} for event in self._events]
