"""The front of two objectives and its knee: against brute force, and what no scale changes."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.results.cellfile import TrialEntry, TrialState
from coretune.results.front import Point, choose_on_front, front_of, knee_of, roles_of, trials_on_front
from coretune.spec.objective import Direction

METRICS = ("top1", "robust_top1")
MAX: tuple[Direction, Direction] = ("max", "max")
DIRECTIONS: list[tuple[Direction, Direction]] = [("max", "max"), ("max", "min"), ("min", "max"), ("min", "min")]
# Multiples of a power of two: scaled and shifted without rounding.
values = st.integers(-40, 40).map(lambda number: number / 8)
points = st.lists(st.tuples(values, values), min_size=1, max_size=12)


def dominates(one: Point, other: Point, directions: tuple[Direction, Direction]) -> bool:
    signs = [1 if direction == "max" else -1 for direction in directions]
    differences = [sign * (a - b) for sign, a, b in zip(signs, one, other, strict=True)]
    return min(differences) >= 0 and max(differences) > 0


@given(points, st.sampled_from(DIRECTIONS))
def test_the_front_is_what_no_point_dominates(found: list[Point], directions: tuple[Direction, Direction]) -> None:
    front = front_of(found, directions)
    wanted = {point for point in found if not any(dominates(other, point, directions) for other in found)}
    assert {found[number] for number in front} == wanted and len(front) == len(wanted)
    assert all(found.index(found[number]) == number for number in front), "of equals the first one"
    signs = [1 if direction == "max" else -1 for direction in directions]
    for one, two in itertools.pairwise(front):
        assert signs[0] * found[one][0] < signs[0] * found[two][0]
        assert signs[1] * found[one][1] > signs[1] * found[two][1]


def distance(point: Point, one: Point, two: Point) -> float:
    """The signed distance of a point from the line through two, in the plane."""
    (x, y), (a, b), (c, d) = point, one, two
    return ((c - a) * (y - b) - (d - b) * (x - a)) / math.hypot(c - a, d - b)


@given(points)
def test_the_knee_is_farthest_from_the_line_between_the_ends(found: list[Point]) -> None:
    front = [found[number] for number in front_of(found, MAX)]
    knee = knee_of(front, MAX)
    assert 0 <= knee < len(front)
    if len(front) == 1:
        return
    (left, top), (right, bottom) = front[0], front[-1]
    unit = [((x - left) / (right - left), (y - bottom) / (top - bottom)) for x, y in front]
    distances = [distance(point, unit[0], unit[-1]) for point in unit]
    assert distances[knee] == pytest.approx(max(distances), abs=1e-9)
    assert all(far < distances[knee] + 1e-9 for far in distances[knee + 1 :])
    if max(distances) < 1e-9:
        assert knee == len(front) - 1, "no point beyond the line: the end that is best in the first objective"


@given(
    points,
    st.tuples(*[st.integers(-6, 6).map(lambda power: 2.0**power)] * 2),
    st.tuples(*[st.integers(-64, 64).map(float)] * 2),
)
def test_scales_and_origins_of_the_axes_change_nothing(found: list[Point], scale: Point, shift: Point) -> None:
    moved = [(x * scale[0] + shift[0], y * scale[1] + shift[1]) for x, y in found]
    front = front_of(found, MAX)
    assert front_of(moved, MAX) == front
    assert knee_of([moved[n] for n in front], MAX) == knee_of([found[n] for n in front], MAX)


@given(points, st.sampled_from(DIRECTIONS))
def test_a_smaller_better_axis_is_a_larger_better_one_turned_round(
    found: list[Point], directions: tuple[Direction, Direction]
) -> None:
    signs = [1 if direction == "max" else -1 for direction in directions]
    turned = [(signs[0] * x, signs[1] * y) for x, y in found]
    front = front_of(found, directions)
    assert front == front_of(turned, MAX)
    assert knee_of([found[n] for n in front], directions) == knee_of([turned[n] for n in front], MAX)


def test_the_knee_of_a_front_that_bulges() -> None:
    assert knee_of([(0, 10), (6, 8), (10, 0)], MAX) == 1
    assert knee_of([(0, 10), (2, 8), (8, 2), (10, 0)], MAX) == 3, "all on the line: the best in the first objective"
    assert knee_of([(0, 10), (2, 3), (10, 0)], MAX) == 2, "a hollow front has its ends alone"
    assert knee_of([(1, 1)], MAX) == 0 and knee_of([(0, 1), (1, 0)], MAX) == 1


def trial(number: int, first: float, second: float, state: TrialState = "completed") -> TrialEntry:
    scores = dict(zip(METRICS, (first, second), strict=True)) if state == "completed" else {}
    return TrialEntry(
        number=number, params={"train.lr": number}, runs=(), value=first if scores else None, scores=scores, state=state
    )


def test_three_configurations_are_chosen() -> None:
    trials = [trial(0, 50, 50), trial(1, 90, 10), trial(2, 60, 60), trial(3, 86, 40), trial(4, 0, 0, "failed")]
    assert [entry.number for entry in trials_on_front(trials, METRICS, MAX)] == [2, 3, 1]
    chosen = choose_on_front(trials, METRICS, MAX)
    assert [(choice.trial, choice.roles) for choice in chosen] == [
        (1, ("best_top1",)),
        (2, ("best_robust_top1",)),
        (3, ("knee",)),
    ]
    assert chosen[0].rule == "best validation top1, one of 3 on the front of 5 trials"
    assert (chosen[2].value, chosen[2].scores) == (86, {"top1": 86, "robust_top1": 40})


def test_one_configuration_that_is_several_of_them_stands_once() -> None:
    (only,) = choose_on_front([trial(1, 90, 60), trial(2, 80, 20), trial(3, 90, 60)], METRICS, MAX)
    assert (only.trial, only.roles) == (1, ("best_top1", "best_robust_top1", "knee"))
    two = choose_on_front([trial(0, 90, 20), trial(1, 80, 30)], METRICS, MAX)
    assert [choice.roles for choice in two] == [("best_top1", "knee"), ("best_robust_top1",)]
    assert two[0].rule == "best validation top1 and knee, one of 2 on the front of 2 trials"
    assert only.rule.endswith("and knee, the only one on the front of 3 trials")


def test_ties_in_one_objective_go_by_the_other() -> None:
    chosen = choose_on_front([trial(0, 90, 20), trial(1, 90, 25), trial(2, 70, 25)], METRICS, MAX)
    assert [choice.trial for choice in chosen] == [1]


def test_without_a_completed_trial_there_is_no_choice() -> None:
    assert choose_on_front([trial(0, 1, 1, "failed")], METRICS, MAX) == () == choose_on_front([], METRICS, MAX)


def test_roles() -> None:
    assert roles_of(METRICS) == ("best_top1", "best_robust_top1", "knee") and roles_of(("top1",)) == ()
