from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.errors import RequestError
from coretune_cli.formats import LONGEST_S, clock, duration, parse_duration, rate, score, seconds_between, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), ("1d2h3m4s", 93784), (" 2H ", 7200)],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "90", "h", "2x", "30m1h", "-5m", "0s", "0h0m", "1e3s", "2 h", "nan", "inf h", "367d", "9" * 400 + "h"]
)
def test_parse_duration_refuses(text: str) -> None:
    with pytest.raises(RequestError, match="duration"):
        parse_duration(text)


def test_a_bare_number_is_answered_with_units() -> None:
    with pytest.raises(RequestError, match="90s or 90m"):
        parse_duration("90")


@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_parse_duration_adds_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = 86400 * days + 3600 * hours + 60 * minutes + seconds
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    if total == 0:
        with pytest.raises(RequestError):
            parse_duration(text)
    else:
        assert parse_duration(text) == total


@given(st.text(max_size=12))
def test_parse_duration_answers_or_refuses(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert 0 < parse_duration(text) <= LONGEST_S


@given(st.integers(1, 300 * 86400))
def test_duration_is_read_back_to_its_smaller_unit(seconds: int) -> None:
    unit = 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    assert seconds - unit < parse_duration(duration(seconds)) <= seconds


def test_duration_of_nothing_known() -> None:
    assert duration(None) == duration(math.nan) == "–"
    assert duration(-3) == "0s"


def test_times() -> None:
    assert clock("2026-11-24T12:01:10+00:00") == "12:01:10"
    assert clock("2026-11-24T12:01:10") == "12:01:10"
    assert clock("2026-11-24T12:01:10+02:00") == "10:01:10"
    assert clock("yesterday") == "--:--:--"
    assert seconds_between("2026-11-24T12:00:00Z", "2026-11-24T13:00:00+00:00") == 3600
    assert seconds_between("", "2026-11-24T13:00:00") is None


def test_numbers() -> None:
    assert score(76.55, "top1") == "76.5" or score(76.55, "top1") == "76.6"
    assert score(0.12345, "cross_entropy") == "0.123"
    assert score(None) == score(math.nan) == "–"
    assert (rate(3720.4), rate(9.12), rate(None)) == ("3,720", "9.1", "–")
    assert (size(100), size(1536), size(24 * 2**30), size(3 * 2**40)) == ("100 B", "1.5 KiB", "24.0 GiB", "3.0 TiB")
