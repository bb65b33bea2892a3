from dataclasses import dataclass

import pytest

from coretune.runs.speed import Speed


@dataclass(frozen=True)
class Moment:
    images: int
    seconds: float


def test_a_steady_training_has_one_speed_from_its_first_moment_on():
    speed = Speed()
    assert [speed.after(Moment(50 * k, 0.5 * k)) for k in range(1, 60)] == pytest.approx([100.0] * 59)


def test_a_resumed_training_shows_the_speed_of_this_session():
    speed = Speed()
    assert speed.after(Moment(1000, 100.0)) == pytest.approx(10.0)  # nothing else is known yet
    assert speed.after(Moment(1500, 101.0)) == pytest.approx(500.0)
    assert speed.after(Moment(2000, 102.0)) == pytest.approx(500.0)


def test_what_lies_further_back_than_the_span_is_forgotten():
    speed = Speed(span_s=3.0)
    for second in range(1, 11):
        speed.after(Moment(10 * second, float(second)))
    found = [speed.after(Moment(100 + 90 * k, 10.0 + k)) for k in range(1, 6)]
    assert found[0] == pytest.approx((90 + 2 * 10) / 3)
    assert found[2:] == pytest.approx([90.0] * 3)


def test_two_reports_of_one_moment_do_not_divide_by_nothing():
    speed = Speed()
    speed.after(Moment(10, 1.0))
    assert speed.after(Moment(10, 1.0)) == 0.0
