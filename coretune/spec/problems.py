"""Collects what is wrong in a study file: each problem once, with its key, and its line or the option it came from."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from coretune.errors import Problem, StudyError
from coretune.spec.wording import Spot, describe, is_consequence, locate
from coretune.spec.yamlfile import Document, Path_

MAX_KEY = 80
MAX_ORIGIN = 60


class Problems:
    """All problems of one study file, in the order of its lines."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.found: list[Problem] = []
        self._origin: dict[Path_, str] = {}
        self._stands_at: dict[Path_, Path_] = {}

    def overridden(self, path: Path_, origin: str) -> None:
        """Notes that a key's value came from an option, not from the file."""
        self._origin[path] = shortened(origin)

    def stands_at(self, path: Path_, place: Path_) -> None:
        """Notes where a key stands that the file says otherwise: `methods.ce` at `methods.0` of a list."""
        self._stands_at[path] = place

    def make(self, path: Path_, message: str) -> Problem:
        """Returns a problem at a key."""
        key = ".".join(str(part)[:MAX_KEY] for part in path)
        for length in range(len(path), 0, -1):
            if path[:length] in self._origin:
                return Problem(key, message, None, self._origin[path[:length]])
        below = [origin for place, origin in self._origin.items() if path and place[: len(path)] == path]
        if below and path not in self.document.lines:
            return Problem(key, message, None, below[0])
        suffix = f" (with {', '.join(below)})" if below else ""
        return Problem(key, message + suffix, self._line(path), self.document.file)

    def add(self, path: Path_, message: str) -> None:
        """Adds a problem, unless it is known already."""
        self.include(self.make(path, message))

    def include(self, problem: Problem) -> None:
        """Adds a problem that has its place already, unless it is known."""
        if problem not in self.found:
            self.found.append(problem)

    def add_errors(
        self,
        prefix: Path_,
        error: ValidationError,
        model: type[BaseModel],
        *,
        only: Collection[str] | None = None,
        suffix: str = "",
    ) -> list[Path_]:
        """Adds what a model's validation found below a key.

        Args:
            prefix: The key that holds the model's keys.
            error: What validation found.
            model: What was validated.
            only: Leave out what concerns other keys than these, or the model as a whole.
            suffix: Ends every message.

        Returns:
            The full paths of what was added.
        """
        at: dict[Path_, tuple[Spot, list[ErrorDetails]]] = {}
        for detail in error.errors():
            spot = locate(model, detail["loc"])
            if is_consequence(detail):
                continue
            if only is None or (spot.path and spot.path[0] in only):
                at.setdefault(spot.path, (spot, []))[1].append(detail)
        for path, (spot, details) in at.items():
            self.add((*prefix, *path), describe(details, spot) + suffix)
        return [(*prefix, *path) for path in at]

    def stop_if_any(self) -> None:
        """Raises what was found.

        Raises:
            StudyError: There are problems.
        """
        if self.found:
            raise StudyError(in_order(self.found))

    def _line(self, path: Path_) -> int | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self.document.lines:
                break
            if path[:length] in self._stands_at:
                return self.document.line(self._stands_at[path[:length]])
        return self.document.line(path)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Returns problems in the order of their lines, those without one last."""
    return sorted(problems, key=lambda problem: (problem.line is None, problem.line or 0))


def shortened(origin: str) -> str:
    """Returns an option as a message shows it."""
    return origin if len(origin) <= MAX_ORIGIN else origin[: MAX_ORIGIN - 1] + "…"
