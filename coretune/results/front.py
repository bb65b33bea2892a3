"""The front of two objectives, and the three configurations on it that final runs are made of. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from coretune.results.cellfile import Choice, TrialEntry
from coretune.spec.objective import Direction

KNEE = "knee"
RESOLUTION = 1e-9
"""Heights above the line between the ends that differ by less, in units of the normalised axes, are equal."""

Point = tuple[float, float]


def front_of(points: Sequence[Point], directions: Sequence[Direction]) -> list[int]:
    """Returns which points no other one dominates, from the worst to the best in the first coordinate.

    A point dominates another if it is at least as good in both coordinates and better in one. Of equal points the first
    one stands for all. So the first coordinate gets better along the front and the second one worse, strictly.

    Args:
        points: Values of the two objectives.
        directions: Whether larger (max) or smaller (min) is better, of each.
    """
    raised = [_raised(point, directions) for point in points]
    order = sorted(range(len(points)), key=lambda number: (-raised[number][0], -raised[number][1], number))
    found: list[int] = []
    for number in order:
        if not found or raised[number][1] > raised[found[-1]][1]:
            found.append(number)
    return found[::-1]


def knee_of(front: Sequence[Point], directions: Sequence[Direction]) -> int:
    """Returns the place on a front where a gain in one objective begins to cost most of the other.

    Both axes are normalised so that the ends of the front are 0 and 1 of each. The knee is the point farthest beyond
    the line between the ends, on the side that is better in both: the greatest x + y (Das, "On characterizing the knee
    of the Pareto curve based on normal-boundary intersection", Structural Optimization 18, 1999). Of equals it is the
    one that is best in the first objective; so it is that end where no point lies beyond the line, and of two points.

    Args:
        front: Points as `front_of` orders them, at least one.
        directions: As there.
    """
    raised = [_raised(point, directions) for point in front]
    (low, top), (high, bottom) = raised[0], raised[-1]
    if len(front) == 1:
        return 0
    heights = [(x - low) / (high - low) + (y - bottom) / (top - bottom) for x, y in raised]
    most = max(heights) - RESOLUTION
    return max(place for place, height in enumerate(heights) if height >= most)


def roles_of(metrics: Sequence[str]) -> tuple[str, ...]:
    """Returns what the choices of a cell are called; of one objective there is one, without a name."""
    return () if len(metrics) == 1 else (*(f"best_{metric}" for metric in metrics), KNEE)


def trials_on_front(
    trials: Sequence[TrialEntry], metrics: Sequence[str], directions: Sequence[Direction]
) -> list[TrialEntry]:
    """Returns the completed trials on the front of two objectives, as `front_of` orders them."""
    known = sorted((trial for trial in trials if trial.state == "completed" and trial.scores), key=lambda t: t.number)
    return [known[place] for place in front_of([point_of(trial, metrics) for trial in known], directions)]


def choose_on_front(
    trials: Sequence[TrialEntry], metrics: Sequence[str], directions: Sequence[Direction]
) -> tuple[Choice, ...]:
    """Returns the best configuration by each objective, and the knee; one that is several of them stands once.

    The best by one objective is the end of the front: of equals the one that is better by the other, then the one with
    the lowest number. Empty if no trial completed.
    """
    front = trials_on_front(trials, metrics, directions)
    if not front:
        return ()
    knee = front[knee_of([point_of(trial, metrics) for trial in front], directions)]
    found: dict[int, tuple[TrialEntry, list[str]]] = {}
    for role, trial in zip(roles_of(metrics), (front[-1], front[0], knee), strict=True):
        found.setdefault(trial.number, (trial, []))[1].append(role)
    return tuple(
        Choice(
            trial=trial.number,
            params=trial.params,
            value=trial.value,
            scores=trial.scores,
            roles=tuple(roles),
            rule=f"{' and '.join(map(_said, roles))}, {_place(len(front))} on the front of {len(trials)} trials",
        )
        for trial, roles in found.values()
    )


def _place(size: int) -> str:
    return "the only one" if size == 1 else f"one of {size}"


def point_of(trial: TrialEntry, metrics: Sequence[str]) -> Point:
    """Returns a trial's values of the two objectives."""
    first, second = (trial.scores[metric] for metric in metrics)
    return first, second


def _said(role: str) -> str:
    return "knee" if role == KNEE else f"best validation {role.removeprefix('best_')}"


def _raised(point: Point, directions: Sequence[Direction]) -> Point:
    """Returns a point in coordinates of which larger ones are better."""
    x, y = (value if direction == "max" else -value for value, direction in zip(point, directions, strict=True))
    return x, y
