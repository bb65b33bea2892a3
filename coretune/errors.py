"""Every error that coretune raises on purpose.

    CoretuneError
    ├── RequestError        the request is wrong (study file, option, argument)      exit code 2
    │   └── StudyError      a study file is wrong: carries all of its problems
    ├── UnfitError          the environment is not fit (disk, lock, cluster, data)   exit code 3
    │   ├── DeadClusterError  the Ray cluster does not answer any more
    │   ├── LockedError     another process writes the results directory
    │   ├── MissingError    data or a checkpoint is not there; what needs none of it can go on
    │   └── StorageError    a file cannot be read or written
    └── RunError            a run cannot be finished                                 exit code 1
        ├── CheckError      a result contradicts itself: it is not to be believed
        └── DivergedError   the loss is not finite

Messages say what is wrong, where (file, line, key), and what would be right.
"""

from __future__ import annotations

from dataclasses import dataclass


class CoretuneError(Exception):
    """Base of all errors that coretune raises on purpose."""

    exit_code = 1


class RequestError(CoretuneError):
    """What was asked for is wrong; nothing was computed."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a study file.

    Attributes:
        key: Dotted path of the key, empty for the file as a whole.
        message: What is wrong and what would be right.
        line: One-based line in the file, or None where the value did not come from a line.
        file: The file or option that the value came from.
    """

    key: str
    message: str
    line: int | None = None
    file: str = ""

    def __str__(self) -> str:
        where = self.file + (f":{self.line}" if self.line is not None else "")
        return ": ".join(part for part in (where, self.key, self.message) if part)


class StudyError(RequestError):
    """A study file is wrong; all its problems at once, one per line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class UnfitError(CoretuneError):
    """The environment cannot do what was asked: the disk, the cluster, missing data."""

    exit_code = 3


class StorageError(UnfitError):
    """A file cannot be read or written."""


class MissingError(UnfitError):
    """Data or a checkpoint is not there at all; what is there and wrong is an `UnfitError`."""


class DeadClusterError(UnfitError):
    """The Ray cluster does not answer any more: nothing can be asked of it, not even to end."""


class LockedError(UnfitError):
    """Another process writes this results directory."""


class RunError(CoretuneError):
    """A run cannot be finished."""


class CheckError(RunError):
    """A result contradicts itself, so that it is not to be believed: a fault of the code, of the model, or of both."""


class DivergedError(RunError):
    """The loss stopped being finite.

    Attributes:
        epoch: One-based epoch.
        step: One-based step of that epoch.
    """

    def __init__(self, message: str, *, epoch: int, step: int) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.step = step
